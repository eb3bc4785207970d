"""Molecules and graphs of a data set, its published split, and their arrays, made once and kept in the cache."""

from __future__ import annotations

import csv
import glob
import gzip
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mogen.dataset.generated import COUNT, RECIPES, SEED, generated_graphs
from mogen.dataset.store import cache, find, folders, sha256
from mogen.domain.graph import Graph, MolecularGraphs, encode_molecules
from mogen.errors import DataError

FILES = {
    "qm9": ("qm9_smiles_full", "qm9"),
    "zinc250k": ("zinc250k",),
    "moses_test": ("moses_test",),
}
"""where the molecules of a name are, best first; qm9 in the order of its publication is what its split counts in"""
SPLITS = {"qm9": ("qm9_test_idx", 133_885), "zinc250k": ("zinc250k_test_idx", 249_455)}
"""the list of test rows, and how many rows the file has that it counts in, under whichever name that was imported"""
GRAPHS = ("ego_small", "community_small", "enzymes", "grid")
"""published sets of plain graphs; the first fifth of each is its test set"""

ENCODING = 2
"""raised whenever `encode_molecules` makes other arrays of the same molecules, so that cached ones are not taken"""


@dataclass(frozen=True)
class Split:
    """Training and test molecules, as SMILES; and why their parting is not the published one, where it is not."""

    train: list[str]
    test: list[str]
    reason: str = ""


@dataclass(frozen=True)
class Encoded:
    """Molecules as arrays, with the SMILES they were made of and how many did not fit."""

    graphs: MolecularGraphs
    smiles: list[str]
    skipped: int


def locate(name: str) -> Path:
    """The file of a name in the data folders or a folder below them; raises `DataError` where there is none."""
    for folder in folders():
        for place in (folder, *sorted(item for item in folder.glob("*") if item.is_dir())):
            files = sorted(place.glob(f"{glob.escape(name)}.*")) if name and Path(name).name == name else []
            found = [path for path in files if path.suffix not in (".sha256", ".partial")]
            if found:
                return found[0]
    return find(name)


def source_of(name: str) -> Path:
    """The file of molecules behind a data set's name, or the file itself."""
    if Path(name).is_file():
        return Path(name)
    for known in FILES.get(name, (name,)):
        try:
            return locate(known)
        except DataError:
            continue
    return find(name)


