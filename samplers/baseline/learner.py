"""What policies told a preference share: asking, building, measuring, one optimiser; what is learned differs."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self

import torch
import yaml
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mogen.errors import BudgetExhausted, ConfigError, RunError
from mogen.objective import Measure
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum, thermometer
from mogen.sampler import Sampler, Samples
from mogen.types import C
from samplers.environment.environment import Environment
from samplers.environment.exact import chosen_rows
from samplers.environment.rollout import Actor, Trajectories, masked, rollout
from samplers.environment.saved import class_path, imported, load_environment, save_environment
from samplers.gflownet.networks.default import default_network
from samplers.gflownet.policy import Network, Policy

CHUNK = 512
"""samples built at a time"""


@dataclass(frozen=True)
class Episodes:
    """Trajectories, what was asked of them, and what they are worth."""

    preference: Float[Tensor, "n m"]
    told: Float[Tensor, "n d"]
    trajectories: Trajectories
    utility: Float[Tensor, "n m"]
    """zero where invalid"""


@dataclass(frozen=True)
class Scored:
    """What a policy says of n paths of l steps; padding has 0 (n x l)."""

    log_prob: Float[Tensor, "n l"]
    entropy: Float[Tensor, "n l"]
    """of the choices of a step, each given those taken before it"""
    summary: Float[Tensor, "n l d"]
    """of the state before every step"""
    is_step: Bool[Tensor, "n l"]


def scored(policy: Policy, trajectories: Trajectories, told: Float[Tensor, "n d"]) -> Scored:
    """Log-probabilities and entropies of every step of paths, in one pass with gradients."""
    choices, summary = policy.path_logits(trajectories, told)
    log_prob, entropy = torch.zeros((), device=told.device), torch.zeros((), device=told.device)
    for choice, (logits, allowed) in enumerate(zip(choices, trajectories.allowed, strict=True)):
        log_probs = masked(logits, allowed).log_softmax(-1)
        log_prob = log_prob + log_probs.gather(-1, trajectories.actions[..., choice, None])[..., 0]
        entropy = entropy - (log_probs.exp() * log_probs).sum(-1)
    is_step = trajectories.is_step
    return Scored(log_prob * is_step, entropy * is_step, summary, is_step)


def told_preference(preference: Float[Tensor, "n m"], bins: int) -> Float[Tensor, "n d"]:
    """Preferences as networks are told them: thermometers, and the numbers themselves; d = m * (bins + 1)."""
    return torch.cat([thermometer(preference, bins).flatten(1), preference], 1)


def seeded_build(build: Any, generator: torch.Generator | None) -> Any:
    """What `build` makes with weights drawn from the seed of a generator, whatever the global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed() if generator is not None else 0)
        return build()


def settings_of(sampler: Any) -> dict[str, Any]:
    """The arguments of a `Learner` that a GFlowNet (or anything with some of its settings) fixes.

    Network, preferences, scalarisation and thermometer are its own, and so is the number of trajectories.
    """
    found = {name: getattr(sampler, name) for name in ("preference", "batch", "bins") if hasattr(sampler, name)}
    network = getattr(sampler, "network", None)
    if isinstance(network, Network):
        found["network"] = network
    scalarization = getattr(getattr(sampler, "reward", None), "scalarization", None)
    if isinstance(scalarization, Scalarization):
        found["scalarization"] = scalarization
    if hasattr(sampler, "steps"):
        # only one in so many steps of a GFlowNet builds anything new
        found["steps"] = math.ceil(sampler.steps / getattr(sampler, "updates", 1))
    return found


