"""The rate of matrix products."""

from __future__ import annotations

import itertools

import pytest
import torch

from mogen.run import gemm_rate, machine


def test_the_rate_is_that_of_the_quickest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.accumulate([0.0, 3.0, 10.0, 0.5, 10.0, 2.0])  # products of 3, 0.5 and 2 s
    monkeypatch.setattr(machine.time, "perf_counter", ticks.__next__)
    seen = []
    rate = gemm_rate(lambda a, b: seen.append((a, b)) or a @ b, size=8, repeats=3)
    assert rate == 2 * 8 * 8 * 8 / 0.5
    assert len(seen) == 3 and all(a.shape == b.shape == (8, 8) and a.dtype == torch.float32 for a, b in seen)


def test_a_machine_multiplies() -> None:
    assert 1e7 < gemm_rate(size=64, repeats=3) < 1e15
