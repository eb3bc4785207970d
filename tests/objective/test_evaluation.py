"""Evaluations put together and taken apart keep every column."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from mogen.objective import Evaluation


def evaluation(n: int, *, is_noisy: bool) -> Evaluation:
    made = torch.Generator().manual_seed(n)
    raw, value, utility, noise = torch.rand(4, n, 2, dtype=torch.float64, generator=made)
    status = torch.randint(3, (n, 2), generator=made)
    return Evaluation(raw, status, (status == 0).all(1), value, utility, noise if is_noisy else None)


def test_concatenating_slices_gives_the_whole_back():
    whole = evaluation(7, is_noisy=True)
    again = Evaluation.concatenate([whole[:2], whole[2:2], whole[2:]])
    for field in fields(Evaluation):
        assert torch.equal(getattr(again, field.name), getattr(whole, field.name)), field.name
    assert Evaluation.concatenate([replace(whole, noise=None)] * 2).noise is None


def test_unknown_noise_beside_known_noise_is_nan():
    known, unknown = evaluation(3, is_noisy=True), evaluation(2, is_noisy=False)
    joined = Evaluation.concatenate([unknown, known])
    assert joined.noise is not None and joined.noise[:2].isnan().all()
    assert torch.equal(joined.noise[2:], known.noise)
