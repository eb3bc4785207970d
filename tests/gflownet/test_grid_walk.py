"""Rollouts and gradients as machine code against those of torch, and the hand-written gradient of the MLP."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mogen.errors import ConfigError
from mogen.objective import Evaluation
from mogen.run import compiler
from samplers import products
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import rollout
from samplers.environment.strings import StringEnvironment
from samplers.gflownet.condition import ConstantBeta
from samplers.gflownet.networks.mlp import MLP, MLPPolicy, Perceptron
from samplers.gflownet.networks.walk import GridWalk
from samplers.gflownet.policy import LogitScale, PolicyActor
from samplers.gflownet.replay import Replay
from samplers.gflownet.sampler import GFlowNetSampler

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
GRIDS = [HyperGrid(4, 20, False, 38), HyperGrid(3, 7), HyperGrid(2, 6, False), HyperGrid(1, 2)]


def policy_over(grid: HyperGrid | StringEnvironment, width: int, depth: int) -> MLPPolicy:
    """An MLP whose gates are not at their start."""
    torch.manual_seed(depth)
    policy = MLP(width, depth).build(grid, 6)
    torch.nn.init.normal_(policy.gate.weight, std=0.3)
    return policy


@needs_compiler
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("n, depth, epsilon", [(16, 2, 0.0), (37, 3, 0.3), (3, 1, 0.1)])
def test_walks_are_those_of_torch(grid: HyperGrid, n: int, depth: int, epsilon: float) -> None:
    policy, condition = policy_over(grid, 32, depth), torch.rand(n, 6, generator=torch.Generator().manual_seed(0))
    policy.scale = LogitScale()
    torch.nn.init.normal_(policy.scale.network[-1].weight)
    plain = rollout(
        grid,
        PolicyActor(policy, condition),
        n,
        epsilon=epsilon,
        ends_early=True,
        generator=torch.Generator().manual_seed(1),
    )
    walked = GridWalk(grid, policy).rollout(condition, epsilon=epsilon, generator=torch.Generator().manual_seed(1))
    assert torch.equal(walked.actions, plain.actions) and torch.equal(walked.allowed[0], plain.allowed[0])
    assert torch.equal(walked.is_step, plain.is_step)
    assert torch.allclose(walked.log_backward, plain.log_backward, atol=1e-6)
    assert torch.equal(walked.before.position, plain.before.position)
    assert torch.equal(walked.after.is_stopped, plain.after.is_stopped)
    assert torch.equal(walked.final.position, plain.final.position)
    assert walked.remembered is None


@needs_compiler
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("n, depth", [(16, 2), (37, 3), (3, 1)])
def test_remembered_gradients_are_those_of_one_pass(grid: HyperGrid, n: int, depth: int) -> None:
    policy, condition = policy_over(grid, 64, depth), torch.rand(n, 6, generator=torch.Generator().manual_seed(0))
    walked = GridWalk(grid, policy).rollout(condition, remembers=True, generator=torch.Generator().manual_seed(1))
    found = []
    for trajectories in (walked, replace(walked, remembered=None)):
        policy.zero_grad()
        forward = policy.path(trajectories, condition).forward
        (forward * torch.linspace(-1, 1, forward.numel()).view_as(forward)).sum().backward()
        gradients = {name: part.grad for name, part in policy.named_parameters() if part.grad is not None}
        found.append((forward.detach(), gradients))
    (one, known), (other, computed) = found
    assert torch.allclose(one, other, atol=1e-5) and known.keys() == computed.keys() and len(known) >= 7
    for name, gradient in computed.items():
        assert torch.allclose(known[name], gradient, atol=1e-4 * float(gradient.abs().max() + 1e-3)), name


def test_the_written_gradient_is_that_of_automatic_differentiation() -> None:
    grid = HyperGrid(2, 4)
    policy = policy_over(grid, 8, 3).double()
    states = grid.states()
    features, batch = grid.features(states).double(), len(states.position)
    condition = torch.rand(batch // 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    told = policy.tell(condition)
    weight = torch.rand(batch, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = features
    for layer in (policy.first, *policy.hidden):
        x = layer(x)
        x = torch.nn.functional.leaky_relu(x + told[0].repeat(3, 1) if layer is policy.first else x)
    x = x * told[1].repeat(3, 1) + told[2].repeat(3, 1)
    plain = (policy.heads[0](x) * weight).sum() + policy.flow(x).square().sum()
    parts = [part for layer in policy.layers() for part in (layer.weight, layer.bias)]
    summary, logits = Perceptron.apply(features, *told, *parts)
    fast = (logits * weight).sum() + policy.flow(summary).square().sum()
    parameters = list(policy.parameters())
    expected = torch.autograd.grad(plain, parameters, retain_graph=True)
    got = torch.autograd.grad(fast, parameters)
    assert torch.allclose(fast, plain)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(got, expected, strict=True))


def test_large_products_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3000, 80, generator=generator), torch.randn(3000, 64, generator=generator)
    weight, bias = torch.randn(64, 80, generator=generator), torch.randn(64, generator=generator)
    assert len(x) * 80 * 64 > products.LEAST and len(x) > products.ROWS
    exact = x.double() @ weight.double().T
    assert torch.allclose(products.product(x, weight).double(), exact, atol=1e-4)
    assert torch.allclose(products.product(x, weight, bias).double(), exact + bias, atol=1e-4)
    rectified = torch.nn.functional.leaky_relu(exact + bias, 0.01)
    assert torch.allclose(products.activated(x, weight, bias, 0.01).double(), rectified, atol=1e-4)
    assert torch.allclose(products.outer(x, y).double(), x.double().T @ y.double(), atol=1e-3)
    assert torch.allclose(products.outer(y, x).double(), y.double().T @ x.double(), atol=1e-3)


def utility(points, *, preference=None):
    """Two utilities of a point of two coordinates."""
    value = torch.tensor([point.coordinates for point in points]).add(1).div(2)
    return Evaluation(value, torch.zeros_like(value).long(), torch.ones(len(value)).bool(), value, value)


@needs_compiler
@pytest.mark.parametrize("average, replay", [(0.0, None), (0.9, None), (0.0, Replay(warmup=8, capacity=100))])
def test_training_is_the_same_with_and_without(average: float, replay: Replay | None) -> None:
    weights = []
    for compiled in (False, True):
        sampler: GFlowNetSampler = GFlowNetSampler(
            HyperGrid(2, 6),
            MLP(32, 2),
            beta=ConstantBeta(2.0),
            replay=None if replay is None else Replay(warmup=8, capacity=100),
            steps=6,
            batch=8,
            average=average,
            accelerator="cpu",
            compile=compiled,
        )
        sampler.fit(utility, m=2, generator=torch.Generator().manual_seed(3))
        weights.append(torch.cat([part.detach().flatten() for part in sampler.module.policy.parameters()]))
        assert len(sampler.sample(torch.full((4, 2), 0.5), generator=torch.Generator().manual_seed(0)).candidates) == 4
    assert torch.allclose(weights[0], weights[1], atol=1e-4)


@pytest.mark.parametrize(
    "environment, network, message",
    [
        (StringEnvironment("ab", 2), MLP(32, 2), "expected an MLP over a HyperGrid"),
        (HyperGrid(2, 4), MLP(20, 2), "expected a width that 32 divides"),
    ],
)
def test_what_cannot_be_compiled_is_refused(environment, network: MLP, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GFlowNetSampler(environment, network, compile=True).build(2)
