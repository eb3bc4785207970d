"""Str2Str as a sampler: conformations of a given chain by noise to an intermediate time and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, final

import torch
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen.domain.backbone import Backbone, read_backbone
from mogen.errors import ConfigError, DataError, RunError
from mogen.objective import Measure
from mogen.sampler import Sampler, Samples
from samplers.diffusion import Guidance, integrate
from samplers.str2str.network import Denoiser, Size
from samplers.str2str.process import (
    EndsAtPrediction,
    Predict,
    PredictedScore,
    atoms_of_fields,
    centre_of,
    fields_of,
    from_prior,
    grid_of,
    network_prediction,
    perturbed,
    process,
    solver_of,
)

STARTS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
"""the published noise times, which conformations take in turn"""


@dataclass(frozen=True)
class Protocol:
    """How conformations are drawn.

    Args:
        starts: noise times T the input is taken to, in turn; 1 with `is_prior` for plain generation.
        steps: intervals from T to 0.01; the schedule str2str_released always takes int(1000 T) - 1.
        method: euler, heun and dpm follow the probability flow, sde and stochastic_heun have noise.
        schedule: exact, or str2str_released: the wrong step length of the released code, for comparison.
        noise_scale: what noise is multiplied by on the way back.
        self_conditioning: whether the network sees its prediction before.
        is_prior: start from pure noise instead of the noisy input; only the chain's length and numbers are used.
        batch: replicas denoised together.
        bf16: whether matrix products are in bfloat16; geometry stays in float32.
    """

    starts: tuple[float, ...] = STARTS
    steps: int = 50
    method: str = "heun"
    schedule: str = "exact"
    noise_scale: float = 1.0
    self_conditioning: bool = True
    is_prior: bool = False
    batch: int = 16
    bf16: bool = False

    def __post_init__(self) -> None:
        if not self.starts or self.batch < 1:
            raise ConfigError(f"expected at least one start time and a batch of at least 1, got {self}")
        for start in self.starts:
            grid_of(self.schedule, start, self.steps)
            solver_of(self.method, self.schedule, start, self.noise_scale)


@torch.no_grad()
def conformations(
    predict: Predict,
    backbone: Backbone,
    start: float,
    n: int,
    protocol: Protocol,
    *,
    fixed: Sequence[int] = (),
    guidance: Guidance | None = None,
    generator: torch.Generator | None = None,
) -> tuple[list[Backbone], int]:
    """n conformations from one noise time, and the evaluations of the network each took.

    Fixed residues (by place in the chain, from 0) keep the input's coordinates, bit for bit.
    """
    sde, found, evaluations = process(), [], 0
    for first in range(0, n, protocol.batch):
        count = min(protocol.batch, n - first)
        clean = fields_of([backbone] * count, [fixed] * count)
        score = PredictedScore(sde, predict, self_conditioning=protocol.self_conditioning)
        t = torch.full((count,), start)
        if protocol.is_prior:
            noisy = from_prior(sde, clean, generator=generator)
        else:
            noisy = perturbed(sde, clean, t, generator=generator)
        if protocol.self_conditioning:
            score.clean(noisy, t)
        solver = solver_of(protocol.method, protocol.schedule, start, protocol.noise_scale)
        solver = EndsAtPrediction(solver, score)
        grid = grid_of(protocol.schedule, start, protocol.steps)
        ended = integrate(sde, score, solver, noisy, grid, guidance=guidance, generator=generator)
        found += placed_back(backbone, atoms_of_fields(ended)[:, :, :4], clean["moves"])
        evaluations = score.evaluations
    return found, evaluations


def placed_back(backbone: Backbone, atoms: Float[Tensor, "b r 4 3"], moves: Tensor) -> list[Backbone]:
    """Backbones where the input was, with the input's own atoms in fixed residues."""
    atoms = atoms + centre_of(backbone)
    whole = torch.where(moves[..., None, None], atoms, backbone.coordinates)
    return [backbone.moved(item) for item in whole]


