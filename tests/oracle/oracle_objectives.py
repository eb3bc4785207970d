"""Objectives that behave and misbehave, importable by worker processes."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import time
from dataclasses import dataclass

import numpy as np
import torch

from mogen.objective import Constraint, FunctionObjective, Objective


@dataclass(frozen=True)
class Word:
    """A candidate that is its own key."""

    key: str


class Counted(Objective):
    """The number in the word; `calls` counts candidates evaluated in this process."""

    def __init__(self, name: str = "number", worst: float = 0.0, best: float = 100.0) -> None:
        self.name, self.worst, self.best = name, worst, best
        self.calls = 0

    def evaluate(self, candidates):
        self.calls += len(candidates)
        return torch.tensor([float(word.key.strip("abcdefghijklmnopqrstuvwxyz")) for word in candidates])


class Odd(Constraint):
    """Passes odd numbers."""

    name = "odd"

    def passes(self, candidates):
        return torch.tensor([int(word.key.strip("abcdefghijklmnopqrstuvwxyz")) % 2 == 1 for word in candidates])


class Misshapen(Objective):
    """Returns a matrix where a word says shape."""

    name, worst, best = "misshapen", 0.0, 1.0

    def evaluate(self, candidates):
        n = len(candidates)
        if any(word.key.startswith("shape") for word in candidates):
            return torch.zeros(n, 2)
        return torch.full((n,), 0.5, dtype=torch.float64)


class Panic(BaseException):
    """What libraries written in other languages raise; cannot be told, either."""

    def __str__(self) -> str:
        raise RuntimeError("no words for it")


def _misbehave(word: Word) -> float:
    kind = word.key.rstrip("0123456789")
    if kind == "raise":
        raise ValueError("broken on purpose")
    if kind == "panic":
        raise Panic
    if kind == "surrogate":
        raise OSError(f"no file {chr(0xDCFF)}" + 10_000 * "!")
    if kind == "quit":
        raise SystemExit(3)
    if kind == "hang":
        time.sleep(600)
    if kind == "exit":
        os._exit(7)
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "nan":
        return math.nan
    return 0.25


def _pid(word: Word) -> float:
    return float(os.getpid())


def _slow(word: Word) -> float:
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end:
        pass
    return 1.0


def _threads(word: Word) -> float:
    return float(torch.get_num_threads())


misbehaving = FunctionObjective(_misbehave, name="misbehaving", worst=0, best=1)
pid = FunctionObjective(_pid, name="pid", worst=0, best=1)
slow = FunctionObjective(_slow, name="slow", worst=0, best=1)
threads = FunctionObjective(_threads, name="threads", worst=0, best=1)
unpicklable = FunctionObjective(lambda word: 1.0, name="unpicklable", worst=0, best=1)


class Unloadable(Objective):
    """Pickles, and cannot be read back in a worker."""

    name, worst, best = "unloadable", 0.0, 1.0

    def __reduce__(self):
        return _never, ()

    def evaluate(self, candidates):
        return torch.zeros(len(candidates))


def _never():
    raise ImportError("no such library here")


def _stuck(word: Word) -> float:
    """Never comes back, in one of three ways; "litter PATH" leaves a program behind and notes its process in a file."""
    kind, _, path = word.key.partition(" ")
    if kind == "locked":
        ctypes.PyDLL(None).sleep(600)  # in C, without giving up the interpreter's lock
    if kind == "litter":
        with open(path, "w") as file:
            file.write(f"{subprocess.Popen(['sleep', '600']).pid}\n")
    if kind in ("litter", "hang"):
        time.sleep(600)
    return 0.25


class Wide(Objective):
    """Returns a value of another type for every word."""

    name, worst, best = "wide", 0.0, 1.0

    def evaluate(self, candidates):
        kinds = {
            "int": lambda n: [1] * n,
            "bool": lambda n: torch.ones(n, dtype=torch.bool),
            "half": lambda n: torch.full((n,), 0.5, dtype=torch.float16),
            "numpy": lambda n: np.full(n, 0.5, dtype=np.float32),
            "complex": lambda n: torch.full((n,), 0.5 + 1j),
            "text": lambda n: ["0.5"] * n,
            "objects": lambda n: np.array([0.5] * n, dtype=object),
            "none": lambda n: None,
            "scalar": lambda n: 0.5,
            "scattered": lambda n: [[0.5], [0.5, 0.5]],
            "inf": lambda n: [float("-inf")] * n,
            "fine": lambda n: [0.25] * n,
        }
        wanted = {word.key.rstrip("0123456789") for word in candidates}
        kind = next((kind for kind in sorted(wanted) if kind != "fine"), "fine")
        return kinds[kind](len(candidates))


stuck = FunctionObjective(_stuck, name="stuck", worst=0, best=1)
