"""Annealed Markov chain Monte Carlo over candidates: take a few steps back, build on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, Self, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum
from mogen.types import C
from samplers.baseline.learner import scored, seeded_build, settings_of, told_preference
from samplers.baseline.search import Answer, Proposal, Search, express, start_genomes
from samplers.environment.environment import Environment
from samplers.environment.rollout import Actor, Trajectories, UniformActor, retrace, rollout
from samplers.gflownet.networks.default import default_network
from samplers.gflownet.policy import Network, Policy, PolicyActor


@dataclass(frozen=True)
class Rebuilt:
    """What n chains propose: paths that leave the old ones after `kept` steps."""

    old: Trajectories
    new: Trajectories
    kept: Int[Tensor, " n"]
    log_ratio: Float[Tensor, " n"]
    """of the Metropolis-Hastings ratio, all but the rewards; minus infinity where there is no way back"""


@torch.no_grad()
def rebuild(
    environment: Environment,
    policy: Policy | None,
    told: Float[Tensor, "n d"],
    final: Any,
    depth: int,
    *,
    generator: torch.Generator | None = None,
) -> Rebuilt:
    """Proposals from terminal states: up to `depth` steps back under the uniform backward policy, and forward again.

    A chain of paths with density R(x) P_B(path | x). A path into x is drawn anew (a Gibbs step), then cut: its last
    1 to min(depth, length) steps are gone with equal probability c(path), and a policy (uniform where None) builds the
    rest. The ratio is P_B(new) c(new) P_F(rest of old) / (P_B(old) c(old) P_F(rest of new)), and R(new) / R(old).
    """
    actions = environment.unfold(final, generator=generator)
    old = retrace(environment, actions)
    length = old.is_step.sum(1)
    most = length.clamp(max=depth)
    noise = torch.rand(len(length), generator=generator)
    kept = length - 1 - torch.minimum((noise * most).long(), most - 1)
    actor: Actor = UniformActor(environment) if policy is None else PolicyActor(policy, told)
    new = rollout(environment, actor, len(kept), begun=(actions, kept), generator=generator)
    log_ratio = _density(new, policy, told, kept, depth) - _density(old, policy, told, kept, depth)
    return Rebuilt(old, new, kept, log_ratio)


def _density(
    path: Trajectories, policy: Policy | None, told: Float[Tensor, "n d"], kept: Int[Tensor, " n"], depth: int
) -> Float[Tensor, " n"]:
    """log of P_B(path | end) c(path) / P_F(rest): what a path adds to the ratio; minus infinity: never cut so deep."""
    length = path.is_step.sum(1)
    most = length.clamp(max=depth)
    cut = torch.where(length - kept <= most, -most.double().log(), -torch.inf)
    rest = torch.where(rebuilt_steps(path, kept), log_forward(path, policy, told).double(), 0.0).sum(1)
    return path.log_backward.double().sum(1) + path.log_symmetry.double() + cut - rest


def rebuilt_steps(path: Trajectories, kept: Int[Tensor, " n"]) -> Bool[Tensor, "n l"]:
    """The steps of paths after those that are kept."""
    return (torch.arange(path.actions.shape[1]) >= kept[:, None]) & path.is_step


def log_forward(path: Trajectories, policy: Policy | None, told: Float[Tensor, "n d"]) -> Float[Tensor, "n l"]:
    """Log-probabilities of steps under a policy, uniform where None; padding has 0."""
    if policy is not None:
        return scored(policy, path, told).log_prob
    options = [-mask.sum(-1).double().log() for mask in path.allowed]
    return torch.stack(options).sum(0) * path.is_step


def is_accepted(
    log_ratio: Float[Tensor, " n"],
    log_reward: Float[Tensor, " n"],
    new_log_reward: Float[Tensor, " n"],
    *,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, " n"]:
    """Metropolis and Hastings' rule: with probability min(1, R(new) / R(old) * ratio)."""
    gain = new_log_reward.double() - log_reward.double() + log_ratio
    return torch.rand(len(gain), generator=generator, dtype=torch.float64).log() < gain


