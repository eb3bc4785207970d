"""Molecules and graphs of a data set, its published split, and their arrays, made once and kept in the cache."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mogen.dataset.store import cache, find, folders, sha256
from mogen.domain.graph import Graph, MolecularGraphs, encode_molecules
from mogen.errors import DataError

FILES = {
    "qm9": ("qm9_smiles_full", "qm9"),
    "zinc250k": ("zinc250k",),
    "moses_test": ("moses_test",),
}
"""where the molecules of a name are, best first; qm9 in the order of its publication is what its split counts in"""
SPLITS = {"qm9": ("qm9_smiles_full", "qm9_test_idx"), "zinc250k": ("zinc250k", "zinc250k_test_idx")}
"""the file whose rows a list of test rows counts, and that list"""
GRAPHS = ("ego_small", "community_small", "enzymes", "grid")
"""published sets of plain graphs; the first fifth of each is its test set"""


@dataclass(frozen=True)
class Split:
    """Training and test molecules, as SMILES."""

    train: list[str]
    test: list[str]


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
            found = sorted(path for path in place.glob(f"{name}.*") if path.suffix not in (".sha256", ".partial"))
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
    """SMILES of a .csv file (column `smiles`) or of a text file (first word of each line); plain or .gz."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"expected a readable text file of molecules at {path}, got {error}") from error
    if ".csv" in path.suffixes:
        rows = csv.DictReader(io.StringIO(text))
        column = next((name for name in rows.fieldnames or () if name.strip().lower() == "smiles"), None)
        if column is None:
            raise DataError(f"expected a column smiles in {path}, got {', '.join(rows.fieldnames or ())}")
        found = [str(row[column]).strip() for row in rows]
    else:
        found = [line.split()[0] for line in text.splitlines() if line.strip()]
        found = found[1:] if found and found[0].lower() == "smiles" else found
    if not found:
        raise DataError(f"expected molecules in {path}, got none")
    return found


def published_rows(name: str) -> list[int] | None:
    """The rows of the published test set, counted from 0; None where the data set has none here."""
    if name not in SPLITS or source_of(name).name.split(".")[0] != SPLITS[name][0]:
        return None
    try:
        content = json.loads(locate(SPLITS[name][1]).read_text(encoding="utf-8"))
    except DataError:
        return None
    rows = content if isinstance(content, list) else next(v for v in content.values() if isinstance(v, list))
    return [int(row) for row in rows]


def split(name: str, share: float = 0.1, seed: int = 0) -> Split:
    """The published split of a data set where there is one, else a random one with `share` of it for testing."""
    smiles = read_smiles(source_of(name))
    rows = published_rows(name)
    if rows is None:
        rows = np.random.default_rng(seed).permutation(len(smiles))[: max(1, int(share * len(smiles)))].tolist()
    apart = set(rows)
    return Split([text for row, text in enumerate(smiles) if row not in apart], [smiles[row] for row in sorted(apart)])


def encoded(smiles: Sequence[str], types: Sequence[str], max_atoms: int, *, skip: bool = True) -> Encoded:
    """Molecules as arrays, from the cache where the same ones were made before."""
    facts = json.dumps([list(types), max_atoms, skip, 1]) + "\n".join(smiles)
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


def load_graphs(name: str) -> list[Graph]:
    """Plain graphs of a published set, or of a JSON file: a list of {"n": nodes, "edges": [[i, j], ...]}.

    With "node_labels" (one integer per node) beside them, where nodes have labels.
    """
    path = Path(name) if Path(name).is_file() else locate(name)
    try:
        content = path.read_bytes()
        items = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        return [Graph.from_key(key_of(item)) for item in items]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'expected a list of {{"n": .., "edges": [[i, j], ..]}} in {path}, got {error}') from error


def key_of(item: Mapping[str, Any]) -> str:
    """The key of a graph of a JSON file."""
    key = f"{item['n']}:" + ",".join(f"{i}-{j}" for i, j in item["edges"])
    labels = ",".join(str(int(label)) for label in item.get("node_labels", ()))
    return f"{key};{labels}" if labels else key


def fingerprint(name: str) -> str:
    """The SHA-256 of the file behind a name."""
    return sha256(source_of(name))
