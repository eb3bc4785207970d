"""Small problems for loops: words of A, C, G, T whose letters are at odds."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mogen.domain.sequence import TokenSequence
from mogen.loop import ActiveLoop, BelieveAndChoose, Genetic, ListSource, LoopSampler
from mogen.objective import Objective, ObjectiveSet
from samplers.baseline.variation import SequenceVariation

LENGTH = 6
ALL = [TokenSequence("".join(word)) for word in itertools.product("ACGT", repeat=LENGTH)]


class Letter(Objective[TokenSequence]):
    """How often a letter stands in a word, and a little for where."""

    worst, best = 0.0, float(LENGTH)

    def __init__(self, letter: str, log: Path | None = None) -> None:
        self.name, self.letter, self.log = f"count_{letter}", letter, log

    def evaluate(self, candidates: Sequence[TokenSequence]) -> torch.Tensor:
        if self.log is not None:
            with self.log.open("a") as file:
                file.writelines(f"{self.name} {item.text}\n" for item in candidates)
        return torch.tensor([self.value(item.text) for item in candidates], dtype=torch.float64)

    def value(self, text: str) -> float:
        return text.count(self.letter) - 0.5 * text.startswith(self.letter)


def objectives(log: Path | None = None) -> ObjectiveSet[TokenSequence]:
    return ObjectiveSet([Letter("A", log), Letter("C", log)], name="letters")


def variation() -> SequenceVariation:
    return SequenceVariation("ACGT", LENGTH, LENGTH)


def loop(seed: int, folder: Path | None = None, log: Path | None = None, strategy=None) -> ActiveLoop[TokenSequence]:
    del folder
    chosen = strategy or BelieveAndChoose([Genetic(variation(), children=40, generations=2)])
    return ActiveLoop(objectives(log), chosen, ListSource(ALL), batch=4, start=8, seed=seed)


def whole_run(out: Path, log: Path, budget: int = 28) -> dict:
    """An experiment around the loop, as the command line makes one."""
    from mogen.experiment import Experiment, FinalSampling

    sampler = LoopSampler(lambda seed, folder: loop(seed, folder, log), show=False)
    experiment: Experiment = Experiment(
        objectives(log),
        sampler,
        budget=budget,
        seed=3,
        out=out,
        final=FinalSampling(partitions=1, per_preference=0),
        progress=False,
        render=False,
    )
    return experiment.run().summary


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    whole_run(Path(sys.argv[1]), Path(sys.argv[2]))
