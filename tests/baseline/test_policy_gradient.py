"""REINFORCE and A2C: their expected gradients are those of the expected reward, summed over every path."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from samplers.baseline.a2c import MOA2C
from samplers.baseline.learner import Episodes, scored, told_preference
from samplers.baseline.reinforce import MOReinforce, reinforce_loss
from samplers.environment.exact import all_paths
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import retrace
from samplers.environment.strings import StringEnvironment
from samplers.gflownet.networks.mlp import MLP


def test_the_gradient_of_a_bandit_in_closed_form() -> None:
    logits = torch.tensor([0.3, -0.8, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([0.9, 0.1, 0.4, 0.6], dtype=torch.float64)
    p = logits.detach().softmax(0)
    first, second = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    pairs = torch.stack([first, second], 1)
    log_p = logits.log_softmax(0)
    losses = torch.stack([reinforce_loss(log_p[pair], reward[pair], 2) for pair in pairs])
    (gradient,) = torch.autograd.grad((losses * p[first] * p[second]).sum(), logits)
    # d E[R] / d logit_i = p_i (R_i - E[R])
    assert torch.allclose(gradient, -p * (reward - p @ reward), atol=1e-12)


def problem(environment: Any, learner: Any) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Every path, its utilities, one preference, in float64."""
    learner.build(2, generator=torch.Generator().manual_seed(3))
    learner.model.double()
    features = environment.features
    environment.features = lambda state: features(state).double()
    trajectories = retrace(environment, all_paths(environment))
    generator = torch.Generator().manual_seed(1)
    keys = sorted({item.key for item in environment.decode(trajectories.final)})
    table = torch.rand(len(keys), 2, generator=generator, dtype=torch.float64)
    utility = table[[keys.index(item.key) for item in environment.decode(trajectories.final)]]
    preference = torch.tensor([[0.3, 0.7]], dtype=torch.float64).expand(len(utility), 2)
    return trajectories, utility, preference, told_preference(preference, learner.bins)


def flat(gradients: Any) -> Tensor:
    return torch.cat([part.flatten() for part in gradients])


def test_reinforce_climbs_the_mean_reward_of_all_paths() -> None:
    environment = HyperGrid(2, 4)
    learner = MOReinforce(environment, MLP(8, 1), batch=2, group=2, beta=2.0, bins=4)
    trajectories, utility, preference, told = problem(environment, learner)
    weights = [p for p in learner.model.parameters() if p.requires_grad]
    log_p = scored(learner.model, trajectories, told).log_prob.sum(1)
    reward = learner.scalarization(utility, preference) ** 2
    assert torch.allclose(log_p.exp().sum(), torch.ones((), dtype=torch.float64))
    exact = flat(torch.autograd.grad((log_p.exp() * reward).sum(), weights, retain_graph=True, materialize_grads=True))
    p, n = log_p.detach().exp(), len(log_p)
    # every pair of paths, weighted by its probability
    first, second = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    total = torch.zeros((), dtype=torch.float64)
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        total = total + p[i] * p[j] * reinforce_loss(log_p[[i, j]], reward[[i, j]], 2)
    found = flat(torch.autograd.grad(total, weights, materialize_grads=True))
    assert exact.abs().max() > 1e-3
    assert torch.allclose(found, -exact, atol=1e-10)


def test_a2c_climbs_the_mean_reward_whatever_its_critic_says() -> None:
    environment = StringEnvironment("ab", 3)
    learner = MOA2C(environment, MLP(8, 1), entropy=0.0, critic=0.0, bins=4)
    trajectories, utility, preference, told = problem(environment, learner)
    torch.nn.init.normal_(learner.model.critic.weight, generator=torch.Generator().manual_seed(5))
    weights = list(learner.model.policy.parameters())
    log_p = scored(learner.model.policy, trajectories, told).log_prob.sum(1)
    reward = learner.scalarization(utility, preference)
    exact = flat(torch.autograd.grad((log_p.exp() * reward).sum(), weights, materialize_grads=True))
    p, steps = log_p.detach().exp(), environment.max_steps
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(p)):
        one = retrace(environment, trajectories.actions[[row]])
        episodes = Episodes(preference[[row]], told[[row]], one, utility[[row]])
        total = total + p[row] * steps * learner.loss(episodes, 0)
    found = flat(torch.autograd.grad(total, weights, materialize_grads=True))
    assert exact.abs().max() > 1e-3
    assert torch.allclose(found, -exact, atol=1e-10)


def test_the_critic_of_a2c_is_at_rest_at_the_mean_utilities() -> None:
    """The gradient of the critic's bias is twice the mean of its errors, path by path."""
    environment = StringEnvironment("ab", 2)
    learner = MOA2C(environment, MLP(8, 1), entropy=0.0, bins=4)
    trajectories, utility, preference, told = problem(environment, learner)
    loss = learner.loss(Episodes(preference, told, trajectories, utility), 0)
    (found,) = torch.autograd.grad(loss, learner.model.critic.bias)
    value = learner.model.critic(scored(learner.model.policy, trajectories, told).summary).detach()
    assert torch.allclose(found, 2 * (value - utility[:, None]).mean((0, 1)), atol=1e-12)


def test_entropies_are_those_of_the_categorical_distributions() -> None:
    environment = HyperGrid(2, 4)
    learner = MOA2C(environment, MLP(8, 1), bins=4)
    trajectories, _, _, told = problem(environment, learner)
    path = scored(learner.model.policy, trajectories, told)
    logits = learner.model.policy.path_logits(trajectories, told)[0][0]
    kinds = torch.distributions.Categorical(logits=logits.masked_fill(~trajectories.allowed[0], -torch.inf))
    naive = torch.where(trajectories.is_step, kinds.entropy(), 0.0)
    assert torch.allclose(path.entropy, naive, atol=1e-8)
    taken = torch.where(trajectories.is_step, kinds.log_prob(trajectories.actions[..., 0]), 0.0)
    assert torch.allclose(path.log_prob, taken, atol=1e-8)
