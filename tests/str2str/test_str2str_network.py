"""The denoising network: its size, its symmetries, its start, and its fast forms against plain ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import linear as nn_linear

from mogen.errors import ConfigError
from samplers.diffusion import so3
from samplers.str2str.attention import InvariantPointAttention
from samplers.str2str.dense import PAIRS, dense, pieces
from samplers.str2str.network import (
    BINS,
    Denoiser,
    EdgeTransition,
    Size,
    distance_bin,
    encoded,
    moved,
    position_embedding,
    time_embedding,
)

TINY = Size(
    node=16, edge=8, hidden=4, heads=2, query_points=2, value_points=3, blocks=2, skip=8, layers=1, layer_heads=2
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(size: Size = TINY, dtype: torch.dtype = torch.float64) -> Denoiser:
    """A network whose layers that start at zero are random too, so that symmetries are tested on what it can become."""
    torch.manual_seed(0)
    made = Denoiser(size).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return made


def inputs(b: int = 2, r: int = 7, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = seeded(1)
    return {
        "rotations": so3.uniform(torch.zeros(b, r, 3, 3, dtype=dtype), generator=generator),
        "translations": torch.randn(b, r, 3, dtype=dtype, generator=generator),
        "t": torch.linspace(0.1, 0.6, b, dtype=dtype),
        "exists": torch.ones(b, r, dtype=torch.bool),
        "moves": torch.ones(b, r, dtype=torch.bool),
        "positions": torch.arange(r).expand(b, r).clone(),
        "seen": torch.randn(b, r, 3, dtype=dtype, generator=generator),
    }


def test_the_published_size_has_the_published_number_of_parameters():
    count = sum(parameter.numel() for parameter in Denoiser(Size.named("published")).parameters())
    assert count == 17_446_106
    with pytest.raises(ConfigError, match="published, small, tiny"):
        Size.named("large")


def test_the_prediction_turns_and_moves_with_its_input():
    given, net = inputs(), network()
    turn = so3.uniform(torch.zeros(3, 3, dtype=torch.float64), generator=seeded(5))
    shift = torch.tensor([3.0, -1, 2], dtype=torch.float64)
    plain = net(**given)
    moved_input = given | {
        "rotations": turn @ given["rotations"],
        "translations": given["translations"] @ turn.T + shift,
        "seen": given["seen"] @ turn.T + 7,
    }
    turned = net(**moved_input)
    assert torch.allclose(turned.rotations, turn @ plain.rotations, atol=1e-9)
    assert torch.allclose(turned.translations, plain.translations @ turn.T + shift, atol=1e-9)
    assert torch.allclose(turned.psi, plain.psi, atol=1e-9)
    assert float((plain.translations - given["translations"]).abs().max()) > 1e-2  # it does move something


def test_a_reflection_is_not_a_symmetry():
    given, net = inputs(), network()
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    flip = {"translations": given["translations"] @ mirror, "rotations": mirror @ given["rotations"] @ mirror}
    there = net(**(given | flip)).translations
    assert not torch.allclose(there, net(**given).translations @ mirror, atol=1e-3)


def test_padding_changes_nothing():
    given, net = inputs(), network()
    plain = net(**given)
    junk = seeded(9)
    padded = {
        "rotations": torch.cat((given["rotations"], so3.uniform(torch.zeros(2, 3, 3, 3).double(), generator=junk)), 1),
        "translations": torch.cat((given["translations"], 50 * torch.randn(2, 3, 3, generator=junk).double()), 1),
        "t": given["t"],
        "exists": torch.cat((given["exists"], torch.zeros(2, 3, dtype=torch.bool)), 1),
        "moves": torch.cat((given["moves"], torch.ones(2, 3, dtype=torch.bool)), 1),
        "positions": torch.cat((given["positions"], torch.zeros(2, 3, dtype=torch.long)), 1),
        "seen": torch.cat((given["seen"], torch.randn(2, 3, 3, generator=junk).double()), 1),
    }
    found = net(**padded)
    for name in ("rotations", "translations", "psi"):
        assert torch.allclose(getattr(found, name)[:, :7], getattr(plain, name), atol=1e-10)
    assert torch.equal(found.translations[:, 7:] - padded["translations"][:, 7:] < 1e-9, torch.ones(2, 3, 3).bool())


def test_a_batch_equals_one_by_one_also_where_chains_differ():
    given, net = inputs(), network()
    given["positions"][1, 4:] += 10
    both = net(**given)
    for row in range(2):
        alone = net(**{name: value[row : row + 1] for name, value in given.items()})
        assert torch.allclose(alone.translations[0], both.translations[row], atol=1e-10)
    other = net(**(given | {"positions": inputs()["positions"]}))
    assert not torch.allclose(other.translations[1], both.translations[1], atol=1e-6)  # a gap is seen


def test_a_new_network_leaves_frames_where_they_are():
    torch.manual_seed(0)
    given = inputs()
    found = Denoiser(TINY).double()(**given)
    assert torch.allclose(found.rotations, given["rotations"], atol=1e-12)
    assert torch.allclose(found.translations, given["translations"], atol=1e-12)


def test_fixed_residues_keep_their_frames_and_are_seen_as_fixed():
    given, net = inputs(), network()
    held = given["moves"].clone()
    held[:, 2:4] = False
    found, free = net(**(given | {"moves": held})), net(**given)
    assert torch.equal(found.rotations[:, 2:4], given["rotations"][:, 2:4])
    assert torch.allclose(found.translations[:, 2:4], given["translations"][:, 2:4], atol=1e-15)
    assert not torch.allclose(found.translations[:, :2], free.translations[:, :2], atol=1e-6)


def test_point_attention_agrees_with_the_formula_pair_by_pair():
    torch.manual_seed(0)
    b, r, h, c, p, v = 1, 5, 2, 4, 2, 3
    layer = InvariantPointAttention(6, 8, c, h, p, v).double()
    torch.nn.init.normal_(layer.out.weight)
    torch.nn.init.normal_(layer.gamma)
    given = inputs(b, r)
    node, edge = torch.randn(b, r, 6).double(), torch.randn(b, r, r, 8).double()
    rot, x = given["rotations"][0], given["translations"][0]
    q = layer.q(node).view(r, h, c)
    k, value = layer.kv(node).view(r, h, 2 * c).split(c, -1)
    qp = layer.q_points(node).view(r, h, p, 3)
    kp, vp = layer.kv_points(node).view(r, h, p + v, 3).split((p, v), 2)
    bias, pair = layer.pair_bias(edge)[0], layer.pair_value(edge)[0]
    rows = []
    for i in range(r):
        parts = {name: [] for name in ("o", "point", "length", "pair")}
        for head in range(h):
            logit = torch.zeros(r).double()
            for j in range(r):
                square = sum(
                    ((rot[i] @ qp[i, head, n] + x[i] - rot[j] @ kp[j, head, n] - x[j]) ** 2).sum() for n in range(p)
                )
                gamma = torch.nn.functional.softplus(layer.gamma[head])
                logit[j] = (q[i, head] @ k[j, head]) / math.sqrt(3 * c) + math.sqrt(1 / 3) * bias[i, j, head]
                logit[j] -= 0.5 * gamma * math.sqrt(1 / (3 * p * 9 / 2)) * square
            a = logit.softmax(0)
            parts["o"].append(sum(a[j] * value[j, head] for j in range(r)))
            point = torch.stack([sum(a[j] * (rot[j] @ vp[j, head, n] + x[j]) for j in range(r)) for n in range(v)])
            local = (point - x[i]) @ rot[i]
            parts["point"].append(local)
            parts["length"].append((local.square().sum(-1) + 1e-8).sqrt())
            parts["pair"].append(sum(a[j] * pair[i, j] for j in range(r)))
        points = torch.cat(parts["point"])
        flat = (torch.cat(parts["o"]), points[:, 0], points[:, 1], points[:, 2], torch.cat(parts["length"]))
        rows.append(torch.cat((*flat, torch.cat(parts["pair"]))))
    # the layer computes in float32 inside, whatever comes in
    expected = layer.out(torch.stack(rows))
    found = layer(node, edge, given["rotations"], given["translations"], given["exists"])[0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_split_transition_of_pairs_equals_the_concatenated_one():
    torch.manual_seed(0)
    layer = EdgeTransition(6, 4).double()
    torch.nn.init.normal_(layer.out.weight)
    torch.nn.init.normal_(layer.out.bias)
    node, edge = torch.randn(2, 5, 6).double(), torch.randn(2, 5, 5, 4).double()
    small = layer.node(node)
    both = torch.cat((edge, small[:, :, None].expand(-1, -1, 5, -1), small[:, None].expand(-1, 5, -1, -1)), -1)
    hidden = layer.second(layer.first(both).relu()).relu()
    assert torch.allclose(layer(node, edge, torch.ones(2, 5).bool()), layer.norm(layer.out(hidden + both)), atol=1e-12)


def test_a_fused_product_is_the_plain_one():
    generator = seeded(2)
    x, weight = torch.randn(3, 50, 24, generator=generator), torch.randn(40, 24, generator=generator)
    bias, plain = torch.randn(40, generator=generator), nn_linear
    with torch.no_grad():
        assert torch.allclose(dense(x, weight, bias), plain(x, weight, bias), atol=1e-5)
        assert torch.allclose(dense(x, weight, relu=True), plain(x, weight).relu(), atol=1e-5)
        part = weight.split((10, 14), 1)[1]  # strides of a wider matrix
        assert torch.allclose(dense(x[..., 10:], part), plain(x[..., 10:], part), atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert dense(x, weight, bias).dtype == torch.bfloat16
            assert torch.allclose(dense(x, weight, bias).float(), plain(x, weight, bias).float(), atol=0.2)


@pytest.mark.parametrize("b, r", [(1, 1), (3, 20), (7, 64), (2, 65), (1, 130), (2, 4097)])
def test_pieces_of_pairs_are_all_pairs_once(b, r):
    seen = torch.zeros(b, r)
    for items, rows in pieces(b, r):
        seen[items, rows] += 1
        assert (items.stop - items.start) * (rows.stop - rows.start) * r <= max(PAIRS + r, r)
    assert (seen == 1).all()


def test_what_is_made_in_pieces_is_what_gradients_are_computed_with():
    net, given = network(TINY, torch.float32), inputs(b=3, r=70, dtype=torch.float32)
    given["exists"][1, 60:] = False
    whole = net(**given)
    with torch.no_grad():
        made = net(**given)
    for name in ("rotations", "translations", "psi"):
        there, here = getattr(whole, name)[given["exists"]], getattr(made, name)[given["exists"]]
        assert whole.translations.requires_grad and torch.allclose(there, here, atol=1e-4)


def test_a_transformer_layer_is_torchs():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True).double()
    x, exists = torch.randn(2, 5, 8).double(), torch.ones(2, 5).bool()
    assert torch.allclose(encoded(layer, x, exists), layer(x), atol=1e-12)
    exists[1, 3:] = False
    assert torch.allclose(encoded(layer, x, exists)[exists], layer(x, src_key_padding_mask=~exists)[exists], atol=1e-12)


def test_the_gathered_first_layer_of_pairs_equals_the_plain_one():
    given = inputs()
    given["moves"][:, 3] = False
    given["positions"][1, 4:] += 6
    embedder = network().embedder
    _, edge = embedder(*(given[name] for name in ("t", "exists", "moves", "positions", "seen")))
    time = torch.cat((time_embedding(given["t"])[:, None].expand(-1, 7, -1), (~given["moves"]).double()[..., None]), -1)
    offset = (given["positions"][:, :, None] - given["positions"][:, None]).double()
    distance = 10 * (given["seen"][:, :, None] - given["seen"][:, None]).norm(dim=-1)
    lower = torch.linspace(1e-5, 20, BINS, dtype=torch.float64)
    upper = torch.cat((lower[1:], torch.tensor([1e8], dtype=torch.float64)))
    bins = ((distance[..., None] > lower) & (distance[..., None] <= upper)).double()
    pair = (
        time[:, :, None].expand(-1, -1, 7, -1),
        time[:, None].expand(-1, 7, -1, -1),
        position_embedding(offset),
        bins,
    )
    assert torch.allclose(edge, embedder.edge(torch.cat(pair, -1)), atol=1e-10)


def test_nothing_seen_falls_into_no_bin():
    assert (distance_bin(torch.zeros(1, 3, 3)) == BINS).all()
    line = torch.tensor([[[0.0, 0, 0], [0.5, 0, 0], [19.9, 0, 0], [500, 0, 0]]])
    assert distance_bin(line)[0, 0].tolist() == [BINS, 0, BINS - 2, BINS - 1]


def test_a_small_frame_is_composed_as_its_quaternion():
    given = inputs()
    change = torch.randn(2, 7, 6, generator=seeded(3)).double()
    rotations, translations = moved(given["rotations"], given["translations"], change)
    small = so3.from_quaternion(torch.cat((torch.ones(2, 7, 1).double(), change[..., :3]), -1))
    assert torch.allclose(rotations, given["rotations"] @ small, atol=1e-12)
    shift = torch.einsum("brij,brj->bri", given["rotations"], change[..., 3:])
    assert torch.allclose(translations, given["translations"] + shift, atol=1e-12)


def test_bfloat16_stays_near_float32_and_keeps_the_frames_in_float32():
    net = network(Size.named("tiny"), torch.float32).eval().requires_grad_(False)
    given = inputs(dtype=torch.float32)
    plain = net(**given)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = net(**given)
    assert coarse.rotations.dtype == coarse.translations.dtype == torch.float32
    worst = float((coarse.translations - plain.translations).abs().max())
    assert worst < 0.1 * float((plain.translations - given["translations"]).abs().max())
    eye = (coarse.rotations.mT @ coarse.rotations - torch.eye(3)).abs().max()
    assert float(eye) < 1e-4
