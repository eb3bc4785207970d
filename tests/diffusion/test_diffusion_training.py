"""What training draws its times from, and the two optimisers that move one model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import nn

from mogen.errors import ConfigError, RunError
from samplers.diffusion.module import EVEN, ScoreModule
from samplers.diffusion.optimizer import MuonAdamW, inner_matrices
from samplers.gdss.network import PublishedNetwork
from samplers.gdss.predictor import ValueNetwork
from samplers.gdss.transformer import GraphTransformer


class Net(nn.Module):
    """An input, two blocks and an output."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(3, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.end = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.end(x)


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()


def losses(network: Net, optimizers: list[torch.optim.Optimizer], steps: int, start: int = 0) -> Iterator[float]:
    for step in range(start, start + steps):
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step))
        loss = (network(x) - x.prod(1, keepdim=True)).square().mean()
        network.zero_grad()
        loss.backward()
        for item in optimizers:
            item.step()
        yield loss.item()


def test_the_matrices_inside_are_those_of_the_blocks() -> None:
    network = net()
    assert [id(item) for item in inner_matrices(network)] == [id(block.weight) for block in network.blocks]
    with pytest.raises(ConfigError, match="expected a network with blocks for the optimizer muon"):
        MuonAdamW.of(nn.Linear(3, 3), lr=0.1, weight_decay=0.0)


def test_outputs_of_graph_networks_are_not_turned() -> None:
    body = GraphTransformer(3, 4, width=16, edge_width=8, depth=2, heads=2, walks=2)
    names = {id(item): name for name, item in ValueNetwork(body, 2).named_parameters()}
    found = [names[id(item)] for item in inner_matrices(ValueNetwork(body, 2))]
    assert found and all(name.startswith("body.blocks.") for name in found)
    with pytest.raises(ConfigError, match="muon"):
        MuonAdamW.of(PublishedNetwork(4), lr=0.1, weight_decay=0.0)


def test_both_optimisers_at_once_are_each_by_itself() -> None:
    one, two = net(), net()
    matrices = inner_matrices(two)
    taken = {id(item) for item in matrices}
    apart: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([item for item in two.parameters() if id(item) not in taken], lr=0.01, weight_decay=0.1),
    ]
    both = MuonAdamW.of(one, lr=0.01, weight_decay=0.1)
    assert list(losses(one, [both], 20)) == list(losses(two, apart, 20))


def test_a_first_step_turns_a_matrix_by_an_almost_orthogonal_one() -> None:
    network = net()
    before = network.blocks[0].weight.detach().clone()
    next(losses(network, [MuonAdamW.of(network, lr=0.01, weight_decay=0.0)], 1))
    moved = (before - network.blocks[0].weight.detach()) / (0.01 * 0.2 * 8**0.5)
    values = torch.linalg.svdvals(moved)
    assert values.max() < 1.3, "singular values near 1, whatever the gradient's are (Jordan 2024)"
    assert values[:3].min() > 0.6  # of three inputs, the gradient has a few directions alone


def test_a_schedule_reaches_both_and_a_checkpoint_goes_on_exactly() -> None:
    whole, cut = net(), net()

    def begin(network: Net) -> tuple[MuonAdamW, torch.optim.lr_scheduler.LambdaLR]:
        made = MuonAdamW.of(network, lr=0.01, weight_decay=0.1)
        return made, torch.optim.lr_scheduler.LambdaLR(made, lambda step: 0.5**step)

    def run(network: Net, made: tuple[MuonAdamW, torch.optim.lr_scheduler.LambdaLR], steps: int, start: int) -> None:
        for step in range(start, start + steps):
            next(losses(network, [made[0]], 1, step))
            made[1].step()

    straight = begin(whole)
    run(whole, straight, 8, 0)
    assert {group["lr"] for part in straight[0].parts for group in part.param_groups} == {0.01 * 0.5**8}
    first = begin(cut)
    run(cut, first, 4, 0)
    state = first[0].state_dict(), first[1].state_dict()
    second = begin(cut)
    second[0].load_state_dict(state[0])
    second[1].load_state_dict(state[1])
    run(cut, second, 4, 4)
    for left, right in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_checkpoint_of_adam_is_refused_in_a_sentence() -> None:
    network = net()
    with pytest.raises(RunError, match="expected a checkpoint of the optimizer muon"):
        MuonAdamW.of(network, lr=0.1, weight_decay=0.0).load_state_dict(
            torch.optim.AdamW(network.parameters()).state_dict()
        )


@pytest.mark.parametrize("times", [(1.0, 1.0), (2.0, 6.0), (0.5, 1.0)])
def test_times_follow_their_distribution(times: tuple[float, float]) -> None:
    module = ScoreModule(net(), lambda step: {}, learning_rate=0.1, times=times)  # type: ignore[arg-type]
    drawn = module.drawn(torch.rand(20_000, generator=torch.Generator().manual_seed(0))).double().numpy()

    def share(t: np.ndarray) -> np.ndarray:
        return np.asarray(t if times == (1.0, 1.0) else EVEN * t + (1 - EVEN) * beta(*times).cdf(t))

    assert kstest(drawn, share).pvalue > 0.01
    assert drawn.min() >= 0 and drawn.max() <= 1
