"""One seed per stage, so that a stage repeated alone repeats exactly."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stage_seed(seed: int, stage: str) -> int:
    """A seed in [0, 2^63) for one stage of a run: the head of SHA-256 of "seed/stage", the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{stage}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stage_generator(seed: int, stage: str) -> torch.Generator:
    """A fresh CPU generator for one stage of a run."""
    return torch.Generator().manual_seed(stage_seed(seed, stage))


@contextmanager
def seeded(seed: int, stage: str) -> Iterator[torch.Generator]:
    """The stage's generator, with the global generators seeded meanwhile for libraries that know no other."""
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    own = stage_seed(seed, stage)
    random.seed(own)
    np.random.seed(own % 2**32)
    torch.random.default_generator.manual_seed(own)
    try:
        yield stage_generator(seed, stage)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.random.set_rng_state(before[2])
