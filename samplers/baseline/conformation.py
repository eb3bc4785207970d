"""What steering of protein conformations is compared with: the input, blind draws, a sweep, modes, and NSGA-II.

Each stands beside a Str2Str sampler and asks for conformations of the same input until the budget's end.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone
from mogen.errors import RunError
from mogen.sampler import Samples
from samplers.baseline.search import Answer, Proposal, Search
from samplers.diffusion import Fields
from samplers.environment.saved import class_path
from samplers.str2str import Str2StrSampler
from samplers.str2str.displacement import elastic_network, torsion_noise
from samplers.str2str.process import fields_of, kept, process
from samplers.str2str.protocol import backbones_of, denoised
from samplers.str2str.record import Record

SWEEP = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)
"""noise times of the sweep"""
DISTANCES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""mean CA RMSD from the input that conformations without a model are drawn at, Å"""


class ConformationSearch(Search[Backbone]):
    """A search over conformations of a Str2Str sampler's input.

    Args:
        model: the sampler beside which it stands.
        population: conformations proposed together.
    """

    patience = 50

    def __init__(self, model: Str2StrSampler, population: int = 16) -> None:
        self.model, self.population = model, population
        self.known: dict[Backbone, Float[Tensor, " m"]] = {}
        self.network_evaluations = 0
        """evaluations of the network so far, one for every structure of a batch"""

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        if not isinstance(sampler, Str2StrSampler):
            raise AttributeError(f"{cls.__name__} needs a Str2Str sampler")
        return cls(sampler)

    @abstractmethod
    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]: ...

    def drawn(self, starts: tuple[float, ...], n: int, generator: torch.Generator) -> list[Backbone]:
        """n conformations without steering; the network's evaluations are counted."""
        before, protocol = self.model.spent, self.model.protocol
        self.model.protocol = replace(protocol, starts=starts)
        try:
            found, _ = self.model.conformations(self.model.target(), n, fixed=self.model.fixed, generator=generator)
        finally:
            self.model.protocol = protocol
        self.network_evaluations += self.model.spent - before
        return found

    def sample(
        self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None
    ) -> Samples[Backbone]:
        if not self.known:
            raise RunError("expected a baseline that has measured something valid, got one without any")
        return super().sample(preference, generator=generator)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        utility = torch.stack(list(self.known.values())) if self.known else torch.zeros(0, 0)
        Record(list(self.known), utility).save(folder)
        self.model.save(folder / "model")
        facts = {"class_path": class_path(self), "network_evaluations": self.network_evaluations}
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / "sampler.yaml"
        if not path.is_file():
            raise RunError(f"expected a saved baseline with a sampler.yaml, got nothing of the kind in {folder}")
        self = cls(Str2StrSampler.load(folder / "model"))
        record = Record.load(folder)
        self.network_evaluations = int(yaml.safe_load(path.read_text())["network_evaluations"])
        if record is not None:
            self.known = dict(zip(record.backbones, record.utility, strict=True))
        return self


@final
class InputStructure(ConformationSearch):
    """The input itself."""

    patience = 1

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]:
        while True:
            yield Proposal([self.model.target()])


@final
class BestOfN(ConformationSearch):
    """Conformations from the sampler's own noise times, without steering."""

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]:
        turn = 0
        while True:
            starts = self.model.protocol.starts
            yield Proposal(self.drawn((starts[turn % len(starts)],), self.population, generator))
            turn += 1


@final
class NoiseSweep(ConformationSearch):
    """Conformations without steering from noise times between 0.05 and 0.7."""

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]:
        turn = 0
        while True:
            yield Proposal(self.drawn((SWEEP[turn % len(SWEEP)],), self.population, generator))
            turn += 1


@final
class ElasticModes(ConformationSearch):
    """Thermal displacements of an anisotropic network model, 0.5 to 4 Å from the input; no network is evaluated."""

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]:
        backbone, turn = self.model.target(), 0
        while True:
            wanted = DISTANCES[turn % len(DISTANCES)]
            atoms, _ = elastic_network(backbone, self.population, wanted, generator=generator)
            yield Proposal([backbone.moved(item) for item in atoms])
            turn += 1


@final
class TorsionNoise(ConformationSearch):
    """Gaussian noise on all backbone torsions, 0.5 to 4 Å from the input; no network is evaluated."""

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]:
        backbone, turn = self.model.target(), 0
        while True:
            wanted = DISTANCES[turn % len(DISTANCES)]
            atoms, _ = torsion_noise(backbone, self.population, wanted, generator=generator)
            yield Proposal([backbone.moved(item) for item in atoms])
            turn += 1


@final
class NoiseNSGA2(ConformationSearch):
    """NSGA-II (pymoo) over the initial noise, which a deterministic solver makes a conformation of.

    A genome is the standard normal tangent of every residue (six numbers); it starts as such noise.
    """

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Backbone], Answer, None]:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
        from pymoo.problems.static import StaticProblem

        backbone = self.model.target()
        width = 6 * len(backbone)
        problem = Problem(n_var=width, n_obj=m, xl=-4.0, xu=4.0)
        start = torch.randn(self.population, width, generator=generator).clamp(-4, 4).double().numpy()
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        algorithm = NSGA2(pop_size=self.population, sampling=start)
        algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
        while True:
            offspring = algorithm.ask()
            genomes = torch.from_numpy(np.asarray(offspring.get("X"), dtype=np.float32))
            utility, is_valid = yield Proposal(self.expressed(backbone, genomes))
            cost = torch.where(is_valid[:, None], -utility, 1.0).double().numpy()
            Evaluator().eval(StaticProblem(problem, F=cost), offspring)
            algorithm.tell(infills=offspring)

    def expressed(self, backbone: Backbone, genomes: Float[Tensor, "n g"]) -> list[Backbone]:
        """The conformations that initial noises become."""
        clean = fields_of([backbone] * len(genomes), [self.model.fixed] * len(genomes))
        start = self.model.protocol.starts[0]
        ended, evaluations = denoised(
            self.model.predict(),
            clean,
            start,
            replace(self.model.protocol, method="heun", schedule="exact"),
            noisy=noised(clean, genomes, start),
        )
        self.network_evaluations += evaluations * len(genomes)
        return backbones_of(backbone, ended)


def noised(clean: Fields, genomes: Float[Tensor, "n g"], start: float) -> dict[str, Tensor]:
    """Clean fields at a noise time, with noise that is given."""
    sde, t = process(), torch.full((len(genomes),), start)
    shift, turn = genomes.view(len(genomes), -1, 6).split(3, -1)
    noise = sde.masked(clean, {"translations": shift, "rotations": turn})
    made = {name: item.perturb(clean[name], t, noise[name]).value for name, item in sde.items()}
    return kept(clean, {**clean, **made})