class Learner(Sampler[C], Generic[C]):
    """A sampler whose networks are told a preference, learned from what it builds; trains on the CPU.

    Each step draws preferences, builds one candidate for each trajectory, measures, and takes one step of Adam on
    `loss`. Training ends with the budget or after `steps`. It always starts anew: a restarted one repeats itself.
    """

    group: int = 1
    """trajectories that share a preference"""

    def __init__(
        self,
        environment: Environment[Any, C],
        network: Network | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
        *,
        steps: int,
        batch: int,
        learning_rate: float,
        clip: float,
        bins: int,
    ) -> None:
        for name, value in (("steps", steps), ("batch", batch)):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in {type(self).__name__}, got {value}")
        self.environment = environment
        self.network = network or default_network(environment)
        self.scalarization, self.preference = scalarization or WeightedSum(), preference or Dirichlet(1.0)
        self.steps, self.batch, self.learning_rate, self.clip, self.bins = steps, batch, learning_rate, clip, bins
        self.m = 0
        self.model: Any = None

    @classmethod
    @abstractmethod
    def beside(cls, sampler: Any) -> Self:
        """The baseline over the environment of another sampler, with its settings where they mean the same."""

    @abstractmethod
    def parts(self, m: int, size: int) -> nn.Module:
        """Fresh networks for m objectives and an encoded preference of some size."""

    @abstractmethod
    def actor(self, preference: Float[Tensor, "n m"], told: Float[Tensor, "n d"]) -> Actor:
        """Who builds when these preferences are asked for."""

    @abstractmethod
    def exploration(self, step: int) -> float:
        """The probability that a step of a trajectory is uniformly random, at some step of training."""

    @abstractmethod
    def begin(self, generator: torch.Generator) -> None:
        """Forgets everything but the fresh networks."""

    @abstractmethod
    def loss(self, episodes: Episodes, step: int) -> Tensor:
        """What is learned from new trajectories."""

    @abstractmethod
    def settle(self) -> None:
        """What follows every step of the optimiser."""

    def build(self, m: int, *, generator: torch.Generator | None = None) -> None:
        """Fresh networks; weights are drawn from the generator's seed."""
        self.m = m
        self.model = seeded_build(lambda: self.parts(m, m * (self.bins + 1)), generator)

    def asked(self, generator: torch.Generator) -> Float[Tensor, "n m"]:
        """Preferences of one batch, each for a whole group."""
        rows = self.preference.sample(self.batch // self.group, self.m, generator=generator)
        return rows.float().repeat_interleave(self.group, 0)

    def told(self, preference: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
        """Preferences as the networks are told them."""
        return told_preference(preference, self.bins)

    @torch.no_grad()
    def roll(self, preference: Float[Tensor, "n m"], epsilon: float, generator: torch.Generator | None) -> Trajectories:
        """Trajectories for preferences."""
        actor = self.actor(preference, self.told(preference))
        return rollout(self.environment, actor, len(preference), epsilon=epsilon, ends_early=True, generator=generator)

    def fit(
        self,
        measure: Measure[C],
        *,
        m: int,
        generator: torch.Generator | None = None,
        folder: Path | None = None,
    ) -> None:
        del folder  # training is repeated after a restart: its measurements are in the ledger
        generator = generator if generator is not None else torch.Generator()
        self.build(m, generator=generator)
        self.begin(generator)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.learning_rate)
        for step in range(self.steps):
            preference = self.asked(generator)
            trajectories = self.roll(preference, self.exploration(step), generator)
            try:
                evaluation = measure(self.environment.decode(trajectories.final), preference=preference)
            except BudgetExhausted:
                break
            utility = evaluation.utility.float().where(evaluation.is_valid[:, None], 0.0)
            loss = self.loss(Episodes(preference, self.told(preference), trajectories, utility), step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            optimizer.step()
            self.settle()

    @torch.no_grad()
    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[C]:
        if self.model is None:
            raise RunError(f"expected a trained {type(self).__name__}, got one that was neither fitted nor loaded")
        if preference.ndim != 2 or preference.shape[1] != self.m:
            raise ConfigError(f"expected preferences of n x {self.m}, got {tuple(preference.shape)}")
        generator = generator if generator is not None else torch.Generator()
        candidates: list[C] = []
        for part in preference.float().split(CHUNK) if len(preference) else []:
            candidates += self.environment.decode(self.roll(part, 0.0, generator).final)
        return Samples(candidates, preference)

    def save(self, folder: Path) -> None:
        if self.model is None:
            raise RunError(f"expected a trained {type(self).__name__}, got one that was neither fitted nor loaded")
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in self.model.state_dict().items()}, folder / WEIGHTS)
        facts = {
            "class_path": class_path(self),
            "objectives": self.m,
            "bins": self.bins,
            "environment": save_environment(self.environment, folder),
            "network": {"class_path": class_path(self.network), "init_args": dict(vars(self.network))},
        }
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / "sampler.yaml"
        if not path.is_file():
            raise RunError(f"expected a saved baseline with a sampler.yaml, got nothing of the kind in {folder}")
        facts = yaml.safe_load(path.read_text())
        network = imported(facts["network"]["class_path"])(**facts["network"]["init_args"])
        environment = load_environment(folder, facts["environment"])
        self = cls(environment, network, bins=facts["bins"])  # type: ignore[call-arg]  # others have defaults
        self.build(facts["objectives"])
        self.model.load_state_dict(load_file(folder / WEIGHTS))
        return self


WEIGHTS = "weights.safetensors"


def chosen_trajectories(trajectories: Trajectories, index: Tensor) -> Trajectories:
    """Some rows of trajectories, in some order, as often as they are named."""
    return Trajectories(
        actions=trajectories.actions[index],
        allowed=tuple(mask[index] for mask in trajectories.allowed),
        states=[chosen_rows(state, index) for state in trajectories.states],
        log_backward=trajectories.log_backward[index],
        log_symmetry=trajectories.log_symmetry[index],
        moves=None if trajectories.moves is None else trajectories.moves[index],
    )
