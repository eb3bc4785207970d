"""Random forests as plain arrays: read, scored for many molecules at once, and made of a fitted forest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mogen.errors import DataError

ARRAYS = ("offset", "left", "right", "feature", "threshold", "p1")


@dataclass(frozen=True)
class Forest:
    """Binary decision trees in one array after the other.

    Tree t owns the nodes offset[t] to offset[t + 1]; `left` and `right` count from its first node, below 0 at a leaf.
    A node sends x to its left where x[feature] <= threshold. The score is the mean over trees of `p1` at the leaf.
    """

    offset: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    p1: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Forest:
        """The forest in an .npz file; raises `DataError` where it is none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                self = cls(*(file[name] for name in ARRAYS))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"expected the arrays {', '.join(ARRAYS)} of a random forest in {path}: {error}") from error
        self._check(path)
        return self

    def _check(self, path: Path) -> None:
        size = len(self.left)
        owned = np.diff(self.offset)
        is_whole = self.offset.ndim == 1 and len(owned) > 0 and self.offset[0] == 0 and self.offset[-1] == size
        is_whole = is_whole and bool((owned > 0).all())
        is_whole = is_whole and all(getattr(self, name).shape == (size,) for name in ARRAYS[1:])
        if is_whole:
            last = np.repeat(owned, owned)
            inner = self.left >= 0
            own = np.arange(size) - np.repeat(self.offset[:-1], owned)
            for child in (self.left, self.right):  # children come after their parent: no walk can go round in circles
                is_whole = is_whole and bool((child[inner] < last[inner]).all() and (child[inner] > own[inner]).all())
            is_whole = is_whole and bool((self.feature[inner] >= 0).all())
        if not is_whole:
            raise DataError(f"expected whole trees in {path}, got arrays that do not fit together")

    @cached_property
    def _packed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Children as positions in all arrays (2 x nodes, leaves lead to themselves), features, thresholds."""
        here = np.arange(len(self.left))
        base = np.repeat(self.offset[:-1].astype(np.int64), np.diff(self.offset))
        inner = self.left >= 0
        children = np.stack([np.where(inner, base + child, here) for child in (self.left, self.right)])
        return children, np.where(inner, self.feature, 0).astype(np.int64), np.where(inner, self.threshold, np.inf)

    def score(self, features: np.ndarray) -> np.ndarray:
        """The mean of p1 over trees for n x d features, all molecules and trees walking down together."""
        children, feature, threshold = self._packed
        n, trees = len(features), len(self.offset) - 1
        flat = np.ascontiguousarray(features).reshape(-1)
        row = np.repeat(np.arange(n) * features.shape[1], trees)
        node = np.tile(self.offset[:-1].astype(np.int64), n)
        walking = np.flatnonzero(self.left[node] >= 0)
        while len(walking):
            at = node[walking]
            goes_right = flat[row[walking] + feature[at]] > threshold[at]
            at = children[goes_right.astype(np.intp), at]
            node[walking] = at
            walking = walking[self.left[at] >= 0]
        return self.p1[node].astype(np.float64).reshape(n, trees).mean(1)


def save_forest(model: Any, path: Path | str, positive: Any = 1) -> None:
    """Writes a fitted scikit-learn forest of two classes as the arrays that activities are read from.

    Load the model yourself, with the scikit-learn it was made with, and only if you trust the file. `positive` is the
    label whose probability is the score.
    """
    column = [label.item() if hasattr(label, "item") else label for label in model.classes_].index(positive)
    trees = [estimator.tree_ for estimator in model.estimators_]
    counts = [np.asarray(tree.value)[:, 0, :] for tree in trees]
    np.savez_compressed(
        path,
        offset=np.cumsum([0] + [tree.node_count for tree in trees]).astype(np.int32),
        left=np.concatenate([tree.children_left for tree in trees]).astype(np.int32),
        right=np.concatenate([tree.children_right for tree in trees]).astype(np.int32),
        feature=np.concatenate([tree.feature for tree in trees]).astype(np.int16),
        threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
        p1=np.concatenate([count[:, column] / count.sum(1) for count in counts]).astype(np.float32),
    )
