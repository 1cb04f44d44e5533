"""The gates of the text encoder's painting layer: each opens at one patch of one kind of scene. Linear algebra alone.

A gate is a linear function of a state, and shut by adding so little to a unit that nothing of it comes through. Knows
nothing of what is painted behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from generation.tiny.scenes import LAYOUTS
from generation.tiny.text_encoder import EMPTY_PATCH, PATCH_COLUMNS, PATCH_ROWS, PATCH_TOKENS

OPEN, SHUT = 6.0, -14.0  # what a gate adds; where two conditions fail it adds less still
STRANGERS = 0.5  # how much other tokens' states weigh beside patches' where gates are set

ALONE, *_ = ARRANGED = range(1 + len(LAYOUTS))  # what a subject can be: alone, or one of a pair of either layout
DRAWN = [(kind, patch) for kind in ARRANGED for patch in range(PATCH_TOKENS) if patch != EMPTY_PATCH]


def _sides(kind: int) -> Tensor:
    """(33,): 0 for patches that show the first subject, or nothing; 1 for those that show the second."""
    sides = torch.zeros(PATCH_ROWS, PATCH_COLUMNS, dtype=torch.long)
    if kind != ALONE and LAYOUTS[kind - 1] == "beside":
        sides[:, PATCH_COLUMNS // 2 :] = 1
    elif kind != ALONE:
        sides[PATCH_ROWS // 2 :] = 1
    return torch.cat([sides.flatten(), torch.zeros(1, dtype=torch.long)])


SIDES = [_sides(kind) for kind in ARRANGED]

# A gate for each patch of each kind that has something painted on it, one for the empty patch, and one for all patches.
GATES: list[tuple[int | None, int | None]] = [*DRAWN, (None, EMPTY_PATCH), (None, None)]


@dataclass(frozen=True, slots=True)
class Where:
    """What a gate can tell of a state: its patch, None for other tokens, the kind of scene, which of a pair's subjects
    it knows of, and how strongly it says their layout, a patch's strength being 1.
    """

    patch: int | None
    kind: int = ALONE
    side: int = 0
    strength: float = 1.0


CELLS = [Where(patch, kind, int(SIDES[kind][patch])) for kind in ARRANGED for patch in range(PATCH_TOKENS)]


def set_gates(states: list[Tensor], others: list[tuple[Where, Tensor]]) -> Tensor:
    """(98, width + 1): functions that are OPEN at the states of one of GATES each, and SHUT at all other states."""
    known = [(cell, with_one(states[cell.kind][:, cell.patch]).double()) for cell in CELLS]
    known += [(where, with_one(given).double()) for where, given in others]
    grams, totals = torch.stack([own.T @ own for _, own in known]), torch.stack([own.sum(0) for _, own in known])
    usual = torch.tensor([STRANGERS if where.patch is None else 1.0 for where, _ in known]).double()
    everywhere, gates = torch.einsum("c,cij->ij", usual, grams), []
    for gate in GATES:
        wanted = torch.tensor([_wanted(gate, where) for where, _ in known]).double()
        opened = (wanted == OPEN).double()
        weights = usual + opened * len(CELLS) / opened.sum()  # as much as all others together
        gram = everywhere + torch.einsum("c,cij->ij", weights - usual, grams)
        gates.append(solved(gram, ((weights * wanted) @ totals)[:, None])[:, 0])
    return torch.stack(gates)


def _wanted(gate: tuple[int | None, int | None], where: Where) -> float:
    """What a gate is to add at a state. It is OPEN where both conditions are met, on its patch and in its kind of
    scene; as it must be linear in a state, in which a layout has one sign for the first subject and the other for the
    second, and is said by tokens of several strengths, it adds less than SHUT where that is right for all of them.
    """
    step, (kind, patch) = OPEN - SHUT, gate
    if patch is None:
        return SHUT if where.patch is None else OPEN
    if kind is None:
        return OPEN if where.patch == patch else SHUT
    agree = 0.0  # how far the state's layout speaks for the gate's, or against any if its subject is to be alone
    if where.kind != ALONE and kind in (ALONE, where.kind):
        same_side = where.side == int(SIDES[where.kind][patch])
        agree = where.strength if same_side == (kind != ALONE) else -where.strength
    most = 1.0 if kind == ALONE else 2.0
    if where.patch is None:
        most += where.strength  # more than enough: these say a layout more loudly than patches do
    return SHUT + step * (2 * float(where.patch == patch) + agree - most)


def solved(gram: Tensor, wanted: Tensor) -> Tensor:
    """In double precision: layer norms leave directions in which nothing varies."""
    return torch.linalg.solve(gram + 0.1 * torch.eye(len(gram)), wanted).float()


def with_one(states: Tensor) -> Tensor:
    return torch.cat([states, torch.ones(*states.shape[:-1], 1)], -1)
