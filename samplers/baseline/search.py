"""What baselines share: a common start, a memory of what was measured, and sampling from that memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Self

import torch
import yaml
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import BudgetExhausted, RunError
from mogen.objective import Measure
from mogen.preference import WeightedSum
from mogen.sampler import Sampler, Samples
from mogen.types import C
from samplers.environment.environment import Environment
from samplers.environment.saved import class_path, load_environment, save_environment


@dataclass(frozen=True)
class Proposal(Generic[C]):
    """Candidates to measure, and the preference each is made for where a search has one."""

    candidates: list[C]
    preference: Float[Tensor, "n m"] | None = None


Answer = tuple[Float[Tensor, "n m"], Bool[Tensor, " n"]]
"""utilities of what was proposed, and whether it is valid"""


@torch.no_grad()
def express(environment: Environment, genome: Float[Tensor, "n g"]) -> Any:
    """Terminal states of genomes: gene i in [0, 1) picks among the options allowed at choice i, in their order."""
    state = environment.initial(len(genome))
    genes = iter(genome.T)
    for _ in range(environment.max_steps):
        action = torch.zeros(len(genome), 0, dtype=torch.long)
        for _choice in environment.sizes:
            allowed = environment.allowed(state, action)
            count = allowed.sum(1)
            rank = (next(genes) * count).long().clamp(min=0)
            rank = torch.minimum(rank, count - 1)
            option = ((allowed.cumsum(1) == rank[:, None] + 1) & allowed).long().argmax(1)
            action = torch.cat([action, option[:, None]], 1)
        state = environment.step(state, action)
    return state


def genome_length(environment: Environment) -> int:
    """Genes of one candidate."""
    return environment.max_steps * len(environment.sizes)


def start_genomes(environment: Environment, n: int, generator: torch.Generator) -> Float[Tensor, "n g"]:
    """The random start: the same for every baseline that starts from genomes, given a generator of the same seed."""
    return torch.rand(n, genome_length(environment), generator=generator)


def any_candidate(environment: Environment[Any, C]) -> C:
    """Some candidate of an environment, always the same one: it tells what kind the environment makes."""
    return environment.decode(express(environment, torch.zeros(1, genome_length(environment))))[0]


class Search(Sampler[C], Generic[C]):
    """A sampler that keeps what it measured and answers a preference with the best of it (by weighted sum).

    `fit` proposes until the budget is spent, or until `patience` proposals in a row brought nothing new.
    """

    patience: int = 20

    def __init__(self, environment: Environment[Any, C], population: int = 100) -> None:
        self.environment, self.population = environment, population
        self.known: dict[C, Float[Tensor, " m"]] = {}

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        """The baseline over the environment of another sampler."""
        return cls(sampler.environment)

    @abstractmethod
    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[C], Answer, None]:
        """A generator object: yields what to measure, and is sent the utilities (n x m) and the validity."""

    def fit(
        self,
        measure: Measure[C],
        *,
        m: int,
        generator: torch.Generator | None = None,
        folder: Path | None = None,
    ) -> None:
        del folder  # a search is cheap to repeat: its measurements are in the ledger
        generator = generator if generator is not None else torch.Generator()
        self.known = {}
        search = self.search(generator, m)
        proposal = next(search)
        stale = 0
        while stale < self.patience:
            try:
                evaluation = measure(proposal.candidates, preference=proposal.preference)
            except BudgetExhausted:
                return
            before = len(self.known)
            for item, utility, valid in zip(proposal.candidates, evaluation.utility, evaluation.is_valid, strict=True):
                if valid:
                    self.known[item] = utility
            stale = 0 if len(self.known) > before else stale + 1
            proposal = search.send((evaluation.utility, evaluation.is_valid))

    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[C]:
        del generator
        if not self.known:
            raise RunError("expected a baseline that has measured something valid, got one without any")
        candidates = list(self.known)
        utility = torch.stack(list(self.known.values()))
        k, n = len(candidates), len(preference)
        scalar = WeightedSum()(utility[None].expand(n, k, -1), preference[:, None].expand(n, k, -1).to(utility))
        return Samples([candidates[i] for i in scalar.argmax(1).tolist()], preference)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "class_path": class_path(self),
            "environment": save_environment(self.environment, folder),
            "candidate": class_path(next(iter(self.known))) if self.known else None,
            "known": {item.key: utility.tolist() for item, utility in self.known.items()},
        }
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / "sampler.yaml"
        if not path.is_file():
            raise RunError(f"expected a saved baseline with a sampler.yaml, got nothing of the kind in {folder}")
        facts = yaml.safe_load(path.read_text())
        self = cls(load_environment(folder, facts["environment"]))
        if facts["known"]:
            kind = candidate_class(facts.get("candidate", "mogen.domain.molecule.Molecule"))
            self.known = {
                kind(key): torch.tensor(utility, dtype=torch.float64) for key, utility in facts["known"].items()
            }
        return self


def candidate_class(path: str) -> Any:
    """A candidate's class that is made from its key; raises `RunError` for anything a saved search may not name."""
    module, _, name = str(path).rpartition(".")
    if not module.startswith(("mogen.domain.", "samplers.")):
        raise RunError(f"expected a kind of candidate of mogen.domain in a saved baseline, got {path!r}")
    return getattr(import_module(module), name)
