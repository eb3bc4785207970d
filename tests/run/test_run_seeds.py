"""Seeds by stage: fixed for ever, different from each other, and no trace in the global generators."""

from __future__ import annotations

import random

import numpy as np
import torch

from mogen.run import seeded, stage_generator, stage_seed, versions


def test_stage_seed_is_the_same_on_every_machine():
    assert stage_seed(0, "train") == 0x1EE13DD167DD3093


def test_stages_and_seeds_differ():
    found = {stage_seed(seed, stage) for seed in range(20) for stage in ("train", "final", "baseline random")}
    assert len(found) == 60
    assert all(0 <= seed < 2**63 for seed in found)


def test_generator_repeats():
    first, second = (torch.rand(3, generator=stage_generator(3, "train")) for _ in range(2))
    assert torch.equal(first, second)


def test_global_generators_are_seeded_inside_and_restored_outside():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    inside = []
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    for _ in range(2):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        with seeded(5, "train"):
            inside.append(draw())
        assert draw() == expected
    assert inside[0] == inside[1]
    assert inside[0] != expected


def test_versions_name_what_numbers_depend_on():
    found = versions()
    assert {"python", "mogen", "torch", "rdkit", "numpy", "moocore", "platform", "threads", "gpu"} <= set(found)
    assert found["threads"] == torch.get_num_threads()
