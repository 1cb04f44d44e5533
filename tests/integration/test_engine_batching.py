"""What may be merged, how arguments are joined, how the answer is cut apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

from generation.engine.batching import Denoiser, ForwardCall, collate, run_merged, split
from generation.engine.families import (
    FAMILIES,
    Alone,
    Family,
    Items,
    Padded,
    Positions,
    Residual,
    Rows,
    Scale,
    Timestep,
)


class Recorder(torch.nn.Module):
    """Takes a UNet's arguments, keeps them, and answers with what `answer` makes of the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.got: dict[str, Any] = {}
        self.answer: Any = lambda sample: (sample * 2,)

    def forward(
        self,
        sample: Any,
        timestep: Any,
        encoder_hidden_states: Any = None,
        added_cond_kwargs: Any = None,
        cross_attention_kwargs: Any = None,
        down_block_additional_residuals: Any = None,
        return_dict: bool = True,
    ) -> Any:
        self.got = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        return self.answer(sample)


@pytest.fixture
def denoiser() -> Denoiser:
    return Denoiser(Recorder(), FAMILIES["UNet2DConditionModel"])


def call(denoiser: Denoiser, rows: int = 1, **changes: Any) -> ForwardCall:
    arguments = {
        "timestep": torch.tensor(5),
        "encoder_hidden_states": torch.zeros(rows, 7, 3),
        "return_dict": False,
        **changes,
    }
    return ForwardCall(denoiser, (torch.arange(rows * 2.0).view(rows, 2),), arguments)


def test_rows_are_counted_and_do_not_matter_for_the_signature(denoiser: Denoiser) -> None:
    one, three = call(denoiser, 1), call(denoiser, 3)

    assert (one.rows, three.rows) == (1, 3)
    assert one.signature == three.signature is not None


@pytest.mark.parametrize("timestep", [torch.tensor(1.5), 3, 2.5, torch.tensor([4])])
def test_timesteps_of_any_kind_share_a_signature(denoiser: Denoiser, timestep: Any) -> None:
    assert call(denoiser, timestep=timestep).signature == call(denoiser).signature


def test_absent_and_none_are_the_same(denoiser: Denoiser) -> None:
    assert call(denoiser, cross_attention_kwargs=None).signature == call(denoiser).signature


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_hidden_states": torch.zeros(1, 8, 3)},
        {"encoder_hidden_states": torch.zeros(1, 7, 3, dtype=torch.float64)},
        {"encoder_hidden_states": None},
        {"return_dict": True},
        {"cross_attention_kwargs": {"scale": 1.0}},
        {"cross_attention_kwargs": {"mask": torch.ones(2)}},
        {"added_cond_kwargs": {"text_embeds": torch.zeros(1, 4)}},
    ],
)
def test_other_arguments_give_another_signature(denoiser: Denoiser, changes: dict[str, Any]) -> None:
    assert call(denoiser, **changes).signature not in (None, call(denoiser).signature)


def test_shared_tensors_compare_by_content(denoiser: Denoiser) -> None:
    def with_mask(value: float) -> ForwardCall:
        return call(denoiser, cross_attention_kwargs={"mask": torch.full((2,), value)})

    assert with_mask(1).signature == with_mask(1).signature
    assert with_mask(1).signature != with_mask(2).signature


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_hidden_states": torch.zeros(1, 7, 3)},  # one prompt, broadcast over two rows
        {"timestep": torch.tensor([1, 2, 3])},
        {"added_cond_kwargs": {"text_embeds": torch.tensor(1.0)}},
    ],
)
def test_arguments_whose_rows_do_not_fit_are_never_merged(denoiser: Denoiser, changes: dict[str, Any]) -> None:
    assert call(denoiser, rows=2, **changes).signature is None


def test_other_modules_and_unknown_families_are_never_merged(denoiser: Denoiser) -> None:
    assert call(Denoiser(Recorder(), FAMILIES["UNet2DConditionModel"])).signature != call(denoiser).signature
    assert call(Denoiser(Recorder(), None)).signature is None


def test_collate_gives_each_row_its_own_timestep(denoiser: Denoiser) -> None:
    calls = [call(denoiser, 1, timestep=torch.tensor(901)), call(denoiser, 2, timestep=torch.tensor(12.5))]

    merged = collate(calls)["timestep"]

    assert merged.dtype is torch.float32
    assert merged.tolist() == [901.0, 12.5, 12.5]