def read_smiles(path: Path) -> list[str]:
    """SMILES of a .csv file (column `smiles`) or of a text file (first word of each line); plain or .gz.

    A row of a .csv file without one is an empty text.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"expected a readable text file of molecules at {path}, got {error}") from error
    if ".csv" in path.suffixes:
        found = column_of(text, path)
    else:
        found = [line.split()[0] for line in text.splitlines() if line.strip()]
        found = found[1:] if found and found[0].lower() == "smiles" else found
    if not found:
        raise DataError(f"expected molecules in {path}, got none")
    return found


def column_of(text: str, path: Path) -> list[str]:
    """The column smiles of a .csv file."""
    try:
        rows = csv.DictReader(io.StringIO(text))
        column = next((name for name in rows.fieldnames or () if name.strip().lower() == "smiles"), None)
        if column is None:
            raise DataError(f"expected a column smiles in {path}, got {', '.join(rows.fieldnames or ())}")
        return [(row[column] or "").strip() for row in rows]
    except csv.Error as error:
        raise DataError(f"expected a readable .csv file of molecules at {path}, got {error}") from error


def published_rows(name: str, count: int) -> list[int] | str:
    """The rows of the published test set, counted from 0, in a file of so many; or why there are none."""
    if name not in SPLITS:
        return f"no test set is published for {name}"
    index, whole = SPLITS[name]
    if count != whole:
        return f"{source_of(name)} has {count:,} molecules, and the published test set counts in {whole:,}"
    try:
        path = locate(index)
    except DataError:
        return f"there is no {index} in the data folders"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content if isinstance(content, list) else next(v for v in content.values() if isinstance(v, list))
        found = sorted({int(row) for row in rows})
    except (OSError, ValueError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(f"expected a list of row numbers in {path}, got {error}") from error
    if not found or not 0 <= found[0] <= found[-1] < count:
        raise DataError(f"expected row numbers from 0 to {count - 1} in {path}, got others or none")
    return found


def split(name: str, share: float = 0.1, seed: int = 0) -> Split:
    """The published split of a data set where there is one, else a random one with `share` of it for testing."""
    smiles = read_smiles(source_of(name))
    rows, reason = published_rows(name, len(smiles)), ""
    if isinstance(rows, str):
        reason = rows
        rows = np.random.default_rng(seed).permutation(len(smiles))[: max(1, int(share * len(smiles)))].tolist()
    apart = set(rows)
    train = [text for row, text in enumerate(smiles) if row not in apart]
    return Split(train, [smiles[row] for row in sorted(apart)], reason)


def encoded(smiles: Sequence[str], types: Sequence[str], max_atoms: int, *, skip: bool = True) -> Encoded:
    """Molecules as arrays, from the cache where the same ones were made before."""
    facts = json.dumps([list(types), max_atoms, skip, ENCODING]) + "\n".join(smiles)
    path = cache() / "tensors" / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                graphs = MolecularGraphs(torch.from_numpy(arrays["atoms"]), torch.from_numpy(arrays["bonds"]))
                rows = arrays["rows"].tolist()
            return Encoded(graphs, [smiles[row] for row in rows], len(smiles) - len(rows))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink()
    graphs, rows = encode_molecules(smiles, types, max_atoms, skip=skip)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, atoms=graphs.atoms.numpy(), bonds=graphs.bonds.numpy(), rows=np.array(rows))
    partial.replace(path)
    return Encoded(graphs, [smiles[row] for row in rows], len(smiles) - len(rows))


def holds_graphs(name: str) -> bool:
    """Whether a name stands for plain graphs: a published set, a recipe, or a .json file."""
    if name in GRAPHS or is_recipe(name):
        return True
    return source_of(name).name.endswith((".json", ".json.gz"))


def is_recipe(name: str) -> bool:
    """Whether a name stands for graphs that are made here."""
    return name in RECIPES and not Path(name).is_file()


def load_graphs(name: str) -> list[Graph]:
    """Plain graphs of a published set, of a recipe, or of a JSON file: a list of {"n": nodes, "edges": [[i, j], ...]}.

    With "node_labels" (one integer per node) beside them, where nodes have labels. The name of a recipe stands for the
    same 200 graphs everywhere, those of seed 0. The first fifth of any set is its test set.
    """
    if is_recipe(name):
        return generated_graphs(name, COUNT, SEED)
    path = source_of(name)
    try:
        content = path.read_bytes()
        items = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        found = [Graph.from_key(key_of(item)) for item in items]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataError(f'expected a list of {{"n": .., "edges": [[i, j], ..]}} in {path}, got {error}') from error
    if not found or min(graph.nodes for graph in found) < 1:
        raise DataError(f"expected graphs of at least one node in {path}, got {'an empty one' if found else 'none'}")
    return found


def key_of(item: Mapping[str, Any]) -> str:
    """The key of a graph of a JSON file."""
    key = f"{item['n']}:" + ",".join(f"{i}-{j}" for i, j in item["edges"])
    labels = ",".join(str(int(label)) for label in item.get("node_labels", ()))
    return f"{key};{labels}" if labels else key


def fingerprint(name: str) -> str:
    """The SHA-256 of the file behind a name; for a recipe, of the keys of its graphs, one a line."""
    if is_recipe(name):
        return hashlib.sha256("\n".join(graph.key for graph in load_graphs(name)).encode()).hexdigest()
    return sha256(source_of(name))
