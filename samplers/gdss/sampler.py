"""Graph diffusion as a sampler: plain samples, or a front by steering."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, final

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from mogen.domain.graph import Graph, MolecularGraphs, correct_valence, molecules
from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError, RunError
from mogen.objective import Measure
from mogen.sampler import Sampler, Samples
from samplers.diffusion import Fields, Solver
from samplers.diffusion.saved import described, rebuilt
from samplers.gdss.model import GraphModel, read_facts
from samplers.gdss.training import GraphTraining


@final
class GDSSSampler(Sampler[Any]):
    """Graphs and molecules by a system of SDEs (GDSS, Jo et al. 2022).

    Args:
        model: the folder of a trained model.
        training: how a model is trained, where there is none.
        solver: how the reverse process is solved; the model's own way where it is not given.
        steps: steps of the solver; the model's own number where it is not given.
        batch: graphs drawn together.
        is_balanced: whether an N+ or O+ takes the proton of an OH beside it, so that molecules are neutral.
    """

    def __init__(
        self,
        model: str | None = None,
        training: GraphTraining | None = None,
        solver: Solver | None = None,
        steps: int | None = None,
        batch: int = 512,
        is_balanced: bool = False,
    ) -> None:
        if batch < 1 or (steps is not None and steps < 1):
            raise ConfigError(f"expected batch and steps of at least 1 in the GDSS sampler, got {batch} and {steps}")
        self.batch, self.is_balanced = batch, is_balanced
        self.solver, self.steps = solver, steps
        self.training = training
        self.model: GraphModel | None = None
        self.card: dict[str, Any] = {}
        if model is not None:
            self._take(Path(model))

    def _take(self, folder: Path) -> None:
        facts = read_facts(folder)
        self.model = GraphModel.load(folder, facts["model"])
        self.solver = self.solver or rebuilt(facts["solver"])
        self.steps = self.steps or int(facts["steps"])
        self.card = facts.get("card", {})

    @classmethod
    def of(cls, model: GraphModel, solver: Solver, steps: int, card: dict[str, Any] | None = None) -> Self:
        """A sampler around a model that is at hand."""
        self = cls(solver=solver, steps=steps)
        self.model, self.card = model, card or {}
        return self

    def train(self, folder: Path | None, *, seed: int = 0) -> None:
        """Trains a model on data; goes on from the newest checkpoint of the folder."""
        training = self.training or GraphTraining()
        self.model, self.card = training.run(folder, seed)
        self.solver, self.steps = self.solver or training.solver, self.steps or training.steps

    def trained(self) -> tuple[GraphModel, Solver, int]:
        """The model, the solver and the number of its steps; raises `RunError` where there is no model."""
        if self.model is None or self.solver is None or self.steps is None:
            raise RunError("expected a GDSS sampler with a model, got one without: name a trained model's folder")
        return self.model, self.solver, self.steps

    def fit(
        self, measure: Measure[Any], *, m: int, generator: torch.Generator | None = None, folder: Path | None = None
    ) -> None:
        raise NotImplementedError

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> list[Fields]:
        """Clean fields of n graphs of sizes as in the training data, before they are rounded."""
        model, solver, steps = self.trained()
        sizes = model.kind.draw_sizes(n, generator=generator)
        return model.draw(sizes, solver, model.grid(steps), batch=self.batch, generator=generator)

    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[Any]:
        candidates: list[Any] = []
        for _ in range(20):
            missing = len(preference) - len(candidates)
            if missing == 0:
                break
            candidates += self.decoded(self.draw(missing, generator=generator))
        if len(candidates) < len(preference):
            raise RunError(f"expected {len(preference)} graphs, got {len(candidates)} in 20 rounds that are not empty")
        return Samples(candidates, preference)

    def decoded(self, drawn: list[Fields]) -> list[Any]:
        """Candidates in the order of `index`; molecules with their valences corrected; empty ones are left out."""
        model = self.trained()[0]
        found: dict[int, Molecule | Graph] = {}
        for fields in drawn:
            graphs = model.kind.decode(fields)
            items: list[Any] = list(graphs) if isinstance(graphs, list) else self.corrected(graphs)
            found |= {row: item for row, item in zip(fields["index"].tolist(), items, strict=True) if item is not None}
        return [found[row] for row in sorted(found)]

    def corrected(self, graphs: MolecularGraphs) -> list[Molecule | None]:
        """Molecules whose valences were corrected; the fragment with the longest SMILES of each."""
        types = self.trained()[0].kind.types
        texts = molecules(correct_valence(graphs, types), types, is_balanced=self.is_balanced)
        return [_molecule(text) for text in texts]

    def save(self, folder: Path) -> None:
        model, solver, steps = self.trained()
        facts = {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "objectives": 0,
            "model": model.save(folder),
            "solver": described(solver),
            "steps": steps,
            "is_balanced": self.is_balanced,
            "card": self.card,
        }
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_facts(folder)
        return cls(model=str(folder), is_balanced=bool(facts.get("is_balanced", False)))


def _molecule(text: str | None) -> Molecule | None:
    if text is None:
        return None
    try:
        return Molecule.from_smiles(text)
    except CandidateError:
        return None
