"""A tiny candidate, objectives and sampler for tests of whole runs; also a program that a test may kill."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mogen.errors import BudgetExhausted
from mogen.experiment import Experiment, FinalSampling
from mogen.objective import Objective, ObjectiveSet
from mogen.sampler.sampler import Sampler, Samples


@dataclass(frozen=True)
class Point:
    """A point of a 100 x 100 grid, written "x y"."""

    key: str

    @property
    def place(self) -> tuple[int, int]:
        x, y = self.key.split()
        return int(x), int(y)


class Coordinate(Objective[Point]):
    """One coordinate, bent so that the two of a point are at odds; counts its calls, and can stop the world."""

    def __init__(self, axis: int, stop_after: int | None = None, how: str = "raise", log: Path | None = None) -> None:
        self.name, self.axis = f"c{axis}", axis
        self.worst, self.best = (0.0, 100.0) if axis == 0 else (100.0, 0.0)
        self.measured: list[str] = []
        self.stop_after, self.how, self.log = stop_after, how, log

    def evaluate(self, candidates: Sequence[Point]) -> torch.Tensor:
        values = []
        for candidate in candidates:
            if self.stop_after is not None and len(self.measured) >= self.stop_after:
                self.stop()
            x, y = candidate.place
            self.measured.append(candidate.key)
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(candidate.key + "\n")
            values.append(x * (1 - y / 200) if self.axis == 0 else 100 - y * (1 - x / 150))
        return torch.tensor(values, dtype=torch.float64)

    def stop(self) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise KeyboardInterrupt


class Walk(Sampler[Point]):
    """Asks for random points in batches of 7; leans towards what did well; writes a checkpoint every third batch."""

    def __init__(self, every: int = 3) -> None:
        self.every, self.mean, self.step, self.fitted = every, torch.full((2,), 50.0), 0, False

    def fit(self, measure: Any, *, m: int, generator: Any = None, folder: Path | None = None) -> None:
        self.mean, self.step = torch.full((2,), 50.0), 0
        self.fitted = True
        newest = max(folder.glob("step*.json"), default=None) if folder else None
        if newest is not None:
            kept = json.loads(newest.read_text())
            self.mean, self.step = torch.tensor(kept["mean"]), kept["step"]
            generator.set_state(torch.tensor(kept["generator"], dtype=torch.uint8))
            measure.truncate(kept["asked"])
        for _ in range(10_000):
            points = self.draw(7, generator)
            preference = torch.full((7, m), 1 / m)
            try:
                utility = measure(points, preference=preference).utility
            except BudgetExhausted:
                return
            best = points[int(utility.sum(1).argmax())].place
            self.mean = 0.9 * self.mean + 0.1 * torch.tensor(best, dtype=torch.float32)
            self.step += 1
            if folder and self.step % self.every == 0:
                kept = {"mean": self.mean.tolist(), "step": self.step, "asked": measure.asked}
                kept["generator"] = generator.get_state().tolist()
                part = folder / "part"
                part.write_text(json.dumps(kept))
                os.replace(part, folder / f"step{self.step:06d}.json")

    def draw(self, n: int, generator: Any, shift: torch.Tensor | None = None) -> list[Point]:
        noise = 25 * torch.randn(n, 2, generator=generator)
        places = (self.mean + noise + (0 if shift is None else shift)).round().clamp(0, 99).int().tolist()
        return [Point(f"{x} {y}") for x, y in places]

    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Point]:
        return Samples(self.draw(len(preference), generator, 30 * (preference - 0.5)), preference)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "walk.json").write_text(json.dumps(self.mean.tolist()))

    @classmethod
    def load(cls, folder: Path) -> Walk:
        walk = cls()
        walk.mean = torch.tensor(json.loads((folder / "walk.json").read_text()))
        return walk


def experiment(out: Path, *, budget: int = 200, **options: Any) -> Experiment[Point]:
    """A run of points, by default with two baselines."""
    stops = {name: options.pop(name) for name in ("stop_after", "how", "log") if name in options}
    objectives = ObjectiveSet([Coordinate(0, **stops), Coordinate(1)], name="points")
    options = {"baselines": {"walk": Walk(), "slow": Walk(every=2)}, "progress": False, "render": False} | options
    return Experiment(
        objectives, Walk(), budget=budget, out=out, final=FinalSampling(partitions=4, per_preference=3), **options
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    toy_points = importlib.import_module("toy_points")
    toy_points.experiment(Path(sys.argv[1]), stop_after=int(sys.argv[2]), how="kill", log=Path(sys.argv[3])).run()
