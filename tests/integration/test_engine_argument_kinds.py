"""Each kind of argument that only some families have: when calls fit, and how theirs are joined."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from generation.engine.batching import collate, run_merged, split
from generation.engine.calls import Denoiser, ForwardCall
from generation.engine.families import (
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
