"""The message-passing network of the sEH proxy, and molecules as its graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from rdkit import Chem
from torch import Tensor, nn

from mogen.errors import DataError

ELEMENTS = {"H": 0, "C": 1, "N": 2, "O": 3, "F": 4}
"""columns of the one-hot element; column 5 is any other"""
HYBRIDIZATIONS = {
    Chem.HybridizationType.SP: 10,
    Chem.HybridizationType.SP2: 11,
    Chem.HybridizationType.SP3: 12,
}
BONDS = {
    Chem.BondType.SINGLE: 0,
    Chem.BondType.DOUBLE: 1,
    Chem.BondType.TRIPLE: 2,
    Chem.BondType.AROMATIC: 3,
    Chem.BondType.UNSPECIFIED: 0,
}
NO_BOND = len(set(BONDS.values()))
"""the kind of the one edge that a graph without bonds gets, from its first atom to itself"""
HEAVIEST = 56
"""largest atomic number that has a column (barium)"""
FEATURES, WIDTH, HIDDEN, STEPS = 15 + HEAVIEST, 64, 128, 12
NAMES = (
    *("lin0.weight", "lin0.bias", "conv.lin.weight", "conv.bias"),
    *("conv.nn.0.weight", "conv.nn.0.bias", "conv.nn.2.weight", "conv.nn.2.bias"),
    *("gru.weight_ih_l0", "gru.weight_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0"),
    *("", "", "", ""),
    *("set2set.lstm.weight_ih_l0", "set2set.lstm.weight_hh_l0", "set2set.lstm.bias_ih_l0", "set2set.lstm.bias_hh_l0"),
    *("lin3.weight", "lin3.bias"),
)
"""the order of the published arrays; the four without a name belong to a head that is not used"""


@dataclass(frozen=True)
class MolecularGraph:
    """One or several molecules as one graph; every bond is two edges."""

    atoms: Float[Tensor, "v 71"]
    edges: Int[Tensor, "2 e"]
    """from, to"""
    kinds: Int[Tensor, " e"]
    """single, double, triple, aromatic, none"""
    owner: Int[Tensor, " v"]
    """which molecule an atom belongs to"""

    @staticmethod
    def of(mols: Sequence[Chem.Mol]) -> MolecularGraph:
        """The disjoint graphs of molecules; all of them must be `is_representable`."""
        hot: list[tuple[int, int, float]] = []
        sources: list[int] = []
        targets: list[int] = []
        kinds: list[int] = []
        owner: list[int] = []
        for number, mol in enumerate(mols):
            first = len(owner)
            for atom in mol.GetAtoms():
                row = first + atom.GetIdx()
                hot += [(row, column, value) for column, value in _features(atom)]
            for bond in mol.GetBonds():
                i, j = first + bond.GetBeginAtomIdx(), first + bond.GetEndAtomIdx()
                sources += [i, j]
                targets += [j, i]
                kinds += [BONDS[bond.GetBondType()]] * 2
            if not mol.GetNumBonds():
                sources.append(first)
                targets.append(first)
                kinds.append(NO_BOND)
            owner += [number] * mol.GetNumAtoms()
        atoms = torch.zeros(len(owner), FEATURES, dtype=torch.float64)
        rows, columns, values = zip(*hot, strict=True)
        atoms[list(rows), list(columns)] = torch.tensor(values, dtype=torch.float64)
        return MolecularGraph(atoms, torch.tensor([sources, targets]), torch.tensor(kinds), torch.tensor(owner))


def is_representable(mol: Chem.Mol | None) -> bool:
    """Whether the network has a column for every atom and a kind for every bond."""
    return (
        mol is not None
        and mol.GetNumAtoms() > 0
        and all(1 <= atom.GetAtomicNum() <= HEAVIEST for atom in mol.GetAtoms())
        and all(bond.GetBondType() in BONDS for bond in mol.GetBonds())
    )


def _features(atom: Chem.Atom) -> list[tuple[int, float]]:
    """Columns that are not 0: element, aromatic (9), hybridisation, hydrogens (13), atomic number (from 14 on).

    The columns of acceptors and donors (7, 8) and the last one, of attachment points, stay 0 as published.
    """
    found = [(ELEMENTS.get(atom.GetSymbol(), 5), 1.0), (13 + atom.GetAtomicNum(), 1.0)]
    if atom.GetIsAromatic():
        found.append((9, 1.0))
    if atom.GetHybridization() in HYBRIDIZATIONS:
        found.append((HYBRIDIZATIONS[atom.GetHybridization()], 1.0))
    hydrogens = atom.GetTotalNumHs(includeNeighbors=True)
    if hydrogens:
        found.append((13, float(hydrogens)))
    return found


@final
class SehNetwork(nn.Module):
    """Twelve rounds of edge-conditioned messages (NNConv, mean) and GRU, then Set2Set (Bengio et al. 2021).

    h_0 = act(W x); m_v = act(root h_v + mean over edges u -> v of h_u A(kind) + b); h' = GRU(m, h), act = LeakyReLU;
    A(kind) is the edge network's 64 x 64 matrix. Edges have five kinds only, so A is a table of five matrices, made
    once a call: NNConv itself would make one matrix for every edge in every round.
    """

    def __init__(self) -> None:
        from torch_geometric.nn import NNConv, Set2Set

        super().__init__()
        self.act = nn.LeakyReLU()
        self.lin0 = nn.Linear(FEATURES, WIDTH)
        edges = nn.Sequential(nn.Linear(NO_BOND, HIDDEN), self.act, nn.Linear(HIDDEN, WIDTH * WIDTH))
        self.conv = NNConv(WIDTH, WIDTH, edges, aggr="mean")
        self.gru = nn.GRU(WIDTH, WIDTH)
        self.set2set = Set2Set(WIDTH, processing_steps=3)
        self.lin3 = nn.Linear(2 * WIDTH, 1)

    @classmethod
    def of(cls, arrays: Sequence[Tensor], where: str) -> SehNetwork:
        """The network with the published arrays, in float64; raises `DataError` where they are others."""
        self = cls()
        expected = self.state_dict()
        shapes = [tuple(array.shape) for array in arrays]
        wanted = [tuple(expected[name].shape) if name else None for name in NAMES]
        if len(shapes) != len(wanted) or any(b is not None and a != b for a, b in zip(shapes, wanted, strict=True)):
            raise DataError(
                f"expected the {len(NAMES)} arrays of the sEH proxy in {where}, from 71 x 64 to 1, got {len(shapes)} "
                f"of shapes {shapes[:4]}.."
            )
        self.load_state_dict({name: array for name, array in zip(NAMES, arrays, strict=True) if name})
        return self.double().eval().requires_grad_(False)

    def matrices(self) -> Float[Tensor, "k 64 64"]:
        """What the edge network makes of each kind of edge: the four bonds, and none."""
        kinds = torch.cat([torch.eye(NO_BOND), torch.zeros(1, NO_BOND)]).to(self.lin0.weight)
        return self.conv.nn(kinds).view(-1, WIDTH, WIDTH)

    def forward(self, graph: MolecularGraph) -> Float[Tensor, " n"]:
        table = self.matrices().permute(1, 0, 2).reshape(WIDTH, -1)
        source, target = graph.edges
        edges = torch.bincount(target, minlength=len(graph.atoms)).clamp(min=1)[:, None]
        out = self.act(self.lin0(graph.atoms))
        h = out[None]
        for _ in range(STEPS):
            every = (out @ table).view(len(out), -1, WIDTH)
            sums = torch.zeros_like(out).index_add_(0, target, every[source, graph.kinds])
            messages = self.act(sums / edges + self.conv.lin(out) + self.conv.bias)
            out, h = self.gru(messages[None], h)
            out = out[0]
        return self.lin3(self.set2set(out, graph.owner))[:, 0]
