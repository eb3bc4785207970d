"""The preference-conditioned GFlowNet as a sampler."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self, final

import torch
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, RunError
from mogen.objective import Measure
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum
from mogen.sampler import Sampler, Samples
from samplers.environment.environment import Environment
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.saved import class_path, imported, load_environment, save_environment
from samplers.gflownet.condition import Condition, ConstantBeta, InverseTemperature, encoding_size
from samplers.gflownet.loss import TrajectoryBalance, TrajectoryLoss
from samplers.gflownet.networks.fragment import HistoryTransformer
from samplers.gflownet.policy import LogPartition, Network
from samplers.gflownet.replay import Replay
from samplers.gflownet.reward import Reward


@final
class GFlowNetSampler(Sampler[Molecule]):
    """A GFlowNet conditioned on preference and inverse temperature (MOGFN-PC, Jain et al. 2023).

    Args:
        environment: what is built, and how; the fragment environment with the shipped vocabulary by default.
        network: the forward policy's network.
        loss: what a trajectory must satisfy.
        scalarization: how a preference makes one number of many utilities.
        preference: the distribution of preferences in training.
        beta: the distribution of the reward exponent in training; its highest value is asked for when sampling.
        replay: old trajectories under new preferences; null for purely on-policy training.
        steps: gradient steps at most; training also ends with the budget.
        batch: new trajectories per step that asks.
        updates: gradient steps per batch of new trajectories; all but one of them learn from replay alone.
        epsilon: probability that a step of a trajectory is uniformly random.
        average: decay of the averaged policy that rolls out.
        learning_rate: of the policy (Adam).
        partition_rate: of log Z.
        weight_decay: of the policy.
        decay_steps: after so many steps learning rates have halved.
        clip: largest global norm of the gradient.
        floor: smallest log R.
        bins: thermometer bins per preference.
        checkpoint_every: steps between checkpoints.
        accelerator: Lightning's: auto, cpu, gpu, ...
    """

    def __init__(
        self,
        environment: Environment | None = None,
        network: Network | None = None,
        loss: TrajectoryLoss | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
        beta: InverseTemperature | None = None,
        replay: Replay | None = None,
        steps: int = 5_000,
        batch: int = 64,
        updates: int = 1,
        epsilon: float = 0.05,
        average: float = 0.95,
        learning_rate: float = 5e-4,
        partition_rate: float = 1e-2,
        weight_decay: float = 1e-8,
        decay_steps: float = 20_000.0,
        clip: float = 10.0,
        floor: float = -75.0,
        bins: int = 16,
        checkpoint_every: int = 50,
        accelerator: str = "auto",
    ) -> None:
        for name, value in (
            ("steps", steps),
            ("batch", batch),
            ("updates", updates),
            ("checkpoint_every", checkpoint_every),
        ):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in the GFlowNet sampler, got {value}")
        self.environment = environment if environment is not None else FragmentEnvironment()
        self.network = network or HistoryTransformer()
        self.loss = loss or TrajectoryBalance()
        self.reward = Reward(scalarization or WeightedSum(), floor)
        self.preference = preference or Dirichlet(1.0)
        self.beta = beta or ConstantBeta(32.0)
        self.replay = replay
        self.steps, self.batch, self.epsilon, self.average = steps, batch, epsilon, average
        self.learning_rate, self.partition_rate, self.weight_decay = learning_rate, partition_rate, weight_decay
        self.decay_steps, self.clip, self.bins, self.updates = decay_steps, clip, bins, updates
        self.checkpoint_every, self.accelerator = checkpoint_every, accelerator
        self.module: Any = None

    def build(self, m: int, *, generator: torch.Generator | None = None) -> Any:
        """The untrained Lightning module for m objectives; weights are drawn from the generator's seed."""
        from samplers.gflownet.module import GFlowNetModule

        size = encoding_size(m, self.bins)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed() if generator is not None else 0)
            policy = self.network.build(self.environment, size)
            log_partition = LogPartition(size)
        return GFlowNetModule(
            self.environment,
            policy,
            log_partition,
            self.reward,
            self.loss,
            self.preference,
            self.beta,
            self.replay,
            m=m,
            bins=self.bins,
            batch=self.batch,
            updates=self.updates,
            epsilon=self.epsilon,
            average=self.average,
            learning_rate=self.learning_rate,
            partition_rate=self.partition_rate,
            weight_decay=self.weight_decay,
            decay_steps=self.decay_steps,
            clip=self.clip,
        )

    def fit(
        self,
        measure: Measure[Molecule],
        *,
        m: int,
        generator: torch.Generator | None = None,
        folder: Path | None = None,
    ) -> None:
        from samplers.gflownet.trainer import train

        self.module = self.build(m, generator=generator)
        self.module.measure = measure
        self.module.generator = generator if generator is not None else torch.Generator()
        train(self.module, steps=self.steps, every=self.checkpoint_every, folder=folder, accelerator=self.accelerator)
        self.module.measure = None

    @torch.no_grad()
    def sample(
        self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None
    ) -> Samples[Molecule]:
        module = self._trained()
        if preference.ndim != 2 or preference.shape[1] != module.m:
            raise ConfigError(f"expected preferences of n x {module.m}, got {tuple(preference.shape)}")
        module.generator = generator if generator is not None else torch.Generator()
        preference = preference.float()
        condition = Condition(preference, torch.full((len(preference),), self.beta.highest))
        candidates: list[Molecule] = []
        for start in range(0, len(preference), 512):
            part = Condition(condition.preference[start : start + 512], condition.beta[start : start + 512])
            candidates += self.environment.decode(module.roll(part, 0.0).final)
        return Samples(candidates, preference)

    def _trained(self) -> Any:
        if self.module is None:
            raise RunError("expected a trained GFlowNet, got one that was neither fitted nor loaded")
        return self.module

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        module = self._trained()
        state = {
            **{f"policy.{name}": value for name, value in module.sampling_policy.state_dict().items()},
            **{f"log_partition.{name}": value for name, value in module.log_partition.state_dict().items()},
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        save_file(tensors, folder / "weights.safetensors")
        facts = {
            "class_path": class_path(self),
            "objectives": module.m,
            "bins": self.bins,
            "beta": self.beta.highest,
            "environment": save_environment(self.environment, folder),
            "network": {"class_path": class_path(self.network), "init_args": dict(vars(self.network))},
        }
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / "sampler.yaml"
        if not path.is_file():
            raise RunError(f"expected a saved sampler with a sampler.yaml, got nothing of the kind in {folder}")
        facts = yaml.safe_load(path.read_text())
        network = imported(facts["network"]["class_path"])(**facts["network"]["init_args"])
        environment = load_environment(folder, facts["environment"])
        self = cls(environment=environment, network=network, beta=ConstantBeta(facts["beta"]), bins=facts["bins"])
        self.module = self.build(facts["objectives"])
        weights = load_file(folder / "weights.safetensors")
        for name, part in (("policy", self.module.sampling_policy), ("log_partition", self.module.log_partition)):
            own = {key: value for key, value in weights.items() if key.startswith(f"{name}.")}
            part.load_state_dict({key.removeprefix(f"{name}."): value for key, value in own.items()})
        self.module.policy.load_state_dict(self.module.sampling_policy.state_dict())
        return self


warnings.filterwarnings("ignore", message=".*does not have many workers.*")
