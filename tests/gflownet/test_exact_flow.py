"""Learning, held against exact enumeration of a small world."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
import torch

from mogen.domain.molecule import Molecule
from mogen.objective import FunctionObjective, ObjectiveSet
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.rollout import retrace
from samplers.environment.vocabulary import Fragment
from samplers.gflownet.condition import Condition, ConstantBeta, encode
from samplers.gflownet.loss import TrajectoryBalance
from samplers.gflownet.networks.fragment import HistoryTransformer, TreeTransformer
from samplers.gflownet.policy import Network, PathLogProbs, path_log_probs
from samplers.gflownet.sampler import GFlowNetSampler


def tiny() -> FragmentEnvironment:
    fragments = [
        Fragment("c1ccccc1", (0, 3)),
        Fragment("CCO", (0, 2)),
        Fragment("C1CC1", (0, 1, 2)),
        Fragment("F", (0,)),
    ]
    return FragmentEnvironment.of(fragments, 3, 1)


def every_path(environment: FragmentEnvironment) -> torch.Tensor:
    paths: list[list[tuple[int, int]]] = [[]]
    for _ in range(environment.max_steps):
        longer = []
        for path in paths:
            state = environment.initial(1)
            for action in path:
                state = environment.step(state, torch.tensor([action]))
            for where in environment.allowed(state, torch.zeros(1, 0, dtype=torch.long))[0].nonzero()[:, 0].tolist():
                whats = environment.allowed(state, torch.tensor([[where]]))[0].nonzero()[:, 0].tolist()
                longer += [[*path, (where, what)] for what in whats]
        paths = longer
    return torch.tensor(paths)


def small() -> GFlowNetSampler:
    return GFlowNetSampler(
        environment=tiny(), network=HistoryTransformer(16, 1, 2), steps=5, batch=8, accelerator="cpu"
    )


def objectives() -> ObjectiveSet:
    def carbons(molecule: Molecule) -> float:
        return sum(atom.GetSymbol() == "C" for atom in molecule.mol.GetAtoms())

    def others(molecule: Molecule) -> float:
        return sum(atom.GetSymbol() != "C" for atom in molecule.mol.GetAtoms())

    return ObjectiveSet(
        [
            FunctionObjective(carbons, name="carbons", worst=0, best=20),
            FunctionObjective(others, name="others", worst=-1, best=4),
        ]
    )


def test_trajectory_balance_is_zero_at_the_exact_flow() -> None:
    environment = tiny()
    trajectories = retrace(environment, every_path(environment))
    log_backward = trajectories.log_backward.double()
    symmetry = trajectories.log_symmetry.double()
    log_reward = torch.linspace(-3, 1, len(log_backward), dtype=torch.float64)
    log_partition = torch.full_like(log_reward, 2.5)
    exact = log_reward + log_backward.sum(1) + symmetry - log_partition
    path = PathLogProbs((exact / 3)[:, None].expand(-1, 3), log_backward, symmetry)
    assert TrajectoryBalance()(path, log_partition, log_reward).item() < 1e-24
    assert TrajectoryBalance()(path, log_partition + 1, log_reward).item() == pytest.approx(1.0)


@pytest.mark.parametrize("network", [HistoryTransformer(48, 2, 4), TreeTransformer(48, 2, 4)])
def test_training_recovers_the_distribution_over_trees(network: Network) -> None:
    """L1 distance between learned and exact path distributions, for two preferences, from all paths."""
    environment = tiny()
    sampler = GFlowNetSampler(
        environment=environment,
        network=network,
        beta=ConstantBeta(3.0),
        steps=700,
        batch=64,
        learning_rate=3e-3,
        partition_rate=3e-2,
        decay_steps=200,
        epsilon=0.1,
        average=0.5,
        accelerator="cpu",
    )
    measure = objectives()
    sampler.fit(measure, m=2, generator=torch.Generator().manual_seed(0))
    trajectories = retrace(environment, every_path(environment))
    evaluation = measure(environment.decode(trajectories.final))
    for preference in ([0.9, 0.1], [0.2, 0.8]):
        n = len(evaluation)
        condition = Condition(torch.tensor([preference]).expand(n, 2), torch.full((n,), 3.0))
        told = encode(condition, bins=16, highest=3.0)
        with torch.no_grad():
            path = path_log_probs(environment, sampler.module.policy, trajectories, told)
        exact = sampler.reward(evaluation, condition) + path.log_backward
        exact = (exact - exact.logsumexp(0)).exp()
        learned = path.log_forward.exp()
        assert learned.sum().item() == pytest.approx(1.0, abs=1e-3)
        assert (exact - learned).abs().sum().item() < 0.2
        by_molecule: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for molecule, p, q in zip(
            environment.decode(trajectories.final), exact.tolist(), learned.tolist(), strict=True
        ):
            by_molecule[molecule.key][0] += p
            by_molecule[molecule.key][1] += q
        assert sum(abs(p - q) for p, q in by_molecule.values()) < 0.2


def test_the_same_seed_gives_the_same_samples() -> None:
    runs = []
    for _ in range(2):
        sampler = GFlowNetSampler(
            environment=tiny(), network=HistoryTransformer(16, 1, 2), steps=5, batch=8, accelerator="cpu"
        )
        sampler.fit(objectives(), m=2, generator=torch.Generator().manual_seed(3))
        preference = torch.tensor([[0.5, 0.5]]).expand(20, 2)
        runs.append(sampler.sample(preference, generator=torch.Generator().manual_seed(4)).candidates)
    assert runs[0] == runs[1]


def test_a_saved_sampler_comes_back_the_same(tmp_path) -> None:
    sampler = GFlowNetSampler(
        environment=tiny(), network=HistoryTransformer(16, 1, 2), steps=5, batch=8, accelerator="cpu"
    )
    sampler.fit(objectives(), m=2, generator=torch.Generator().manual_seed(3))
    sampler.save(tmp_path)
    again = GFlowNetSampler.load(tmp_path)
    preference = torch.tensor(list(itertools.repeat([0.3, 0.7], 20)))
    first, second = (
        item.sample(preference, generator=torch.Generator().manual_seed(4)).candidates for item in (sampler, again)
    )
    assert first == second