def moved(state: Any, new: Any, where: Bool[Tensor, " n"]) -> Any:
    """The rows of `new` where something holds, else those of `state`."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(where.view(-1, *[1] * (a.ndim - 1)), b, a)

    return type(state)(**{name: pick(value, getattr(new, name)) for name, value in vars(state).items()})


@final
class MARS(Search[C], Generic[C]):
    """Annealed Markov chain Monte Carlo that takes steps back and builds on, by a learned policy (Xie et al. 2021).

    As many chains as the population, each with a preference of its own, drawn anew for every annealing. Chains sample
    R = S(utility, preference)^beta; beta rises geometrically from `first_beta` to `last_beta` in `length` steps. An
    invalid candidate is never moved to from a valid one. The proposal policy learns to build as in moves that were
    accepted and gained; at a constant beta with `is_learned` false the chain's distribution is exact.

    Args:
        environment: what is built, and how.
        population: number of chains.
        network: the proposal policy's network; one that suits the environment by default.
        scalarization: how a preference makes one number of many utilities; the weighted sum by default.
        preference: the distribution of preferences.
        length: steps of one annealing.
        first_beta: exponent of the scalarised utility at its beginning.
        last_beta: the exponent at its end.
        depth: steps back at most; all of them by default.
        is_learned: whether the proposal policy learns; else it is uniform.
        memory: moves it learns from, the newest ones.
        learning_rate: of Adam.
        bins: thermometer bins per preference.
    """

    def __init__(
        self,
        environment: Environment[Any, C],
        population: int = 100,
        network: Network | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
        length: int = 100,
        first_beta: float = 1.0,
        last_beta: float = 64.0,
        depth: int | None = None,
        is_learned: bool = True,
        memory: int = 2_000,
        learning_rate: float = 1e-3,
        bins: int = 16,
    ) -> None:
        super().__init__(environment, population)
        self.depth = environment.max_steps if depth is None else depth
        if length < 1 or self.depth < 1 or memory < 1 or not 0 < first_beta <= last_beta:
            raise ConfigError(
                "expected length, depth and memory of at least 1, and 0 < first_beta <= last_beta in MARS, got "
                f"{length}, {self.depth}, {memory}, {first_beta} and {last_beta}"
            )
        self.network = network or (default_network(environment) if is_learned else None)
        self.scalarization, self.preference = scalarization or WeightedSum(), preference or Dirichlet(1.0)
        self.length, self.first_beta, self.last_beta = length, first_beta, last_beta
        self.is_learned, self.memory, self.learning_rate, self.bins = is_learned, memory, learning_rate, bins

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        """The baseline over the environment of another sampler, with its settings where they mean the same."""
        settings = settings_of(sampler)
        names = ("network", "scalarization", "preference", "bins")
        return cls(sampler.environment, **{name: settings[name] for name in names if name in settings})

    def beta(self, step: int) -> float:
        """The exponent at a step of an annealing."""
        share = step / max(1, self.length - 1)
        return self.first_beta * (self.last_beta / self.first_beta) ** share

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[C], Answer, None]:
        environment, n = self.environment, self.population
        state = express(environment, start_genomes(environment, n, generator))
        utility, is_valid = yield Proposal(environment.decode(state))
        learner = _Proposer(self, m, generator) if self.is_learned else None
        while True:
            preference = self.preference.sample(n, m, generator=generator).float()
            told = told_preference(preference, self.bins)
            for step in range(self.length):
                policy = None if learner is None else learner.policy
                move = rebuild(environment, policy, told, state, self.depth, generator=generator)
                new_utility, new_valid = yield Proposal(environment.decode(move.new.final), preference)
                log_score = self._log_score(utility, is_valid, preference)
                new_log_score = self._log_score(new_utility, new_valid, preference)
                beta = self.beta(step)
                taken = is_accepted(move.log_ratio, beta * log_score, beta * new_log_score, generator=generator)
                if learner is not None:
                    learner.learn(move, told, taken & (new_log_score > log_score))
                state = moved(state, move.new.final, taken)
                utility = torch.where(taken[:, None], new_utility, utility)
                is_valid = torch.where(taken, new_valid, is_valid)

    def _log_score(
        self, utility: Float[Tensor, "n m"], is_valid: Bool[Tensor, " n"], preference: Float[Tensor, "n m"]
    ) -> Float[Tensor, " n"]:
        """log S; an invalid candidate is far below any valid one."""
        score = self.scalarization(utility.float(), preference).clamp(min=1e-30).log()
        return torch.where(is_valid, score, -1e6)


class _Proposer:
    """A policy that learns, by maximum likelihood, the rebuilt steps of moves."""

    def __init__(self, mars: MARS, m: int, generator: torch.Generator) -> None:
        assert mars.network is not None
        network, environment = mars.network, mars.environment
        self.policy: Policy = seeded_build(lambda: network.build(environment, m * (mars.bins + 1)), generator)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=mars.learning_rate)
        self.environment, self.capacity, self.batch = environment, mars.memory, mars.population
        self.generator = generator
        self.actions, self.kept, self.told = (torch.empty(0) for _ in range(3))

    def learn(self, move: Rebuilt, told: Float[Tensor, "n d"], is_good: Bool[Tensor, " n"]) -> None:
        """Remembers good moves, and takes one step on a batch of what it remembers."""
        fresh = [move.new.actions[is_good], move.kept[is_good], told[is_good]]
        if len(self.kept):
            fresh = [torch.cat(pair) for pair in zip((self.actions, self.kept, self.told), fresh, strict=True)]
        self.actions, self.kept, self.told = (part[-self.capacity :] for part in fresh)
        if not len(self.kept):
            return
        row = torch.randint(len(self.kept), (self.batch,), generator=self.generator)
        path = retrace(self.environment, self.actions[row], torch.zeros(len(row)))
        log_prob = scored(self.policy, path, self.told[row]).log_prob
        loss = -(log_prob * rebuilt_steps(path, self.kept[row])).sum(1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
