"""Sets the text encoder's last layer so that it paints looks into the patches. Linear algebra; nothing is trained.

Looks are linear in latents, so what belongs on a patch is a linear function of them: one for a subject alone, others
for each of a pair. The layer's attention brings every patch the looks of the subject that stands there. Each unit of
its feed-forward part then reckons one number: a gate, open at one patch of one layout alone, lifts it far into the
linear range of GELU, and pushes it far below zero everywhere else. The last patch has nothing painted on it: it is what
positions beside the subject look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertModel

from generation.tiny.gates import ALONE, ARRANGED, DRAWN, GATES, OPEN, SIDES, Where, set_gates, solved, with_one
from generation.tiny.lesson import Lesson
from generation.tiny.looks import SUBJECTS, Directions, said_at
from generation.tiny.patches import VALUES
from generation.tiny.text_encoder import MAX_TOKENS, PATCH_TOKENS, WORD_TOKENS

SWING = 3.0  # the largest number that a unit reckons, before the gate
BROUGHT = 0.4  # how strong the looks that attention brings are, beside what stands on a patch
SHARP = 8.0  # the right token's advantage in attention, in logits
CERTAIN = 60.0  # how strongly a painted state says that it is one; evens out the lengths of the states
CAUTION = 0.01  # how much the states of words weigh beside those of patches
HIDDEN = -1e9  # added to the logits of tokens that nobody may attend to
NOBODY = 300.0  # subjects that the one state which names nobody weighs as much as


@torch.no_grad()
def teach(encoder: BertModel, directions: Directions, lesson: Lesson) -> list[float]:
    """Sets the last layer of `encoder`; returns the share of the contents' variance that it can't paint, for a subject
    alone and for pairs of either layout.
    """
    layer = encoder.encoder.layer[-1]
    for part in layer.modules():
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.weight), nn.init.zeros_(part.bias)
    _bring(layer.attention, directions, layer.output.LayerNorm, lesson)
    arrive = layer.attention.output.LayerNorm
    states = [arrive(lesson.patches + BROUGHT * said[:, SIDES[kind]]) for kind, said in enumerate(lesson.said)]
    states[ALONE] = torch.cat([arrive(lesson.patches + BROUGHT * lesson.nobody)[None], states[ALONE]])
    others = [(where, arrive(given)) for where, given in _others(lesson)]
    return _paint(layer.intermediate.dense, layer.output.dense, directions, states, others, lesson.painted)


def _others(lesson: Lesson) -> list[tuple[Where, Tensor]]:
    """What comes to be of tokens that are no patches, (m, width) each: words, and those that say looks."""
    chance = torch.Generator().manual_seed(0)
    parts = []
    for kind, said in enumerate(lesson.said):
        first, second = said.unbind(1)
        known = torch.cat([lesson.nobody[None], first]) if kind == ALONE else first
        brought = known[torch.randint(len(known), (len(lesson.others),), generator=chance)]
        parts.append((Where(None, kind), lesson.others + BROUGHT * brought))
        parts.append((Where(None, kind, strength=(1 + BROUGHT) / BROUGHT), (1 + BROUGHT) * first))
        if kind != ALONE:
            of_another = second + BROUGHT * first.roll(1, 0)
            parts.append((Where(None, kind, side=1, strength=(1 - BROUGHT) / BROUGHT), of_another))
    return parts


@torch.no_grad()
def paint(encoder: BertModel, states: Tensor, seen: Tensor) -> Tensor:
    """What the denoiser hears of states (n, 57, width) as the reading layers say them, `seen` (n, 57)."""
    return painted_by(encoder.encoder.layer[-1].eval(), states, seen)


def painted_by(layer: nn.Module, states: Tensor, seen: Tensor) -> Tensor:
    """The taught layer's forward."""
    arrived = layer.attention(states, hiding(seen))[0]
    painted: Tensor = layer.output(layer.intermediate(arrived), arrived)
    return painted


def painted_patches(encoder: BertModel, lesson: Lesson) -> Tensor:
    """What `encoder` paints of looks that are said exactly in a prompt of no words: (3 n, 33, width)."""
    seen = (torch.arange(MAX_TOKENS) < 2)[None]
    parts = []
    for said in lesson.said.flatten(0, 1).split(256):
        states = torch.zeros(len(said), MAX_TOKENS, said.shape[-1])
        states[:, said_at(seen)[0]] = said[:, SUBJECTS]
        states[:, WORD_TOKENS:] = lesson.patches
        parts.append(paint(encoder, states, seen.expand(len(said), -1))[:, WORD_TOKENS:])
    return torch.cat(parts)


def hiding(seen: Tensor) -> Tensor:
    """The attention mask of tokens (n, tokens) that may be attended to."""
    return torch.where(seen, 0.0, HIDDEN)[:, None, None]


