"""Str2Str as a sampler: conformations of a given chain by noise to an intermediate time and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, final

import torch
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen import preference as preferences
from mogen.dataset.models import model_folder
from mogen.dataset.store import find
from mogen.domain.backbone import Backbone, read_backbone
from mogen.errors import BudgetExhausted, ConfigError, DataError, RunError
from mogen.objective import DifferentiableObjective, Measure, objectives_behind
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum
from mogen.sampler import Sampler, Samples
from samplers.diffusion import Fields, Guidance
from samplers.str2str.card import card_text
from samplers.str2str.network import Denoiser, Size
from samplers.str2str.process import Predict, fields_of, network_prediction
from samplers.str2str.protocol import STARTS as STARTS
from samplers.str2str.protocol import Protocol as Protocol
from samplers.str2str.protocol import backbones_of, denoised, grouped
from samplers.str2str.protocol import conformations as conformations
from samplers.str2str.record import Record
from samplers.str2str.steering import Steering, Worth, groups_of, steered, worth_of


@final
class Str2StrSampler(Sampler[Backbone]):
    """Zero-shot protein conformations by structure-to-structure translation (Lu et al. 2024).

    It explores what a network trained on still structures believes possible around an input structure. It does not
    know the sequence, and its conformations have no thermodynamic weights.

    With objectives, conformations of the input are steered towards preferences: objectives with gradients push
    predictions and weigh particles without being asked, and only finished conformations are measured; where any
    objective has no gradient, predictions are measured on the way and particles alone steer by them.

    Args:
        data: what to train on: a folder of PDB or mmCIF files, an .npz archive of backbones, or a data set's name.
        input: the structure whose conformations `sample` draws (PDB or mmCIF).
        model: the folder or the name of a trained model, instead of data; `str2str` is the shipped one.
        size: published, small or tiny.
        protocol: how conformations are drawn.
        fixed: residues that keep the input's coordinates, by place in the chain from 0.
        steering: how conformations are steered towards objectives.
        scalarization: how a preference makes one number of many utilities.
        preference: the distribution of preferences in `fit`.
        steps: gradient steps.
        longest: the longest chain trained on.
        budget: squared residues in a batch.
        learning_rate: of Adam.
        decay: of the averaged weights that are saved.
        latest: the largest time trained on.
        skew: above 1, more of the times trained on are small (times are u^skew of the way, u uniform).
        chain_weight: of a loss of our own that keeps peptide units whole; 0 is the published loss.
        clash_weight: of a loss of our own that keeps CA apart; 0 is the published loss.
        cooldown: steps at the end over which the learning rate falls to 0.
        checkpoint_every: steps between checkpoints.
        validation: chains that validation looks at, at most.
        most_residues: the longest chain the model accepts.
        seed: of the order of batches and their noise.
        accelerator: Lightning's: auto, cpu, gpu, ...
    """

    def __init__(
        self,
        data: str | None = None,
        input: str | None = None,
        model: str | None = None,
        size: str = "small",
        protocol: Protocol | None = None,
        fixed: tuple[int, ...] = (),
        steering: Steering | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
        steps: int = 20_000,
        longest: int = 128,
        budget: int = 65_536,
        learning_rate: float = 3e-4,
        decay: float = 0.999,
        latest: float = 1.0,
        skew: float = 1.0,
        chain_weight: float = 0.0,
        clash_weight: float = 0.0,
        cooldown: int = 0,
        checkpoint_every: int = 200,
        validation: int = 16,
        most_residues: int = 512,
        seed: int = 0,
        accelerator: str = "auto",
    ) -> None:
        Size.named(size)
        if steps < 1 or checkpoint_every < 1:
            raise ConfigError(f"expected steps and checkpoint_every of at least 1, got {steps} and {checkpoint_every}")
        self.data, self.input, self.size, self.fixed = data, input, size, tuple(fixed)
        self.protocol = protocol or Protocol()
        self.steps, self.longest, self.budget, self.learning_rate = steps, longest, budget, learning_rate
        self.decay, self.latest, self.checkpoint_every = decay, latest, checkpoint_every
        self.skew, self.cooldown = skew, cooldown
        self.chain_weight, self.clash_weight = chain_weight, clash_weight
        self.validation, self.most_residues, self.seed, self.accelerator = validation, most_residues, seed, accelerator
        self.steering = steering or Steering()
        self.scalarization = scalarization or WeightedSum()
        self.preference = preference or Dirichlet(1.0)
        self.network: Denoiser | None = None
        self.card: dict[str, Any] = {}
        self.evaluations = 0
        """evaluations of the network that the last conformation took"""
        self.spent = 0
        """evaluations of the network so far, one for every structure of a batch"""
        self.gradients = 0
        """gradients of single objectives at single structures so far"""
        self.m = 0
        self.record: Record | None = None
        if model is not None:
            own = {"input": input, "protocol": protocol, "steering": steering, "scalarization": scalarization}
            self._take(model_folder(model), {name for name, value in own.items() if value is not None})

    def build(self) -> Denoiser:
        """The untrained network; its weights are drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Denoiser(Size.named(self.size))

    def train(self, folder: Path | None = None, *, seed: int | None = None) -> None:
        """Trains the network on `data`; goes on from the newest checkpoint in the folder."""
        from samplers.str2str.data import Batches, read_chains, split
        from samplers.str2str.module import DenoiserModule, train

        if self.data is None:
            raise DataError(
                "expected data to train on (a folder of structures or an .npz), or a trained model, got none"
            )
        self.seed = self.seed if seed is None else seed
        source = Path(self.data)
        source = source if source.exists() or source.suffix else find(self.data)
        chains = split(read_chains(source), longest=self.longest)
        module = DenoiserModule(
            self.build(),
            Batches(chains.train, budget=self.budget, seed=self.seed),
            [chain.backbone for chain in chains.validation[: self.validation]],
            learning_rate=self.learning_rate,
            decay=self.decay,
            latest=self.latest,
            skew=self.skew,
            chain_weight=self.chain_weight,
            clash_weight=self.clash_weight,
            steps=self.steps,
            cooldown=self.cooldown,
        )
        train(module, steps=self.steps, every=self.checkpoint_every, folder=folder, accelerator=self.accelerator)
        self.network = module.average
        self.card = {
            "chains": len(chains.train),
            "held_out": sorted({chain.cluster for chain in chains.held_out}),
            "data": source.name,
            "data_sha256": _digest(source),
            "steps": int(module.global_step),
            "seed": self.seed,
            "validation": {name: round(value, 5) for name, value in module.validate().items()},
        }

    def fit(
        self,
        measure: Measure[Backbone],
        *,
        m: int,
        generator: torch.Generator | None = None,
        folder: Path | None = None,
    ) -> None:
        """Rounds of steered conformations of the input, each group by one preference, until the budget's end.

        What no other conformation dominates is kept; `sample` starts from it. Without a model, one is trained first.
        """
        generator = generator if generator is not None else torch.Generator()
        if self.network is None:
            self.train(folder / "data" if folder is not None else None)
        backbone = self.target()
        self.m, self.record = m, Record([], torch.zeros(0, m, dtype=torch.float64))
        try:
            for turn in range(self.steering.rounds):
                preference = self.preference.sample(self.steering.groups, m, generator=generator).float()
                start = self.protocol.starts[turn % len(self.protocol.starts)]
                group = groups_of(len(preference), self.steering.particles)
                found = self.steered(measure, backbone, preference, start, generator)
                self.record.add(found, measure(found, preference=preference[group]))
        except BudgetExhausted:
            pass

    def steered(
        self,
        measure: Measure[Backbone],
        backbone: Backbone,
        preference: Float[Tensor, "k m"],
        start: float,
        generator: torch.Generator | None,
    ) -> list[Backbone]:
        """Conformations steered to preferences, `particles` of each in turn."""
        smooth = [
            item if isinstance(item, DifferentiableObjective) else None for item in objectives_behind(measure)
        ] or [None] * preference.shape[1]
        whole = [item for item in smooth if item is not None]
        worth: Worth
        if len(whole) == len(smooth):
            worth = worth_of(whole, self.scalarization, preference)
        else:
            worth = self.measured(measure, backbone, preference)
        group = groups_of(len(preference), self.steering.particles)
        guide = steered(smooth, preference, worth, self.steering, self.protocol.steps)
        clean = grouped(fields_of([backbone] * len(group), [self.fixed] * len(group)), group)
        try:
            ended = self.denoised(clean, start, guidance=guide, generator=generator)
        finally:
            self.gradients += guide.push.gradients
        return backbones_of(backbone, ended)

    def measured(self, measure: Measure[Backbone], backbone: Backbone, preference: Float[Tensor, "k m"]) -> Worth:
        """What predictions are worth by measuring them, which the budget pays for."""

        def worth(fields: Fields) -> Tensor:
            items, wanted = backbones_of(backbone, fields), preference[fields["group"]]
            found = measure(items, preference=wanted)
            if self.record is not None:
                self.record.add(items, found)
            return self.scalarization(found.utility.to(wanted), wanted)

        return worth

    def denoised(
        self, clean: Fields, start: float, *, guidance: Guidance | None, generator: torch.Generator | None
    ) -> Fields:
        """Fields taken to a noise time and back, on the account of network evaluations."""
        ended, self.evaluations = denoised(
            self.predict(), clean, start, self.protocol, guidance=guidance, generator=generator
        )
        self.spent += self.evaluations * len(clean["exists"])
        return ended

    def target(self) -> Backbone:
        """The input structure."""
        if self.input is None:
            raise ConfigError("expected an input structure (PDB or mmCIF) for conformations, got none")
        backbone = read_backbone(self.input)
        self.check(backbone, self.fixed)
        return backbone

    def predict(self) -> Predict:
        """What predicts clean frames; raises `RunError` where nothing was trained."""
        if self.network is None:
            raise RunError("expected a trained Str2Str model, got one that was neither fitted nor loaded")
        return network_prediction(self.network, bf16=self.protocol.precision == "bf16")

    def check(self, backbone: Backbone, fixed: Sequence[int]) -> None:
        """Raises `ConfigError` for a chain or for residues that the model cannot take."""
        if len(backbone) < 2:
            raise ConfigError(f"expected a chain of at least 2 residues for conformations, got {len(backbone)}")
        if len(backbone) > self.most_residues:
            raise ConfigError(f"expected at most {self.most_residues} residues for this model, got {len(backbone)}")
        if any(not 0 <= place < len(backbone) for place in fixed):
            raise ConfigError(f"expected fixed residues from 0 to {len(backbone) - 1}, got {list(fixed)}")

    def conformations(
        self,
        backbone: Backbone,
        n: int,
        *,
        fixed: Sequence[int] = (),
        guidance: Guidance | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[list[Backbone], list[float]]:
        """n conformations of a chain and the noise time of each; the protocol's times are taken in turn."""
        predict = self.predict()
        self.check(backbone, fixed)
        starts = [self.protocol.starts[i % len(self.protocol.starts)] for i in range(n)]
        found: dict[float, list[Backbone]] = {}
        for start in dict.fromkeys(starts):
            drawn, self.evaluations = conformations(
                predict,
                backbone,
                start,
                starts.count(start),
                self.protocol,
                fixed=fixed,
                guidance=guidance,
                generator=generator,
            )
            self.spent += self.evaluations * len(drawn)
            found[start] = drawn[::-1]
        return [found[start].pop() for start in starts], starts

    def sample(
        self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None
    ) -> Samples[Backbone]:
        """One conformation per row: of the input structure, or after `fit` of what measured best for the preference.

        After `fit` it comes back from the small noise time `steering.near`; nothing steers it then.
        """
        if preference.shape[1] != self.m:
            raise ConfigError(f"expected preferences of n x {self.m}, got {tuple(preference.shape)}")
        if not self.record:
            found, _ = self.conformations(self.target(), len(preference), fixed=self.fixed, generator=generator)
            return Samples(found, preference)
        made: list[Backbone | None] = [None] * len(preference)
        best = self.record.best(self.scalarization, preference)
        for place in dict.fromkeys(best):
            rows = [row for row, other in enumerate(best) if other == place]
            about = self.record.backbones[place]
            clean = fields_of([about] * len(rows), [self.fixed] * len(rows))
            ended = self.denoised(clean, self.steering.near, guidance=None, generator=generator)
            for row, item in zip(rows, backbones_of(about, ended), strict=True):
                made[row] = item
        return Samples([item for item in made if item is not None], preference)

    def save(self, folder: Path) -> None:
        if self.network is None:
            raise RunError("expected a trained Str2Str model to save, got one that was neither fitted nor loaded")
        folder.mkdir(parents=True, exist_ok=True)
        state = self.network.state_dict()
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, folder / "weights.safetensors")
        kind = type(self)
        facts = {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "objectives": self.m,
            "size": self.size,
            "input": None if self.input is None else str(Path(self.input).resolve()),
            "fixed": list(self.fixed),
            "most_residues": self.most_residues,
            "protocol": {**asdict(self.protocol), "starts": list(self.protocol.starts)},
            "steering": asdict(self.steering),
            "scalarization": type(self.scalarization).__qualname__,
            "card": {**self.card, **self.accounts()},
        }
        if self.record is not None:
            self.record.save(folder)
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
        weights = sum(value.numel() for value in self.network.parameters())
        (folder / "card.md").write_text(card_text(facts, weights), encoding="utf-8")

    def accounts(self) -> dict[str, Any]:
        """What `fit` cost, here or before the model was saved; nothing without `fit`."""
        if self.record is None or not self.spent:
            return {key: self.card[key] for key in ("network_evaluations", "gradients", "kept") if key in self.card}
        return {"network_evaluations": self.spent, "gradients": self.gradients, "kept": len(self.record)}

    @classmethod
    def load(cls, folder: Path) -> Self:
        self = cls()
        self._take(folder, set())
        return self

    def _take(self, folder: Path, own: Set[str]) -> None:
        """Takes over what was saved, but for the settings that are its own."""
        path = folder / "sampler.yaml"
        if not path.is_file():
            raise RunError(f"expected a saved sampler with a sampler.yaml, got nothing of the kind in {folder}")
        facts = yaml.safe_load(path.read_text())
        if "input" not in own:
            self.input, self.fixed = facts["input"], tuple(facts["fixed"])
        if "protocol" not in own:
            self.protocol = Protocol(**{**facts["protocol"], "starts": tuple(facts["protocol"]["starts"])})
        if "steering" not in own:
            self.steering = Steering(**facts.get("steering", {}))
        if "scalarization" not in own:
            kind = getattr(preferences, str(facts.get("scalarization", "WeightedSum")), None)
            self.scalarization = kind() if isinstance(kind, type) and issubclass(kind, Scalarization) else WeightedSum()
        self.size, self.most_residues, self.card = facts["size"], facts["most_residues"], facts["card"]
        self.network = self.build()
        self.network.load_state_dict(load_file(folder / "weights.safetensors"))
        self.network.requires_grad_(False).eval()
        if "input" not in own:
            self.m, self.record = int(facts["objectives"]), Record.load(folder)


def _digest(source: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted(item for item in source.rglob("*") if item.is_file()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
