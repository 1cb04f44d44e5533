"""What may be merged, how arguments are joined, how the answer is cut apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

from generation.engine.batching import collate, run_merged, split
from generation.engine.calls import Denoiser, ForwardCall
from generation.engine.families import (
    FAMILIES,
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


def test_trees_keep_what_is_none(denoiser: Denoiser) -> None:
    calls = [call(denoiser, added_cond_kwargs={"text_embeds": None, "time_ids": torch.ones(1, 2)}) for _ in range(2)]

    assert calls[0].fits(calls[1:])
    assert collate(calls)["added_cond_kwargs"]["text_embeds"] is None