def _bring(attention: nn.Module, directions: Directions, norm: nn.LayerNorm, lesson: Lesson) -> None:
    """Everyone takes all of the first token's state, which is known by its slot, but patches on the second subject's
    side that of the token with its layout: the first's layout has the sign turned, and repels them.
    """
    heads, width = attention.self.num_attention_heads, len(norm.weight)
    query, key = attention.self.query, attention.self.key
    firsts = torch.arange(heads) * (width // heads)
    strength = SHARP * (width // heads) ** 0.5
    query.bias[firsts] = strength
    _indicate(key, firsts, directions.slots[0], norm, lesson.said[ALONE, :, 0])
    for kind, layout in enumerate(directions.layouts, ALONE + 1):
        sides = directions.patches.T @ SIDES[kind].float()
        _indicate(query, firsts + kind, sides, norm, lesson.patches[SIDES[kind] == 1], 2 * strength)
        _indicate(key, firsts + kind, layout, norm, lesson.said[kind, :, 1])
    attention.self.value.weight.copy_(torch.eye(width))
    attention.output.dense.weight.copy_(BROUGHT * torch.eye(width))
    attention.output.LayerNorm.weight.copy_(norm.weight.square().mean().sqrt() / norm.weight)
    attention.output.LayerNorm.bias.copy_(-norm.bias / norm.weight)


def _indicate(
    part: nn.Linear, rows: Tensor, direction: Tensor, norm: nn.LayerNorm, known: Tensor, strength: float = 1.0
) -> None:
    """Makes rows of `part` say how much of `direction` is in a state: about `strength` in those that are `known`."""
    seen = direction / norm.weight
    usual = ((known - norm.bias) @ seen).median()
    part.weight[rows] = seen * strength / usual
    part.bias[rows] = -(norm.bias @ seen) * strength / usual


def _paint(
    into: nn.Linear,
    out: nn.Linear,
    directions: Directions,
    states: list[Tensor],
    others: list[tuple[Where, Tensor]],
    painted: Tensor,
) -> list[float]:
    gates = set_gates(states, others)
    middle = states[ALONE].mean(0)
    which = torch.linalg.svd(middle - middle.mean(0), full_matrices=False)[2][: PATCH_TOKENS - 1]
    which = torch.linalg.qr(torch.cat([which, directions.layouts]).T)[0]
    same = torch.eye(len(which)) - which @ which.T  # a unit's number must not depend on which gate is its own
    strangers = torch.cat([given for _, given in others])
    quiet = torch.cat([strangers @ same, torch.zeros(len(strangers), 1)], 1)
    quiet = quiet.T @ quiet / len(quiet)  # what words' states come to matters little
    plans = [_plan(states[kind][:, patch], same, quiet, painted[kind, :, patch], directions) for kind, patch in DRAWN]
    missed = _allot(plans, into.out_features - len(GATES) - VALUES)
    plans += [_blank(torch.cat([state.flatten(0, 1) for state in states]), directions)]
    _set(into, out, directions.painted, gates, plans)
    return [
        sum(lost for lost, (of, _) in zip(missed, DRAWN, strict=True) if of == kind)
        / painted[kind].square().sum().item()
        for kind in ARRANGED
    ]


def _set(into: nn.Linear, out: nn.Linear, painted: Tensor, gates: Tensor, plans: list[Plan]) -> None:
    first, even = 0, into.out_features - len(GATES)
    for gate, plan in zip([*range(len(plans) - 1), len(GATES) - 1], plans, strict=True):
        units, first = slice(first, first + len(plan.numbers)), first + len(plan.numbers)
        reckoned = plan.numbers + gates[gate]
        into.weight[units], into.bias[units] = reckoned[:, :-1], reckoned[:, -1]
        out.weight[:, units] = plan.strokes.T
        out.weight[:, even + gate] = -plan.strokes.sum(0)  # takes the gate off again
    into.weight[even:], into.bias[even:] = gates[:, :-1], gates[:, -1]
    out.weight[:, -1] += painted * CERTAIN / OPEN


@dataclass(slots=True)
class Plan:
    """What is reckoned behind one gate: `numbers` (m, width + 1) of a state and 1, and what each paints, `strokes`
    (m, width). `sizes` (m,) are how much they tell, the most telling first; `missed` is what none of them tells.
    """

    numbers: Tensor
    strokes: Tensor
    sizes: Tensor
    missed: float


def _plan(states: Tensor, same: Tensor, quiet: Tensor, painted: Tensor, directions: Directions) -> Plan:
    known = with_one(states @ same)
    weights = torch.ones(len(states))
    if len(states) > len(painted):  # nobody comes first
        weights[0] = NOBODY
        painted = torch.cat([torch.zeros(1, VALUES), painted])
    weighted = (known * weights[:, None]).double()
    gram = weighted.T @ known.double() + CAUTION * len(states) * quiet
    solution = solved(gram, weighted.T @ painted.double())
    reckoned = known @ solution
    missed = (reckoned - painted).square().sum().item()
    _, sizes, modes = torch.linalg.svd(reckoned, full_matrices=False)
    swings = (reckoned @ modes.T).abs().amax(0).clamp(min=1e-3) / SWING
    numbers = (solution @ modes.T / swings).T
    numbers[:, :-1] @= same
    return Plan(numbers, modes @ directions.values * swings[:, None], sizes.square(), missed)


def _blank(states: Tensor, directions: Directions) -> Plan:
    """Takes off what stands where something is to be painted."""
    swings = (states @ directions.values.T).abs().amax(0) / SWING
    numbers = torch.cat([directions.values / swings[:, None], torch.zeros(VALUES, 1)], 1)
    return Plan(numbers, -directions.values * swings[:, None], torch.zeros(VALUES), 0.0)


def _allot(plans: list[Plan], units: int) -> list[float]:
    """Leaves the plans as many numbers as there are units for, those that tell most; returns what each misses."""
    sizes = torch.cat([plan.sizes for plan in plans]).sort(descending=True).values
    least = sizes[units].item() if units < len(sizes) else -1.0
    missed = []
    for plan in plans:
        kept = int((plan.sizes > least).sum())
        missed.append(plan.missed + plan.sizes[kept:].sum().item())
        plan.numbers, plan.strokes = plan.numbers[:kept], plan.strokes[:kept]
    return missed