@final
class Str2StrSampler(Sampler[Backbone]):
    """Zero-shot protein conformations by structure-to-structure translation (Lu et al. 2024).

    It explores what a network trained on still structures believes possible around an input structure. It does not
    know the sequence, and its conformations have no thermodynamic weights.

    Args:
        data: what to train on: a folder of PDB or mmCIF files, or an .npz archive of backbones.
        input: the structure whose conformations `sample` draws (PDB or mmCIF).
        size: published, small or tiny.
        protocol: how conformations are drawn.
        fixed: residues that keep the input's coordinates, by place in the chain from 0.
        steps: gradient steps.
        longest: the longest chain trained on.
        budget: squared residues in a batch.
        learning_rate: of Adam.
        decay: of the averaged weights that are saved.
        latest: the largest time trained on.
        skew: above 1, more of the times trained on are small (times are u^skew of the way, u uniform).
        chain_weight: of a loss of our own that keeps peptide units whole and CA apart; 0 is the published loss.
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
        size: str = "small",
        protocol: Protocol | None = None,
        fixed: tuple[int, ...] = (),
        steps: int = 20_000,
        longest: int = 128,
        budget: int = 65_536,
        learning_rate: float = 3e-4,
        decay: float = 0.999,
        latest: float = 1.0,
        skew: float = 1.0,
        chain_weight: float = 0.0,
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
        self.skew, self.chain_weight, self.cooldown = skew, chain_weight, cooldown
        self.validation, self.most_residues, self.seed, self.accelerator = validation, most_residues, seed, accelerator
        self.network: Denoiser | None = None
        self.card: dict[str, Any] = {}
        self.evaluations = 0
        """evaluations of the network that the last conformation took"""

    def build(self) -> Denoiser:
        """The untrained network; its weights are drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Denoiser(Size.named(self.size))

    def fit(
        self,
        measure: Measure[Backbone] | None = None,
        *,
        m: int = 0,
        generator: torch.Generator | None = None,
        folder: Path | None = None,
    ) -> None:
        """Trains the network on `data`; the measure is not asked (nothing has to be measured to learn to denoise)."""
        del measure, m, generator
        from samplers.str2str.data import Batches, read_chains, split
        from samplers.str2str.module import DenoiserModule, train

        if self.data is None:
            raise DataError(
                "expected data to train on (a folder of structures or an .npz), or a trained model, got none"
            )
        source = Path(self.data)
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
        if self.network is None:
            raise RunError("expected a trained Str2Str model, got one that was neither fitted nor loaded")
        if len(backbone) > self.most_residues:
            raise ConfigError(f"expected at most {self.most_residues} residues for this model, got {len(backbone)}")
        if any(not 0 <= place < len(backbone) for place in fixed):
            raise ConfigError(f"expected fixed residues from 0 to {len(backbone) - 1}, got {list(fixed)}")
        predict = network_prediction(self.network, bf16=self.protocol.bf16)
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
            found[start] = drawn[::-1]
        return [found[start].pop() for start in starts], starts

    def sample(
        self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None
    ) -> Samples[Backbone]:
        """One conformation of the input structure per row; without guidance the preference changes nothing."""
        if self.input is None:
            raise ConfigError("expected an input structure (PDB or mmCIF) for conformations, got none")
        found, _ = self.conformations(read_backbone(self.input), len(preference), fixed=self.fixed, generator=generator)
        return Samples(found, preference)

    def save(self, folder: Path) -> None:
        if self.network is None:
            raise RunError("expected a trained Str2Str model to save, got one that was neither fitted nor loaded")
        folder.mkdir(parents=True, exist_ok=True)
        state = self.network.state_dict()
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, folder / "weights.safetensors")
        kind = type(self)
        facts = {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "objectives": 0,
            "size": self.size,
            "input": None if self.input is None else str(Path(self.input).resolve()),
            "fixed": list(self.fixed),
            "most_residues": self.most_residues,
            "protocol": {**asdict(self.protocol), "starts": list(self.protocol.starts)},
            "card": self.card,
        }
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / "sampler.yaml"
        if not path.is_file():
            raise RunError(f"expected a saved sampler with a sampler.yaml, got nothing of the kind in {folder}")
        facts = yaml.safe_load(path.read_text())
        protocol = Protocol(**{**facts["protocol"], "starts": tuple(facts["protocol"]["starts"])})
        self = cls(
            input=facts["input"],
            size=facts["size"],
            protocol=protocol,
            fixed=tuple(facts["fixed"]),
            most_residues=facts["most_residues"],
        )
        self.card = facts["card"]
        self.network = self.build()
        self.network.load_state_dict(load_file(folder / "weights.safetensors"))
        self.network.requires_grad_(False).eval()
        return self


def _digest(source: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted(item for item in source.rglob("*") if item.is_file()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
