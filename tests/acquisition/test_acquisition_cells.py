"""Boxes beyond a front against volumes by moocore."""

from __future__ import annotations

import pytest
import torch

from mogen.acquisition.cells import Cells
from mogen.pareto import hypervolume


def fronts(samples: int, n: int, m: int) -> torch.Tensor:
    made = torch.Generator().manual_seed(m)
    drawn = torch.rand(samples, n, m, dtype=torch.float64, generator=made) * 1.3 - 0.2  # some outside the cube
    return (drawn * 8).round() / 8  # many ties


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_boxes_fill_what_is_not_dominated(m):
    front = fronts(3, 12, m)
    cells = Cells.beyond(front)
    volume = (cells.upper - cells.lower).prod(-1)
    assert (volume > 0).all()
    for k in range(3):
        assert float(volume[cells.sample == k].sum()) == pytest.approx(
            1 - hypervolume(front[k].clamp(max=1)), abs=1e-12
        )


@pytest.mark.parametrize("m", [2, 3, 4, 6])
def test_improvement_is_the_difference_of_hypervolumes_as_the_front_grows(m):
    front, new = fronts(2, 8, m), fronts(2, 10, m).flip(1)[:, :5] * 0.9 + 0.1
    cells = Cells.beyond(front)
    for round_ in range(3):
        found = cells.improvement(new, numbers=50)
        for k in range(2):
            before = hypervolume(front[k].clamp(max=1))
            for row in range(5):
                grown = torch.cat([front[k], new[k, row][None]]).clamp(max=1)
                assert float(found[k, row]) == pytest.approx(hypervolume(grown) - before, abs=1e-12)
        cells, front = cells.without(new[:, round_]), torch.cat([front, new[:, round_][:, None]], 1)


def test_what_does_not_improve_is_ordered_by_how_nearly_it_does():
    cells = Cells.beyond(torch.tensor([[[0.5, 0.5]]], dtype=torch.float64))
    value = torch.tensor([[[0.4, 0.4], [0.45, 0.45], [0.49999, 0.49999], [0.6, 0.6]]], dtype=torch.float64)
    score = cells.log_expected(value)
    assert score.isfinite().all() and (score.diff() > 0).all()
    assert float(score[3].exp()) == pytest.approx(0.36 - 0.25)


def test_small_boxes_given_up_lose_little():
    front = torch.rand(2, 20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.6
    whole, coarse = Cells.beyond(front), Cells.beyond(front, 1e-5)
    assert len(coarse.sample) < len(whole.sample)
    value = torch.full((2, 1, 5), 0.9, dtype=torch.float64)
    assert float(coarse.improvement(value).min()) == pytest.approx(float(whole.improvement(value).min()), rel=0.02)
