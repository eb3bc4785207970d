"""One library's training steps on the 20^4 hypergrid, timed on demand; started by gflownet_peers.py.

Runs under the interpreter where the library is installed; only that library is imported. The first line it writes says
what it does (JSON), then every line it reads, a number of training steps, is answered by their seconds.

Everyone trains an MLP of 80 - 256 - 256 - 5 (leaky rectifier) by trajectory balance with a uniform backward policy and
a learned log Z, with Adam; a step is a rollout, rewards, the loss, its gradient and the update. All trajectories take
exactly `length` steps: stopping is masked before the last one, and everything else at it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

DIMENSION, SIDE, WIDTH = 4, 20, 256
Steps = Callable[[int], None]


def main() -> None:
    """Answers numbers of steps with seconds until there are no more lines."""
    library, batch, length, threads = sys.argv[1], *(int(word) for word in sys.argv[2:5])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    mode, run = LIBRARIES[library](batch, length, threads)
    print(json.dumps({"library": library, "mode": mode}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - started, flush=True)


def fastest(modes: dict[str, Steps], steps: int) -> tuple[str, Steps]:
    """The quickest of some ways of doing the same; each is warmed up and timed twice."""
    seconds = {}
    for mode, run in modes.items():
        run(steps)
        times = []
        for _ in range(2):
            started = time.perf_counter()
            run(steps)
            times.append(time.perf_counter() - started)
        seconds[mode] = min(times)
    best = min(seconds, key=seconds.__getitem__)
    return best, modes[best]


def mogen(batch: int, length: int, threads: int) -> tuple[str, Steps]:
    """This library: the steps that `GFlowNetSampler.fit` takes, without Lightning's loop around them."""
    import torch
    from gflownet_peers import grid_sampler, reward_of

    torch.set_num_threads(threads)

    def prepared(is_compiled: bool) -> Steps:
        sampler = grid_sampler(batch, length, 10**6, is_compiled)
        module = sampler.build(1, generator=torch.Generator().manual_seed(0))
        module.measure, module.generator = reward_of, torch.Generator().manual_seed(0)
        optimizer = module.configure_optimizers()["optimizer"]
        trajectories = module.roll(module.conditions(batch), 0.0)
        assert trajectories.is_step.shape == (batch, length) and bool(trajectories.is_step.all())

        def run(steps: int) -> None:
            for _ in range(steps):
                loss = module.training_step(None, 0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return run

    return fastest({"torch": prepared(False), "compile": prepared(True)}, 10)


def torchgfn(batch: int, length: int, threads: int) -> tuple[str, Steps]:
    """torchgfn: log-probabilities kept in the rollout, or computed after it; torch.compile where COMPILE_PEERS is."""
    import torch
    from gfn.estimators import DiscretePolicyEstimator
    from gfn.gflownet import TBGFlowNet
    from gfn.gym import HyperGrid
    from gfn.preprocessors import IdentityPreprocessor
    from gfn.utils.modules import MLP, DiscreteUniform

    torch.set_num_threads(threads)
    torch.manual_seed(0)

    class Forced(torch.nn.Module):
        """The MLP over one-hot places; the logit of stopping says when a walk ends."""

        def __init__(self) -> None:
            super().__init__()
            self.network = MLP(DIMENSION * SIDE, DIMENSION + 1, WIDTH, 2, activation_fn="leaky_relu")
            self.input_dim = DIMENSION
            self.register_buffer("places", torch.arange(SIDE), persistent=False)

        def forward(self, place: torch.Tensor) -> torch.Tensor:
            place = place.long()
            logits = self.network(place[..., None].eq(self.places).flatten(-2).float())
            stop = torch.where(place.sum(-1) >= length - 1, 1e9, -1e9)[..., None]
            return torch.cat([logits[..., :-1], stop], -1)

    environment = HyperGrid(ndim=DIMENSION, height=SIDE, validate_modes=False)
    raw = IdentityPreprocessor(output_dim=DIMENSION)

    def prepared(keeps: bool, is_compiled: bool) -> Steps:
        network = torch.compile(Forced(), dynamic=True) if is_compiled else Forced()
        forward = DiscretePolicyEstimator(network, environment.n_actions, raw)
        uniform = DiscreteUniform(environment.n_actions - 1)
        backward = DiscretePolicyEstimator(uniform, environment.n_actions, raw, is_backward=True)
        model = TBGFlowNet(pf=forward, pb=backward, init_logZ=0.0)
        policy = [value for name, value in model.named_parameters() if name != "logZ"]
        groups = [{"params": policy, "lr": 1e-3}, {"params": [model.logZ], "lr": 1e-1}]
        optimizer = torch.optim.Adam(groups, fused=True)

        def trajectories():
            if keeps:
                return model.sample_trajectories(environment, n=batch, save_logprobs=True)
            with torch.no_grad():
                return model.sample_trajectories(environment, n=batch, save_logprobs=False)

        assert trajectories().terminating_idx.tolist() == [length] * batch

        def run(steps: int) -> None:
            for _ in range(steps):
                found = trajectories()
                optimizer.zero_grad()
                model.loss(environment, found, recalculate_all_logprobs=not keeps).backward()
                optimizer.step()

        return run

    modes = {"kept": prepared(True, False), "recomputed": prepared(False, False)}
    if os.environ.get("COMPILE_PEERS"):
        modes |= {"kept, torch.compile": prepared(True, True), "recomputed, torch.compile": prepared(False, True)}
    return fastest(modes, 5)


def gfnx(batch: int, length: int, threads: int) -> tuple[str, Steps]:
    """gfnx: many steps in one compiled scan; the gradient through the rollout, or by one pass over its states."""
    del threads
    import dataclasses

    import gfnx as library
    import jax
    import jax.numpy as jnp
    import optax

    class Forced(library.HypergridEnvironment):
        """The hypergrid of the library, whose walks all end at one length."""

        @property
        def max_steps_in_episode(self) -> int:
            return length

        def get_invalid_mask(self, state, env_params):
            mask = super().get_invalid_mask(state, env_params)
            is_last = (state.state.sum(-1) >= length - 1)[:, None]
            is_stop = jnp.arange(mask.shape[-1]) == mask.shape[-1] - 1
            return mask | jnp.where(is_last, ~is_stop, is_stop)

    environment = Forced(library.GeneralHypergridRewardModule(), dim=DIMENSION, side=SIDE)
    key = jax.random.PRNGKey(0)
    constants = environment.init(key)
    sizes = (DIMENSION * SIDE, WIDTH, WIDTH, DIMENSION + 1)
    layers = []
    for inputs, outputs in pairwise(sizes):
        key, part = jax.random.split(key)
        bound = inputs**-0.5
        layers.append((jax.random.uniform(part, (inputs, outputs), minval=-bound, maxval=bound), jnp.zeros(outputs)))
    parameters = {"layers": layers, "log_z": jnp.zeros(())}

    def logits_of(weights, x):
        *inner, (head, offset) = weights["layers"]
        for weight, bias in inner:
            x = jax.nn.leaky_relu(x @ weight + bias)
        return x @ head + offset

    def policy(key, x, weights):
        forward = logits_of(weights, x)
        return forward, {"forward_logits": forward, "backward_logits": jnp.zeros((len(x), DIMENSION))}

    def loss(weights, key, *, is_one_pass):
        acting = jax.lax.stop_gradient(weights) if is_one_pass else weights
        walks, told = library.utils.forward_rollout(key, batch, policy, acting, environment, constants)
        if is_one_pass:
            again = logits_of(weights, walks.obs.reshape(-1, walks.obs.shape[-1]))
            known = {**walks.info, "forward_logits": again.reshape(*walks.obs.shape[:2], -1)}
            walks = dataclasses.replace(walks, info=known)
        forward, backward = library.utils.forward_trajectory_log_probs(environment, walks, constants)
        return jnp.mean((weights["log_z"] + forward - told["log_gfn_reward"] - backward) ** 2)

    kinds = {"layers": jax.tree.map(lambda _: "policy", layers), "log_z": "log_z"}
    optimizer = optax.multi_transform({"policy": optax.adam(1e-3), "log_z": optax.adam(1e-1)}, kinds)
    walks, _ = library.utils.forward_rollout(key, batch, policy, parameters, environment, constants)
    assert ((~walks.pad).sum(1) == length).all()

    def prepared(is_one_pass: bool) -> Steps:
        def step(carried, _):
            weights, state, key = carried
            key, part = jax.random.split(key)
            value, gradient = jax.value_and_grad(partial(loss, is_one_pass=is_one_pass))(weights, part)
            change, state = optimizer.update(gradient, state, weights)
            return (optax.apply_updates(weights, change), state, key), value

        @partial(jax.jit, static_argnums=1)
        def scanned(carried, steps):
            return jax.lax.scan(step, carried, None, length=steps)

        kept = {"state": (parameters, optimizer.init(parameters), key)}

        def run(steps: int) -> None:
            for _ in range(steps // 5):  # 5 steps a call: compiled once
                kept["state"], values = scanned(kept["state"], 5)
            jax.block_until_ready(values)

        return run

    return fastest({"one pass": prepared(True), "through the rollout": prepared(False)}, 10)


LIBRARIES = {"mogen": mogen, "torchgfn": torchgfn, "gfnx": gfnx}

if __name__ == "__main__":
    main()
