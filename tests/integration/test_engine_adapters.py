"""LoRAs per row: every row gets its own mix in one forward, exactly what it would get alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

from generation.engine import compiling
from generation.engine.adapters import Mix, RowAdapters, bare_twin, wearing
from generation.engine.engine import Engine
from generation.engine.request import Request
from generation.errors import UnknownAdapter
from generation.recipe import Lane

TOLERANCE = 1e-5
ADAPTERS = {"ink": 2, "neon": 4}
EVERYWHERE = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "time_emb_proj"]


@pytest.fixture
def bare_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).eval()


def put_in(unet: UNet2DConditionModel) -> None:
    for name, rank in ADAPTERS.items():
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=EVERYWHERE, init_lora_weights=False)
        unet.add_adapter(config, adapter_name=name)


@pytest.fixture
def unet(bare_unet: UNet2DConditionModel) -> UNet2DConditionModel:
    put_in(bare_unet)
    return bare_unet.requires_grad_(False)


@pytest.fixture
def adapters(unet: UNet2DConditionModel) -> RowAdapters:
    adapters = RowAdapters(unet)
    adapters.refresh()
    return adapters


def inputs(rows: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {
        "sample": torch.randn(rows, 4, 8, 8, generator=generator),
        "timestep": torch.full((rows,), 500),
        "encoder_hidden_states": torch.randn(rows, 3, 8, generator=generator),
    }


def peft_alone(unet: UNet2DConditionModel, mix: Mix, rows: slice, total: int) -> torch.Tensor:
    """What diffusers itself makes of the rows with the mix active for the whole module."""
    whole = inputs(total)
    if mix:
        unet.enable_adapters()
        unet.set_adapters([name for name, _ in mix], [scale for _, scale in mix])
    with torch.no_grad():
        answer: torch.Tensor = unet(**{name: tensor[rows] for name, tensor in whole.items()}).sample
    unet.set_adapters(["ink", "neon"], [1.0, 1.0])
    unet.disable_adapters()
    return answer


def test_each_row_gets_its_own_mix(unet: UNet2DConditionModel, adapters: RowAdapters) -> None:
    mixes: list[tuple[int, Mix]] = [
        (1, (("ink", 1.0),)),
        (2, ()),
        (1, (("neon", 0.5),)),
        (2, (("ink", 0.7), ("neon", -0.3))),
    ]

    with torch.no_grad(), adapters.rows(mixes):
        together = unet(**inputs(6)).sample

    start, answers = 0, []
    for count, mix in mixes:
        rows = slice(start, start + count)
        answers.append(peft_alone(unet, mix, rows, 6))
        assert float((together[rows] - answers[-1]).norm() / answers[-1].norm()) < TOLERANCE, mix
        start += count
    assert (
        float((peft_alone(unet, (), slice(0, 1), 6) - answers[0]).norm()) > 100 * TOLERANCE
    )  # the LoRA does something


def test_requests_with_different_loras_share_every_forward(unet: UNet2DConditionModel) -> None:
    engine, ends = Engine(), {}
    denoiser = engine.adopt(unet)
    denoiser.adapters.refresh()
    mixes: list[Mix] = [(("ink", 1.0),), (), (("neon", 0.5), ("ink", -0.2))]
    for i, mix in enumerate(mixes):

        def body(row: slice = slice(i, i + 1), mix: Mix = mix) -> torch.Tensor:
            with wearing(mix):
                sample: torch.Tensor = unet(**{name: tensor[row] for name, tensor in inputs(3).items()}).sample
            return sample

        def end(result: Any, error: BaseException | None, i: int = i) -> None:
            ends[i] = result, error

        engine.submit(Request(str(i), Lane.FAST, body, arrival=i, on_end=end))
    while engine.step():
        pass
    engine.release(denoiser)

    assert (engine.forwards, engine.merged_calls) == (1, 3)
    for i, mix in enumerate(mixes):
        result, error = ends[i]
        assert error is None
        torch.testing.assert_close(result, peft_alone(unet, mix, slice(i, i + 1), 3), rtol=1e-4, atol=1e-5)


@pytest.fixture
def compiled_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Grows with every run of a compiled forward; the compiler changes nothing."""
    runs: list[Any] = []

    def backend(graph: Any, _: Any) -> Callable[..., Any]:
        return lambda *args: (runs.append(graph), graph(*args))[1]

    monkeypatch.setattr(compiling, "WORTH_COMPILING", 2)
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, **_: compile_with(forward, backend=backend))
    torch._dynamo.reset()
    yield runs
    torch._dynamo.reset()