def test_collate_keeps_equal_timestep_types(denoiser: Denoiser) -> None:
    merged = collate([call(denoiser, 1, timestep=torch.tensor(t)) for t in (3, 4)])["timestep"]

    assert merged.dtype is torch.int64


def test_collate_joins_trees_into_fresh_containers(denoiser: Denoiser) -> None:
    shared = {"scale": 0.5, "list": [1]}
    calls = [
        call(
            denoiser,
            rows,
            added_cond_kwargs={"text_embeds": torch.full((rows, 1), float(rows))},
            down_block_additional_residuals=[torch.full((rows, 1), 10.0 * rows)],
            cross_attention_kwargs=shared,
        )
        for rows in (1, 2)
    ]

    merged = collate(calls)

    assert merged["added_cond_kwargs"]["text_embeds"].flatten().tolist() == [1, 2, 2]
    assert merged["down_block_additional_residuals"][0].flatten().tolist() == [10, 20, 20]
    merged["down_block_additional_residuals"].pop()
    merged["cross_attention_kwargs"]["list"].pop()
    assert shared["list"] == [1]
    assert len(calls[0].named["down_block_additional_residuals"]) == 1


def test_single_call_is_made_as_it_came(denoiser: Denoiser) -> None:
    alone = call(denoiser)

    run_merged([alone])

    assert denoiser.module.got["sample"] is alone.args[0]
    assert denoiser.module.got["timestep"] is alone.kwargs["timestep"]


def test_merged_answers_go_to_their_callers(denoiser: Denoiser) -> None:
    calls = [call(denoiser, rows) for rows in (2, 1, 3)]

    for made, (output,) in zip(calls, run_merged(calls), strict=True):
        torch.testing.assert_close(output, made.args[0] * 2)


def test_split_returns_the_model_s_own_output_class() -> None:
    parts = split(UNet2DConditionOutput(sample=torch.arange(3.0).view(3, 1)), [1, 2])

    assert [type(part) for part in parts] == [UNet2DConditionOutput] * 2
    assert parts[1].sample.flatten().tolist() == [1, 2]


def test_split_copies_so_that_nobody_keeps_the_whole_batch_alive() -> None:
    whole = torch.zeros(3, 2)

    (first,), _ = split((whole,), [1, 2])

    assert first.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr()
    assert first.untyped_storage().nbytes() == 2 * 4


@pytest.mark.parametrize("output", [torch.zeros(2, 1), torch.tensor(1.0), "text", (torch.zeros(3, 1), 5)])
def test_split_refuses_an_answer_without_the_rows(output: Any) -> None:
    with pytest.raises(RuntimeError, match="merged"):
        split(output, [1, 2])


# -- kinds of arguments that only some families have -------------------------------------------------------------------


class Anything(torch.nn.Module):
    """Takes whatever the families take and answers with the first argument."""

    def forward(
        self,
        latents: Any,
        time: Any = None,
        text: Any = None,
        text_mask: Any = None,
        ids: Any = None,
        residual: Any = None,
        more_residuals: Any = None,
        scale: Any = 1.0,
        layers: Any = None,
        mode: bool = False,
        other: Any = None,
    ) -> Any:
        return (latents,)


EVERY_KIND = Family(
    "latents",
    {
        "latents": Rows(),
        "time": Timestep(),
        "text": Padded("text_mask"),
        "ids": Positions(),
        "residual": Residual(),
        "more_residuals": Residual(),
        "scale": Scale(3),
        "layers": Rows(1),
        "mode": Alone(),
    },
)


@pytest.fixture
def make() -> Callable[..., ForwardCall]:
    denoiser = Denoiser(Anything(), EVERY_KIND)
    return lambda rows=1, **arguments: ForwardCall(denoiser, (torch.zeros(rows, 2, 2, 3),), arguments)


def grid(height: int, width: int) -> torch.Tensor:
    return torch.tensor([[0.0, y, x] for y in range(height) for x in range(width)])


def test_calls_fit_only_if_their_positions_are_equal_in_content(make: Callable[..., ForwardCall]) -> None:
    square, wide = grid(4, 4), grid(2, 8)

    assert make(ids=square).fits([make(2, ids=square.clone())])
    assert not make(ids=square).fits([make(ids=wide)])
    assert not make(ids=square[None]).fits([make(ids=wide[None])])
    assert not make(ids=[[(1, 4, 4)]]).fits([make(ids=[[(1, 2, 8)]])])


