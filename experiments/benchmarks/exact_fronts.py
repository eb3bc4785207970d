"""Multi-objective GFlowNets held against exact answers: hypervolume as a share of the optimum, and L1 distances.

Hypergrids (32 x 32): L1 = sum over all terminal states of |p - p*|, mean over the lattice of preferences (11 of two
objectives, 66 of three), p by dynamic programming over the grid, p* = R / sum R at the beta asked for; hypervolume of
16 samples a preference of the trained policy, on the values as published (Currin passes 1 by 0.002 and is not clamped
here). N-grams: hypervolume of 128 samples a preference against dynamic programming over counts. Strings: L1 against
the published table (MOGEN_DATA). `random_ratio` is the same number of uniformly random terminal states (grids) or of
candidates of the uniform policy. Training talks to the objectives directly: no ledger, repeats count.

    python experiments/benchmarks/exact_fronts.py --task hypergrid2 --seed 0 --json grid.json
        [--trajectories N] [--beta B] [--paper] [--threads 1] [--every N] [--change NAME ...]

With `--every N` the policy is looked at after every N trajectories: `curve` holds what was seen and `reached` when
each target of the task was passed first, in trajectories and seconds of training. `--change` takes one choice of the
default settings back, to see what it bought: gflownet_tuning.py makes the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning.pytorch  # noqa: F401 - so that its import is not timed
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.objective import Evaluation, ObjectiveSet, load_set
from mogen.pareto import hypervolume, is_non_dominated
from mogen.preference import Tchebycheff, WeightedLogSum, WeightedSum, simplex_lattice
from mogen.run import compiler
from objectives.sequence.ngram import ngram_front
from samplers.environment.environment import Environment
from samplers.environment.exact import exact_front, l1_distance, target_distribution
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import UniformActor, masked, rollout
from samplers.environment.sequence import SequenceEnvironment
from samplers.environment.strings import StringEnvironment
from samplers.gflownet.condition import Condition, ConstantBeta, Goals, LogUniformBeta, Preferences
from samplers.gflownet.loss import OrderPreserving, TrajectoryBalance
from samplers.gflownet.networks.mlp import MLP
from samplers.gflownet.networks.sequence import CausalTransformer
from samplers.gflownet.policy import StatePolicy
from samplers.gflownet.replay import Replay
from samplers.gflownet.sampler import GFlowNetSampler

KEYS = ("hypervolume", "exact_hypervolume", "ratio", "random_ratio", "l1", "trajectories", "seconds")


@dataclass(frozen=True)
class Task:
    """One benchmark: what is built, what it is worth, how a sampler is set up for it, and how much it may try."""

    objectives: str
    environment: Callable[[], Environment]
    settings: Callable[..., dict[str, Any]]
    """of the sampler, for a beta, a number of batches and their size"""
    trajectories: int
    """by default"""
    paper: int
    """with --paper"""
    batch: int
    beta: float
    partitions: int
    samples: int
    """drawn for every preference"""
    targets: Mapping[str, float]
    """what `reached` speaks of: the least `ratio`, the largest `l1`"""


def grid_sampler(*, beta: float, steps: int, batch: int) -> dict[str, Any]:
    """A small MLP, one beta, a learning rate that falls to nothing; rollouts in machine code if they can be."""
    return dict(
        network=MLP(128, 3),
        beta=ConstantBeta(beta),
        scalarization=WeightedSum(),
        steps=steps,
        batch=batch,
        epsilon=0.05,
        average=0.99,
        learning_rate=3e-3,
        partition_rate=1e-1,
        decay_steps=steps / 6,
        weight_decay=0.0,
        floor=-150.0,
        compile=compiler() is not None,
    )


def sequence_sampler(*, beta: float, steps: int, batch: int) -> dict[str, Any]:
    """A causal transformer; the weighted log-sum says what to do where counts are still 0, and reaches concave fronts.

    Beta must outweigh the number of sequences: one more word of three tokens is worth beta log(12 / 11) at 11 and costs
    3 log 20 in sequences, which beta 64 does not pay for and 256 does. Two of three steps are on replay alone.
    The floor of log R lies below that of candidates without any count at any beta: log 0.05 > -4.
    """
    updates = 3
    return dict(
        network=CausalTransformer(64, 2, 4),
        loss=TrajectoryBalance(huber=10.0),
        beta=LogUniformBeta(beta / 4, beta),
        scalarization=WeightedLogSum(0.05),
        replay=Replay(capacity=10_000, warmup=batch, share=0.5, sharpness=48.0, rebuilt=0.5, rebuilt_sharpness=128.0),
        steps=updates * steps,
        batch=batch,
        updates=updates,
        epsilon=0.01,
        average=0.9,
        learning_rate=4e-3,
        partition_rate=1e-1,
        decay_steps=updates * steps / 3,
        floor=-4.0 * beta,
    )


def string_sampler(*, beta: float, steps: int, batch: int) -> dict[str, Any]:
    """An MLP that sees every string several times; a floor that keeps worthless strings from ruling the loss."""
    return dict(
        network=MLP(256, 3),
        loss=TrajectoryBalance(huber=2.0),
        beta=ConstantBeta(beta),
        replay=Replay(capacity=200_000, warmup=500, share=3.0, sharpness=0.0),
        steps=steps,
        batch=batch,
        epsilon=0.1,
        average=0.99,
        learning_rate=2e-3,
        partition_rate=1e-1,
        decay_steps=steps / 6,
        floor=-12.0,
    )


GRID, BIGRAMS = (lambda: HyperGrid(2, 32)), (lambda: SequenceEnvironment())
WORDS = {"bigrams2": ["AV", "VC"], "bigrams3": ["AV", "VC", "CA"], "bigrams4": ["AV", "VC", "CA", "AY"]}
TASKS = {
    "hypergrid2": Task("hypergrid2", GRID, grid_sampler, 640_000, 640_000, 128, 16.0, 10, 16, {"ratio": 0.995}),
    "hypergrid3": Task("hypergrid3", GRID, grid_sampler, 640_000, 640_000, 128, 16.0, 10, 16, {"ratio": 0.985}),
    "bigrams2": Task("bigrams2", BIGRAMS, sequence_sampler, 32_000, 1_280_000, 128, 256.0, 20, 128, {"ratio": 0.99}),
    "bigrams3": Task("bigrams3", BIGRAMS, sequence_sampler, 32_000, 1_280_000, 128, 256.0, 10, 128, {"ratio": 0.97}),
    "bigrams4": Task("bigrams4", BIGRAMS, sequence_sampler, 32_000, 1_280_000, 128, 256.0, 8, 128, {"ratio": 0.85}),
    "strings": Task("qm9_strings", lambda: StringEnvironment(), string_sampler, 100_000, 100_000, 64, 1.0, 1, 0, {}),
}

GRID_L1 = {1.0: 0.08, 16.0: 0.25}
"""the targets of hypergrid2 at two betas"""

CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "weighted_sum": lambda settings: {"scalarization": WeightedSum()},
    "log_sum": lambda settings: {"scalarization": WeightedLogSum(0.05)},
    "tchebycheff": lambda settings: {"scalarization": Tchebycheff()},
    "vanilla": lambda settings: {"asking": Preferences("vanilla")},
    "constant_beta": lambda settings: {"beta": ConstantBeta(settings["beta"].highest)},
    "beta_96": lambda settings: {"beta": ConstantBeta(96.0)},
    "scaled_logits": lambda settings: {"scales_logits": True},
    "no_replay": lambda settings: {
        "replay": None,
        "updates": 1,
        "steps": settings["steps"] // settings.get("updates", 1),
        "decay_steps": settings["decay_steps"] / settings.get("updates", 1),
    },
    "uniform_replay": lambda settings: {
        "replay": Replay(settings["replay"].capacity, settings["replay"].warmup, settings["replay"].share, 0.0)
    },
    "no_average": lambda settings: {"average": 0.0},
    "slow_rate": lambda settings: {"learning_rate": settings["learning_rate"] / 10},
    "no_huber": lambda settings: {"loss": TrajectoryBalance()},
    "floor_75": lambda settings: {"floor": -75.0},
    "goals": lambda settings: {
        "asking": Goals(),
        "replay": Replay(100_000, 1_000, 1.0, 0.0, condition="own"),
        "floor": -150.0,
    },
    "ordered": lambda settings: {"loss": OrderPreserving(), "replay": Replay(100_000, 1_000, 1.0, 0.0)},
}
"""one choice taken back or made otherwise, given the default settings"""


@torch.no_grad()
def exact_l1(
    sampler: GFlowNetSampler, objectives: ObjectiveSet, preferences: Float[Tensor, "k m"], *, uniform: bool = False
) -> float:
    """Mean over preferences of the sum over terminals of |p - p*|, for policies of the state; or of uniform draws."""
    module, environment = sampler.module, sampler.environment
    policy, states = module.sampling_policy, environment.states()  # type: ignore[attr-defined]
    assert isinstance(policy, StatePolicy)
    n = len(environment.is_terminal(states))
    none = torch.zeros(n, 0, dtype=torch.long)
    allowed = environment.allowed(states, none)
    utility = objectives(environment.decode(environment.terminals())).utility  # type: ignore[attr-defined]
    total = 0.0
    for preference in preferences.float():
        one = Condition(preference[None], torch.tensor([sampler.beta.highest]))
        told = tuple(part.expand(n, -1) for part in policy.tell(module.encoded(one)))
        logits = policy.choose(policy.trunk(states, told), states, none, told)
        learned = environment.terminal_distribution(masked(logits, allowed).log_softmax(-1))  # type: ignore[attr-defined]
        everything = torch.ones(len(utility), dtype=torch.bool)
        log_reward = sampler.reward.of_utility(utility, everything, one.repeated(len(utility)))
        found = torch.full_like(learned, 1 / len(learned)) if uniform else learned
        total += float(l1_distance(found, target_distribution(log_reward)))
    return total / len(preferences)


def metropolis_hastings_l1(weight: Float[Tensor, " t"], alphabet: int, length: int, steps: int, seed: int) -> float:
    """L1 of the histogram of a Metropolis-Hastings chain that replaces one token at a time, after so many steps."""
    generator = torch.Generator().manual_seed(seed)
    place = (alphabet ** torch.randint(length, (steps,), generator=generator)).tolist()
    token = torch.randint(alphabet, (steps,), generator=generator).tolist()
    chance = torch.rand(steps, generator=generator).tolist()
    values = weight.tolist()
    at = int(torch.multinomial(weight, 1, generator=generator))
    visits = [0] * len(values)
    for unit, new, threshold in zip(place, token, chance, strict=True):
        other = at + (new - at // unit % alphabet) * unit
        if threshold * values[at] < values[other]:
            at = other
        visits[at] += 1
    return float(l1_distance(torch.tensor(visits) / steps, weight / weight.sum()))


def chosen(points: Float[Tensor, "n m"], count: int) -> float:
    """Hypervolume of `count` points picked one after another, each the one that adds most."""
    points = points.unique(dim=0)
    points = points[is_non_dominated(points)]
    kept = points[:0]
    for _ in range(min(count, len(points))):
        gains = [hypervolume(torch.cat([kept, point[None]])) for point in points]
        kept = torch.cat([kept, points[int(torch.tensor(gains).argmax())][None]])
    return hypervolume(kept)


class Watch:
    """A measure that looks at the policy after every so many trajectories, off the clock."""

    def __init__(self, objectives: ObjectiveSet, every: int | None, look: Callable[[], dict[str, Any]]) -> None:
        self.objectives, self.every, self.look = objectives, every, look
        self.seen, self.looking = 0, 0.0
        self.started = time.perf_counter()
        self.curve: list[dict[str, Any]] = []

    def __call__(self, candidates: Sequence[Any], *, preference: Tensor | None = None) -> Evaluation:
        del preference
        if self.every and self.seen // self.every > len(self.curve):
            self.note()
        self.seen += len(candidates)
        return self.objectives(candidates)

    @property
    def seconds(self) -> float:
        """Of training."""
        return time.perf_counter() - self.started - self.looking

    def note(self) -> None:
        """Adds a row to the curve."""
        seconds, began = self.seconds, time.perf_counter()
        self.curve.append({"trajectories": self.seen, "seconds": seconds, **self.look()})
        self.looking += time.perf_counter() - began


def made(task: Task, *, trajectories: int, beta: float, changes: Sequence[str] = ()) -> GFlowNetSampler:
    """The untrained sampler of a task for about so many trajectories."""
    settings = task.settings(beta=beta, steps=max(1, trajectories // task.batch), batch=task.batch)
    for name in changes:
        settings |= CHANGES[name](settings)
    return GFlowNetSampler(environment=task.environment(), checkpoint_every=10**9, accelerator="cpu", **settings)


def train(
    name: str, sampler: GFlowNetSampler, objectives: ObjectiveSet, *, seed: int, every: int | None = None
) -> Watch:
    """Trains; says how it went."""
    task = TASKS[name]

    def look() -> dict[str, Any]:
        generator = sampler.module.generator
        found = figures_of(name, task, sampler, objectives, seed)
        sampler.module.generator = generator
        return found

    watch = Watch(objectives, every, look)
    sampler.fit(watch, m=objectives.m, generator=torch.Generator().manual_seed(seed))
    if every:
        watch.note()
    return watch


def reached(curve: Sequence[Mapping[str, Any]], targets: Mapping[str, float]) -> dict[str, Any]:
    """Where a curve first passes each target; null where it never does."""
    found: dict[str, Any] = {}
    for figure, target in targets.items():
        rows = [row for row in curve if (row[figure] >= target if figure == "ratio" else row[figure] <= target)]
        first = {key: rows[0][key] for key in ("trajectories", "seconds")} if rows else None
        found[figure] = {"target": target, "first": first}
    return found


def random_candidates(environment: Environment, n: int, seed: int) -> list[Any]:
    """Uniformly random terminal states of a grid; elsewhere, candidates of the uniform policy."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(environment, HyperGrid):
        everything = environment.decode(environment.terminals())
        return [everything[i] for i in torch.randint(len(everything), (n,), generator=generator).tolist()]
    return environment.decode(rollout(environment, UniformActor(environment), n, generator=generator).final)