def draw(engine: Engine, unet: UNet2DConditionModel, mix: Mix) -> torch.Tensor:
    drawn = []

    def body() -> None:
        with wearing(mix):
            drawn.append(unet(**inputs(2)).sample)

    engine.submit(Request("", Lane.FAST, body, arrival=0, on_end=lambda result, error: None))
    while engine.step():
        pass
    (sample,) = drawn
    return sample


@pytest.mark.parametrize("first", ["compiled", "loaded"])
def test_forwards_without_loras_are_compiled_ones_whatever_is_loaded(
    first: str, bare_unet: UNet2DConditionModel, compiled_runs: list[Any]
) -> None:
    background: list[Callable[[], None]] = []
    engine = Engine(compile_in_background=background.append)
    denoiser = engine.adopt(bare_unet)

    def load() -> None:
        put_in(bare_unet)
        denoiser.adapters.refresh()

    if first == "loaded":
        load()
    plain, _ = draw(engine, bare_unet, ()), draw(engine, bare_unet, ())
    background.pop()()
    if first == "compiled":
        load()

    before = len(compiled_runs)
    again = draw(engine, bare_unet, ())
    assert len(compiled_runs) > before
    torch.testing.assert_close(again, plain)
    before = len(compiled_runs)
    styled = draw(engine, bare_unet, (("ink", 1.0),))
    engine.release(denoiser)

    assert len(compiled_runs) == before
    torch.testing.assert_close(styled, peft_alone(bare_unet, (("ink", 1.0),), slice(0, 2), 2), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(styled, plain)


def test_twin_has_the_same_weights_and_never_the_loras(bare_unet: UNet2DConditionModel) -> None:
    twin, weights = bare_twin(bare_unet), list(bare_unet.parameters())
    put_in(bare_unet)

    assert [id(weight) for weight in twin.parameters()] == [id(weight) for weight in weights]


def test_outside_of_rows_the_module_is_the_checkpoint(unet: UNet2DConditionModel, adapters: RowAdapters) -> None:
    with torch.no_grad():
        with adapters.rows([(1, (("ink", 1.0),))]):
            drawn = unet(**inputs(1)).sample
        after = unet(**inputs(1)).sample

    torch.testing.assert_close(after, peft_alone(unet, (), slice(0, 1), 1))
    assert not torch.allclose(drawn, after)


def test_what_is_worn_counts_outside_of_an_engine(unet: UNet2DConditionModel, adapters: RowAdapters) -> None:
    mix: Mix = (("neon", 0.5),)

    with torch.no_grad(), wearing(mix):
        drawn = unet(**inputs(2)).sample

    torch.testing.assert_close(drawn, peft_alone(unet, mix, slice(0, 2), 2), rtol=1e-4, atol=1e-5)


def test_lora_loaded_later_takes_part(unet: UNet2DConditionModel, adapters: RowAdapters) -> None:
    config = LoraConfig(r=2, target_modules=["to_q", "conv2"], init_lora_weights=False)
    unet.add_adapter(config, adapter_name="late")
    adapters.refresh()
    mix: Mix = (("late", 1.0), ("ink", 1.0))

    with torch.no_grad(), adapters.rows([(1, ()), (1, mix)]):
        together = unet(**inputs(2)).sample

    torch.testing.assert_close(together[1:], peft_alone(unet, mix, slice(1, 2), 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[:1], peft_alone(unet, (), slice(0, 1), 2), rtol=1e-4, atol=1e-5)


def test_layer_that_sees_other_rows_refuses_mixed_requests_only() -> None:
    """Some models flatten tokens of all rows before a layer; nobody can tell there whose they are."""

    class Flattening(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_q = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat: torch.Tensor = self.to_q(x.flatten(0, 1))
            return flat

    from peft import inject_adapter_in_model

    module = Flattening()
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False), module, "ink")
    adapters = RowAdapters(module)
    adapters.refresh()

    with adapters.rows([(1, (("ink", 1.0),)), (1, ())]), pytest.raises(RuntimeError, match="rows"):
        module(torch.ones(2, 3, 4))
    with torch.no_grad(), adapters.rows([(2, (("ink", 1.0),))]):
        drawn = module(torch.ones(2, 3, 4))
    assert not torch.allclose(drawn, module(torch.ones(2, 3, 4)))


def test_dora_is_refused() -> None:
    from peft import inject_adapter_in_model

    module = torch.nn.Sequential(torch.nn.Linear(4, 4))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"], use_dora=True), module, "ink")

    with pytest.raises(UnknownAdapter, match="DoRA"):
        RowAdapters(module).refresh()
