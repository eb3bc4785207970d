"""What the machine can do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable

import torch
from torch import Tensor


def compiler() -> str | None:
    """The C compiler: $CC (with options, maybe), else cc, gcc or clang; None where there is none."""
    return os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def gemm_rate(multiply: Callable[[Tensor, Tensor], Tensor] = torch.mm, *, size: int = 1024, repeats: int = 20) -> float:
    """FLOP/s of a product of float32 matrices, 2 size^3 / seconds: the best of `repeats`, on as many threads as torch.

    What arithmetic takes at least is its operations over this rate.
    """
    a, b = torch.ones(2, size, size)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        multiply(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)
