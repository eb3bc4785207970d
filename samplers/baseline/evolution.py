"""NSGA-II (pymoo) over the environment of the sampler it stands beside."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, final

import numpy as np
import torch

from mogen.types import C
from samplers.baseline.search import Answer, Proposal, Search, express, genome_length, start_genomes


@final
class NSGA2Baseline(Search[C], Generic[C]):
    """NSGA-II (Deb et al. 2002; pymoo's, with its default crossover and mutation).

    A genome holds one number in [0, 1) per choice of every action; it is decoded through the masks of the environment,
    so every genome is a candidate.
    """

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[C], Answer, None]:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
        from pymoo.problems.static import StaticProblem

        problem = Problem(n_var=genome_length(self.environment), n_obj=m, xl=0.0, xu=1.0)
        start = start_genomes(self.environment, self.population, generator).double().numpy()
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        algorithm = NSGA2(pop_size=self.population, sampling=start)
        algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
        while True:
            offspring = algorithm.ask()
            genomes = torch.from_numpy(np.asarray(offspring.get("X"), dtype=np.float64))
            utility, is_valid = yield Proposal(self.environment.decode(express(self.environment, genomes)))
            # an invalid candidate is worse than any valid one
            cost = torch.where(is_valid[:, None], -utility, 1.0).double().numpy()
            Evaluator().eval(StaticProblem(problem, F=cost), offspring)
            algorithm.tell(infills=offspring)
