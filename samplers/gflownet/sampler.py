"""The conditional GFlowNet as a sampler."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Generic, Literal, Self, final

import torch
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen.errors import ConfigError, RunError
from mogen.objective import Measure
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum
from mogen.sampler import Sampler, Samples
from mogen.types import C
from samplers.environment.atom import AtomEnvironment
from samplers.environment.environment import Environment
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.saved import class_path, imported, load_environment, save_environment
from samplers.gflownet.condition import Asking, Condition, ConstantBeta, InverseTemperature, Preferences, Unasked
from samplers.gflownet.loss import TrajectoryBalance, TrajectoryLoss
from samplers.gflownet.networks.default import default_network
from samplers.gflownet.policy import EDGES, LogitScale, LogPartition, Network, Policy, StatePolicy
from samplers.gflownet.replay import Replay
from samplers.gflownet.reward import Reward


@final
class GFlowNetSampler(Sampler[C], Generic[C]):
    """A GFlowNet conditioned on preference (or goal) and inverse temperature (MOGFN-PC, Jain et al. 2023).

    Args:
        environment: what is built, and how; the fragment environment with the shipped vocabulary by default.
        network: the forward policy's network; one that suits the environment by default.
        loss: what a trajectory must satisfy.
        asking: what is asked for: preferences (by default), goals, or nothing (for the order-preserving loss).
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
        backward: the backward policy: uniform, or learned (policies of the state, where states have no symmetry).
        scales_logits: whether a learned function of beta multiplies all logits.
        checkpoint_every: steps between checkpoints.
        accelerator: Lightning's: auto, cpu, gpu, ...
        compile: rolls out an MLP over a HyperGrid as machine code, and with `average` 0, no replay and no hindsight
            computes its gradient so too (CPU only; wants a C compiler, the first time for a second). A step of
            16 walks of 38 steps took a quarter of the time, one of 256 half of it. It is no torch.compile, which did
            not pay: 45 s of compiling for a rollout that still takes six times as long, nothing won in gradients.
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
        backward: Literal["uniform", "learned"] = "uniform",
        scales_logits: bool = False,
        checkpoint_every: int = 50,
        accelerator: str = "auto",
        asking: Asking | None = None,
        compile: bool = False,
    ) -> None:
        for name, value in (
            ("steps", steps),
            ("batch", batch),
            ("updates", updates),
            ("checkpoint_every", checkpoint_every),
        ):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in the GFlowNet sampler, got {value}")
        chosen: Environment = environment if environment is not None else FragmentEnvironment()
        self.environment: Environment[Any, C] = chosen
        self.network = network or default_network(chosen)
        self.loss = loss or TrajectoryBalance()
        self.asking = asking or (Unasked() if self.loss.is_ordering else Preferences())
        if self.loss.is_ordering and not isinstance(self.asking, Unasked):
            raise ConfigError(
                f"expected asking: Unasked for {type(self.loss).__name__}, got {type(self.asking).__name__}"
            )
        if batch % self.loss.group:
            raise ConfigError(f"expected a batch that the loss's group of {self.loss.group} divides, got {batch}")
        if backward not in ("uniform", "learned"):
            raise ConfigError(f"expected a uniform or a learned backward policy, got {backward!r}")
        if scales_logits and EDGES in self.loss.needs:
            raise ConfigError(f"expected no scales_logits beside {type(self.loss).__name__}, whose logits are flows")
        self.backward, self.scales_logits = backward, scales_logits
        self.reward = Reward(self.asking.scalarization(scalarization or WeightedSum()), floor)
        self.preference = preference or Dirichlet(1.0)
        self.beta = beta or ConstantBeta(32.0)
        self.replay = replay
        self.steps, self.batch, self.epsilon, self.average = steps, batch, epsilon, average
        self.own_steps = steps
        self.learning_rate, self.partition_rate, self.weight_decay = learning_rate, partition_rate, weight_decay
        self.decay_steps, self.clip, self.bins, self.updates = decay_steps, clip, bins, updates
        self.checkpoint_every, self.accelerator, self.compile = checkpoint_every, accelerator, compile
        self.module: Any = None

    def set_rounds(self, rounds: int) -> bool:
        self.steps = rounds * self.own_steps
        return True

    def build(self, m: int, *, generator: torch.Generator | None = None) -> Any:
        """The untrained Lightning module for m objectives; weights are drawn from the generator's seed."""
        from samplers.gflownet.module import GFlowNetModule

        size = self.asking.size(m, self.bins)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed() if generator is not None else 0)
            policy = self.network.build(self.environment, size)
            log_partition = LogPartition(size)
            self._complete(policy)
        return GFlowNetModule(
            self.environment,
            policy,
            log_partition,
            self.reward,
            self.loss,
            self.preference,
            self.beta,
            self.replay,
            self.asking,
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
            steps=self.steps,
            compile=self.compile,
        )

    def _complete(self, policy: Policy) -> None:
        """Adds the parts a policy has only where they are asked for."""
        if EDGES in self.loss.needs and not isinstance(policy, StatePolicy):
            raise ConfigError(f"expected a policy of the state for flow matching, got {type(policy).__name__}")
        if self.scales_logits:
            policy.scale = LogitScale()
        if self.backward == "uniform":
            return
        is_plain = not isinstance(self.environment, FragmentEnvironment | AtomEnvironment)
        if not isinstance(policy, StatePolicy) or policy.flow is None or not is_plain:
            raise ConfigError(
                "expected a policy of states without symmetries (such as an MLP over a hypergrid or strings) for a "
                f"learned backward policy, got {type(policy).__name__} over {type(self.environment).__name__}"
            )
        options = self.environment.backward_allowed(self.environment.initial(1)).shape[1]
        width = next(part.in_features for part in policy.flow.modules() if isinstance(part, torch.nn.Linear))
        policy.backward = torch.nn.Linear(width, options)

    def fit(
        self,
        measure: Measure[C],
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
    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[C]:
        module = self._trained()
        if preference.ndim != 2 or preference.shape[1] != module.m:
            raise ConfigError(f"expected preferences of n x {module.m}, got {tuple(preference.shape)}")
        module.generator = generator if generator is not None else torch.Generator()
        preference = preference.float()
        condition = Condition(self.asking.of(preference), torch.full((len(preference),), self.beta.highest))
        candidates: list[C] = []
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
            "asking": {"class_path": class_path(self.asking), "init_args": self.asking.describe()},
            "backward": self.backward,
            "scales_logits": self.scales_logits,
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
        asking = facts.get("asking", {"class_path": class_path(Preferences()), "init_args": {}})
        self = cls(
            environment=environment,
            network=network,
            beta=ConstantBeta(facts["beta"]),
            bins=facts["bins"],
            asking=imported(asking["class_path"])(**asking["init_args"]),
            backward=facts.get("backward", "uniform"),
            scales_logits=facts.get("scales_logits", False),
        )
        self.module = self.build(facts["objectives"])
        weights = load_file(folder / "weights.safetensors")
        for name, part in (("policy", self.module.sampling_policy), ("log_partition", self.module.log_partition)):
            own = {key: value for key, value in weights.items() if key.startswith(f"{name}.")}
            part.load_state_dict({key.removeprefix(f"{name}."): value for key, value in own.items()})
        self.module.policy.load_state_dict(self.module.sampling_policy.state_dict())
        return self


warnings.filterwarnings("ignore", message=".*does not have many workers.*")