def test_positions_by_row_are_read_in_their_first_row_and_repeated_for_all(make: Callable[..., ForwardCall]) -> None:
    calls = [make(1, ids=grid(4, 4)[None]), make(2, ids=grid(4, 4).repeat(2, 1, 1))]
    assert calls[0].fits(calls[1:])
    assert collate(calls)["ids"].shape == (3, 16, 3)

    lists = [make(2, ids=[[(1, 4, 4)]]), make(2, ids=[[(1, 4, 4)]] * 2)]
    assert lists[0].fits(lists[1:])
    assert collate(lists)["ids"] == [[(1, 4, 4)]] * 4


def test_rows_of_different_shapes_in_one_call_are_never_merged(make: Callable[..., ForwardCall]) -> None:
    assert make(2, ids=[[(1, 4, 4)], [(1, 2, 8)]]).signature is None


def test_changed_positions_are_noticed(make: Callable[..., ForwardCall]) -> None:
    """Digests are remembered by tensor."""
    ids = grid(4, 4)
    before = make(ids=ids)

    ids[0, 0] = 7

    assert not make(ids=ids).fits([before])


def test_texts_are_padded_to_the_longest_and_the_padding_is_hidden(make: Callable[..., ForwardCall]) -> None:
    masked = make(1, text=torch.full((1, 3, 2), 1.0), text_mask=torch.tensor([[1, 0, 1]]))
    longer = make(2, text=torch.full((2, 4, 2), 2.0))
    assert masked.fits([longer])

    merged = collate([masked, longer])

    assert merged["text"][:, :, 0].tolist() == [[1, 1, 1, 0], [2, 2, 2, 2], [2, 2, 2, 2]]
    assert merged["text_mask"].tolist() == [[1, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_texts_of_one_length_get_no_mask_that_they_had_not(make: Callable[..., ForwardCall]) -> None:
    """Attention with a mask is slower."""
    merged = collate([make(text=torch.zeros(1, 3, 2)), make(text=torch.ones(1, 3, 2))])

    assert "text_mask" not in merged
    assert merged["text"].shape == (2, 3, 2)


@pytest.mark.parametrize("mask", [torch.ones(1, 2), torch.ones(1, 1, 3), torch.ones(2, 3)])
def test_text_whose_mask_does_not_fit_is_never_merged(make: Callable[..., ForwardCall], mask: torch.Tensor) -> None:
    assert make(text=torch.zeros(1, 3, 2), text_mask=mask).signature is None


def test_absent_residuals_become_zeros(make: Callable[..., ForwardCall]) -> None:
    plain, controlled = make(2), make(1, residual=[torch.ones(1, 3), torch.ones(1, 5)], more_residuals=torch.ones(1, 4))
    assert plain.fits([controlled])
    assert controlled.fits([plain])

    merged = collate([plain, controlled])

    assert [leaf[:, 0].tolist() for leaf in merged["residual"]] == [[0, 0, 1]] * 2
    assert [leaf.shape[1] for leaf in merged["residual"]] == [3, 5]
    assert merged["more_residuals"][:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "residuals",
    [
        {"residual": [torch.ones(1, 3)]},
        {"residual": [torch.ones(1, 3), torch.ones(1, 6)]},
        {"residual": [torch.ones(1, 3), torch.ones(1, 5)], "more_residuals": torch.ones(1, 4)},
        {"more_residuals": torch.ones(1, 4)},
    ],
)
def test_residuals_of_different_form_fit_plain_calls_but_not_each_other(
    make: Callable[..., ForwardCall], residuals: dict[str, Any]
) -> None:
    plain, controlled = make(), make(residual=[torch.ones(1, 3), torch.ones(1, 5)])
    other = make(**residuals)

    assert other.fits([plain])
    assert not other.fits([plain, controlled])


def test_scales_become_one_number_per_row_in_the_latents_type(make: Callable[..., ForwardCall]) -> None:
    merged = collate([make(1, scale=0.5), make(2, scale=2)])

    assert merged["scale"].shape == (3, 1, 1)
    assert merged["scale"].flatten().tolist() == [0.5, 2, 2]
    assert merged["scale"].dtype is torch.float32


def test_equal_scales_stay_a_number(make: Callable[..., ForwardCall]) -> None:
    assert collate([make(scale=0.5), make(2, scale=0.5)])["scale"] == 0.5


def test_a_scale_that_happens_to_be_the_default_merges_with_others(make: Callable[..., ForwardCall]) -> None:
    default = inspect.signature(Anything.forward).parameters["scale"].default
    calls = [make(scale=default), make(scale=0.5)]

    assert calls[0].fits(calls[1:])
    assert collate(calls)["scale"].flatten().tolist() == [1.0, 0.5]


def test_rows_may_be_counted_by_another_dimension(make: Callable[..., ForwardCall]) -> None:
    calls = [make(1, layers=torch.zeros(4, 1, 7)), make(2, layers=torch.ones(4, 2, 7))]
    assert calls[0].fits(calls[1:])

    assert collate(calls)["layers"][:, :, 0].tolist() == [[0, 1, 1]] * 4
    assert not calls[0].fits([make(1, layers=torch.zeros(3, 1, 7))])
    assert make(2, layers=torch.zeros(4, 1, 7)).signature is None


def test_a_mode_that_changes_the_meaning_of_the_rest_is_never_merged(make: Callable[..., ForwardCall]) -> None:
    assert make(mode=True).signature is None
    assert make(mode=False).signature == make().signature is not None


def test_arguments_that_nobody_described_must_be_equal_in_content(make: Callable[..., ForwardCall]) -> None:
    assert make(other=torch.ones(2)).fits([make(other=torch.ones(2))])
    assert not make(other=torch.ones(2)).fits([make(other=torch.zeros(2))])
    assert not make(other=object()).fits([make(other=object())])


@pytest.mark.parametrize("wrap", [lambda tensor: tensor, lambda tensor: {"embeds": [tensor]}, lambda tensor: (tensor,)])
def test_a_tensor_that_may_have_rows_is_never_merged_unless_described(
    make: Callable[..., ForwardCall], wrap: Callable[[torch.Tensor], Any]
) -> None:
    assert make(2, other=wrap(torch.ones(2, 4))).signature is None
    assert make(2, scale=wrap(torch.ones(2, 1, 1))).signature is None
    assert make(2, other=wrap(torch.ones(3, 4))).signature is not None


def test_trees_keep_what_is_none(make: Callable[..., ForwardCall]) -> None:
    denoiser = Denoiser(Recorder(), FAMILIES["UNet2DConditionModel"])
    calls = [call(denoiser, added_cond_kwargs={"text_embeds": None, "time_ids": torch.ones(1, 2)}) for _ in range(2)]

    assert calls[0].fits(calls[1:])
    assert collate(calls)["added_cond_kwargs"]["text_embeds"] is None


@pytest.fixture
def listed() -> Callable[..., ForwardCall]:
    denoiser = Denoiser(Anything(), Family("latents", {"latents": Items(), "time": Timestep(), "text": Items()}))

    def make(*pictures: torch.Tensor, **arguments: Any) -> ForwardCall:
        text = [torch.zeros(len(picture), 3) for picture in pictures]
        return ForwardCall(denoiser, (list(pictures),), {"time": torch.zeros(len(pictures)), "text": text, **arguments})

    return make


def test_lists_with_an_item_per_row_merge_whatever_their_sizes(listed: Callable[..., ForwardCall]) -> None:
    calls = [listed(torch.zeros(1, 2, 2)), listed(torch.ones(1, 4, 2), torch.full((1, 2, 8), 2.0))]
    assert [call.rows for call in calls] == [1, 2]
    assert calls[0].fits(calls[1:])

    (first,), (second,) = run_merged(calls)

    assert [item.shape for item in first] == [(1, 2, 2)]
    assert [item.flatten()[0].item() for item in second] == [1, 2]


def test_nested_lists_are_never_merged(listed: Callable[..., ForwardCall]) -> None:
    """Z-Image's omni mode has a list of pictures per row."""
    assert listed(torch.zeros(1, 2, 2), text=[[torch.zeros(1, 3)]]).signature is None
    assert listed(torch.zeros(1, 2, 2), text=[torch.zeros(1, 3)] * 2).signature is None


def test_split_refuses_a_list_without_the_items() -> None:
    with pytest.raises(RuntimeError, match="merged"):
        split(([torch.zeros(1)] * 4,), [1, 2], items=True)


def test_split_gives_none_to_everybody() -> None:
    """A ControlNet without single blocks answers None for their residuals."""
    assert split((torch.zeros(3, 1), None), [1, 2])[1][1] is None


def test_area_is_positions_of_a_row(make: Callable[..., ForwardCall], listed: Callable[..., ForwardCall]) -> None:
    packed = Denoiser(Anything(), EVERY_KIND)

    assert make().area == 2 * 3
    assert ForwardCall(packed, (torch.zeros(2, 16, 64),), {}).area == 16
    assert listed(torch.zeros(4, 1, 5, 6)).area == 30
