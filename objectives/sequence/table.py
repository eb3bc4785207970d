"""Sequences whose value is written in a table of all of them."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import DataError
from mogen.objective.objective import Objective


@final
class TableReward(Objective[TokenSequence]):
    """The entry of a sequence in a table over all sequences of one length, in lexicographic order of the alphabet.

    The table is an .npz file with `reward` and `alphabet`: `table`, or else molecules/qm9str_exact_rewards.npz in the
    folder that MOGEN_DATA names: 11^5 strings of QM9 building blocks with rewards from -2.8 to 17.4, of which the
    negative ones are worth nothing here. `best` is the largest entry unless given. Other sequences are NaN.
    """

    name = "table_reward"
    source = "QM9 strings: rewards published with gfnx, after Shen et al. 2023"

    def __init__(self, table: str | None = None, *, worst: float = 0.0, best: float | None = None) -> None:
        self.table = _table_file(table)
        rewards, alphabet = _table(self.table)
        self.alphabet = alphabet
        self.length = round(math.log(len(rewards), len(alphabet)))
        self.worst = float(worst)
        self.best = float(rewards.max() if best is None else best)
        self.parameters = {"table_sha256": hashlib.sha256(Path(self.table).read_bytes()).hexdigest()[:16]}

    def evaluate(self, candidates: Sequence[TokenSequence]) -> Float[Tensor, " n"]:
        rewards, _ = _table(self.table)
        values = [float(rewards[index]) if (index := self.index(item.text)) >= 0 else math.nan for item in candidates]
        return torch.tensor(values, dtype=torch.float64)

    def index(self, text: str) -> int:
        """The row of a sequence, or -1 where the table has none."""
        if len(text) != self.length or not set(text) <= set(self.alphabet):
            return -1
        row = 0
        for token in text:
            row = row * len(self.alphabet) + self.alphabet.index(token)
        return row

    def rewards(self) -> Float[Tensor, " t"]:
        """Every entry, in lexicographic order of the sequences."""
        return torch.from_numpy(_table(self.table)[0].astype(np.float64))


def _table_file(table: str | None) -> str:
    folder = os.environ.get("MOGEN_DATA")
    if table is None and not folder:
        raise DataError(
            "a table of rewards needs its file, molecules/qm9str_exact_rewards.npz, in the folder that the environment "
            "variable MOGEN_DATA names, but MOGEN_DATA is not set"
        )
    path = Path(table) if table is not None else Path(folder or "") / "molecules" / "qm9str_exact_rewards.npz"
    if not path.is_file():
        raise DataError(f"a table of rewards needs an .npz file, but there is none at {path}")
    return str(path)


@cache
def _table(path: str) -> tuple[np.ndarray, str]:
    """Rewards and alphabet; raises `DataError` where the file holds something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rewards, alphabet = file["reward"], "".join(str(letter) for letter in file["alphabet"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"a table of rewards cannot be read from {path}: {error}") from error
    length = round(math.log(max(rewards.size, 1), len(alphabet))) if len(alphabet) > 1 else 0
    if rewards.ndim != 1 or length < 1 or len(alphabet) ** length != len(rewards):
        raise DataError(f"expected one reward for every sequence of one length over the alphabet in {path}")
    return rewards, alphabet
