"""Trainings calculate in bfloat16 where the hardware multiplies in it, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from generation.tiny import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_products_are_as_precise_as_the_cpu_is_fast(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported, raising=False)
    with precision.mixed(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == expected


def test_what_is_no_cpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    assert precision.multiplies_bfloat16(torch.device("cuda"))
