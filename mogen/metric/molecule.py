"""How different molecules are from one another, by Tanimoto similarity of Morgan fingerprints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ShapeError
from mogen.metric.diversity import circles, intdiv, top_k, top_k_diversity, vendi


def molecule_diversity(
    smiles: Sequence[str], utility: Float[Tensor, "n m"], k: int = 100, limit: int = 2000
) -> dict[str, Any]:
    """Four views of the diversity of molecules; all None where no text is a molecule.

    `intdiv` (p = 1, the diagonal included), `circles` (threshold 0.75, in the order given), `vendi` (Tanimoto
    kernel), `top_k` (1 - mean similarity of different pairs among the k molecules of highest mean utility). A SMILES
    that comes twice counts once, and texts RDKit cannot read not at all. The first three cost up to O(n^3), so above
    `limit` molecules they see `limit` of them, evenly spaced in the order given; `top_k` chooses from all.
    """
    if len(smiles) != len(utility):
        raise ShapeError(f"utility must have {len(smiles)} rows, one per molecule, got {len(utility)}")
    rows, bits = fingerprints(smiles)
    if not rows:
        return {"intdiv": None, "circles": None, "vendi": None, "top_k": None}
    spread = np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int)
    similarity = tanimoto(bits[spread])
    score = utility.detach().cpu().double()[rows].mean(1)
    best = top_k(score, k)
    return {
        "intdiv": intdiv(similarity),
        "circles": circles(1 - similarity, 0.75),
        "vendi": vendi(similarity),
        "top_k": top_k_diversity(tanimoto(bits[best.numpy()]), score[best], k),
    }


def fingerprints(smiles: Sequence[str], radius: int = 2, size: int = 2048) -> tuple[list[int], np.ndarray]:
    """Positions of the readable SMILES, each text once, and their Morgan fingerprints (n x size, 0 or 1)."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    first: dict[str, int] = {}
    for position, text in enumerate(smiles):
        first.setdefault(text, position)
    rows: list[int] = []
    found: list[np.ndarray] = []
    with rdBase.BlockLogs():
        for text, position in first.items():
            mol = Chem.MolFromSmiles(text)
            if mol is not None and mol.GetNumAtoms():
                rows.append(position)
                found.append(generator.GetFingerprintAsNumPy(mol))
    return rows, np.stack(found) if found else np.zeros((0, size), dtype=np.uint8)


def tanimoto(bits: np.ndarray) -> Float[Tensor, "n n"]:
    """Bits two rows share over bits either has, in float64; 1 between rows without any bit.

    The counts are one matrix product in float32, exact below 2^24 bits.
    """
    rows = bits.astype(np.float32)
    shared = (rows @ rows.T).astype(np.float64)
    count = shared.diagonal()
    either = count[:, None] + count[None] - shared
    return torch.from_numpy(np.divide(shared, either, out=np.ones_like(shared), where=either > 0))