def drawn(task: Task, sampler: GFlowNetSampler, m: int, seed: int) -> tuple[Tensor, list[Any]]:
    """The lattice of preferences, and the policy's candidates for each of them."""
    preferences = simplex_lattice(m, task.partitions).float()
    asked = preferences.repeat_interleave(task.samples, 0)
    return preferences, sampler.sample(asked, generator=torch.Generator().manual_seed(seed)).candidates


@lru_cache
def true_front(name: str) -> Float[Tensor, "k m"]:
    """The exact front of a task."""
    task = TASKS[name]
    if name in WORDS:
        return ngram_front(WORDS[name], min_length=32, max_length=36)
    objectives = load_set(task.objectives)
    return exact_front(task.environment(), lambda points: objectives(points).value)  # type: ignore[arg-type]


def figures_of(name: str, task: Task, sampler: GFlowNetSampler, objectives: ObjectiveSet, seed: int) -> dict[str, Any]:
    """The figures that targets speak of: `l1` of grids and strings, `ratio` of grids and n-grams."""
    if name == "strings":
        return {"l1": exact_l1(sampler, objectives, torch.ones(1, 1))}
    preferences, samples = drawn(task, sampler, objectives.m, seed)
    found = {"ratio": hypervolume(objectives(samples).value) / hypervolume(true_front(name))}
    if isinstance(sampler.environment, HyperGrid) and isinstance(sampler.asking, Preferences):
        found["l1"] = exact_l1(sampler, objectives, preferences)
    return found


def evaluate(name: str, task: Task, sampler: GFlowNetSampler, objectives: ObjectiveSet, seed: int) -> dict[str, Any]:
    """All figures of a trained sampler."""
    environment = sampler.environment
    if name == "strings":
        weight = objectives(environment.decode(environment.terminals())).utility[:, 0].double()  # type: ignore[attr-defined]
        alphabet, length = 11, 5
        return {
            "l1": exact_l1(sampler, objectives, torch.ones(1, 1)),
            "uniform_l1": float(l1_distance(torch.full_like(weight, 1 / len(weight)), weight / weight.sum())),
            "metropolis_hastings_l1": {
                str(steps): metropolis_hastings_l1(weight, alphabet, length, steps, seed)
                for steps in (100_000, 1_000_000)
            },
        }
    preferences, samples = drawn(task, sampler, objectives.m, seed)
    random = random_candidates(environment, len(samples), seed)
    result: dict[str, Any] = {"preferences": len(preferences), "samples": len(samples)}
    if isinstance(environment, HyperGrid) and isinstance(sampler.asking, Preferences):
        result["l1"] = exact_l1(sampler, objectives, preferences)
        result["uniform_l1"] = exact_l1(sampler, objectives, preferences, uniform=True)
    found, exact = objectives(samples).value, hypervolume(true_front(name))
    result |= {"hypervolume": hypervolume(found), "exact_hypervolume": exact}
    result |= {"ratio": hypervolume(found) / exact, "random_ratio": hypervolume(objectives(random).value) / exact}
    if name == "bigrams4":
        result["hypervolume_16"] = chosen(found, 16)
        result["choice_of_16"] = "greedy: of all samples, one after another, the one that adds most hypervolume"
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=[*TASKS])
    parser.add_argument("--trajectories", type=int, default=None, help="training trajectories, repeats counted")
    parser.add_argument("--beta", type=float, default=None, help="inverse temperature that is asked for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="where the figures go")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--paper", action="store_true", help="the published number of trajectories")
    parser.add_argument("--every", type=int, default=None, help="trajectories between two looks at the policy")
    parser.add_argument("--change", action="append", default=[], choices=[*CHANGES], help="a setting made otherwise")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    task = TASKS[arguments.task]
    trajectories = arguments.trajectories or (task.paper if arguments.paper else task.trajectories)
    beta = arguments.beta or task.beta
    sampler = made(task, trajectories=trajectories, beta=beta, changes=arguments.change)
    objectives = load_set(task.objectives)
    watch = train(arguments.task, sampler, objectives, seed=arguments.seed, every=arguments.every)
    seconds = watch.seconds
    figures = dict.fromkeys(KEYS) | evaluate(arguments.task, task, sampler, objectives, arguments.seed)
    figures |= {"trajectories": sampler.module.trajectories_seen, "seconds": seconds}
    figures |= {"task": arguments.task, "beta": beta, "seed": arguments.seed, "threads": arguments.threads}
    figures |= {"changes": arguments.change}
    if arguments.every:
        extra = {"l1": GRID_L1[beta]} if arguments.task == "hypergrid2" and beta in GRID_L1 else {}
        figures |= {"curve": watch.curve, "reached": reached(watch.curve, {**task.targets, **extra})}
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
