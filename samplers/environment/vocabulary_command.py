"""`mogen vocabulary build`: a vocabulary of fragments out of a file of molecules."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError, DataError
from samplers.environment.cutting import RULES, Census, rebuilds
from samplers.environment.vocabulary import Vocabulary

LARGEST_TREE = 9


def build(
    smiles_file: str,
    out: str,
    size: int = 600,
    min_count: int = 2,
    max_atoms: int = 12,
    max_sites: int = 6,
    held_out: int = 5000,
    exclude: str | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> Vocabulary:
    """Cuts the molecules of a file into fragments and writes the most frequent ones as a vocabulary.

    Some molecules are held out of the count; the share of them that trees of at most 9 fragments rebuild exactly
    (stereochemistry aside) is printed and written into the file, for growing numbers of fragments. The same file,
    options and seed give the same vocabulary.

    Args:
        smiles_file: molecules as .smi, .txt (first word of each line) or .csv (column `smiles`), plain or .gz
        out: the JSON file to write
        size: how many fragments to keep at most
        min_count: in how many molecules a fragment must occur
        max_atoms: the largest fragment, in heavy atoms
        max_sites: the most sites of one fragment
        held_out: how many molecules to measure the coverage on (at most a tenth of them all without `exclude`)
        exclude: a JSON list of row numbers (from 0) to hold out; without it rows are drawn at random
        sample: count at most this many molecules, drawn at random; without it all
        seed: the seed of the rows that are held out, measured or drawn
    """
    _check_options(size=size, min_count=min_count, max_atoms=max_atoms, max_sites=max_sites, sample=sample or 1)
    if not Path(out).resolve().parent.is_dir():
        raise ConfigError(f"expected a folder to write to, got {out!r}, whose folder does not exist")
    smiles = list(read_smiles(smiles_file))
    apart, measured = _held_out(len(smiles), held_out, exclude, seed)
    counted = [row for row in range(len(smiles)) if row not in apart]
    if sample is not None and sample < len(counted):
        counted = sorted(random.Random(seed + 1).sample(counted, sample))
    census = Census()
    for row in counted:
        census.add(smiles[row])
    name = Path(smiles_file).name.split(".")[0]
    vocabulary = census.vocabulary(size, min_count=min_count, max_atoms=max_atoms, max_sites=max_sites, name=name)
    facts: dict[str, Any] = {
        "source": Path(smiles_file).name,
        "molecules": census.molecules,
        "unreadable": census.unreadable,
        "rules": list(RULES),
        "stereochemistry": "ignored",
        "distinct_fragments": len(census.fragments),
        "options": {
            "size": size,
            "min_count": min_count,
            "max_atoms": max_atoms,
            "max_sites": max_sites,
            "sample": sample,
        },
        "seed": seed,
        "held_out": coverage(vocabulary, [smiles[row] for row in measured]),
    }
    vocabulary.to_json(out, **facts)
    print(f"{len(vocabulary)} fragments from {census.molecules} molecules ({census.unreadable} unreadable) in {out}")
    print(_sentence(facts["held_out"]))
    return vocabulary


def coverage(vocabulary: Vocabulary, smiles: Sequence[str]) -> dict[str, Any]:
    """The share of molecules rebuilt exactly by trees of at most 9 fragments, for prefixes of the vocabulary."""
    largest = []
    readable = 0
    for text in smiles:
        try:
            molecule = Molecule.from_smiles(text)
        except CandidateError:
            continue
        readable += 1
        tree = rebuilds(vocabulary, molecule, LARGEST_TREE)
        if tree is not None:
            largest.append(max(tree.fragments))
    sizes = sorted({size for size in (50, 100, 200, 300, 400, 500, 600, 800, 1000) if size < len(vocabulary)})
    share = {
        str(size): round(sum(last < size for last in largest) / max(readable, 1), 4)
        for size in [*sizes, len(vocabulary)]
    }
    return {"molecules": readable, "max_fragments": LARGEST_TREE, "rebuilt_by_size": share}


def read_smiles(path: Path | str) -> Iterator[str]:
    """The SMILES of a .smi, .txt or .csv file (column `smiles`), plain or .gz, in order."""
    path = Path(path)
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"expected a file of SMILES in UTF-8, plain or gzip, got {path} ({error})") from error
    except OSError as error:
        raise DataError(f"expected a file of SMILES, got {error.strerror or error} for {path}") from error
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return _from_csv(text, path) if kind.lower() == ".csv" else _from_lines(text)


def _from_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split()
        if words and not words[0].startswith("#") and words[0].lower() != "smiles":
            yield words[0]


def _from_csv(text: str, path: Path) -> Iterator[str]:
    reader = csv.DictReader(io.StringIO(text))
    columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
    if "smiles" not in columns:
        raise DataError(f"expected a column 'smiles' in {path}, got {list(reader.fieldnames or ())}")
    for row in reader:
        yield (row[columns["smiles"]] or "").strip()


def _held_out(count: int, wanted: int, exclude: str | None, seed: int) -> tuple[set[int], list[int]]:
    """The rows that are not counted, and those of them that are measured."""
    generator = random.Random(seed)
    if exclude is None:
        rows = sorted(generator.sample(range(count), min(wanted, count // 10)))
        return set(rows), rows
    try:
        listed = json.loads(Path(exclude).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"expected a JSON list of rows, got {error.strerror or error} for {exclude}") from error
    except ValueError as error:
        raise DataError(f"expected a JSON list of rows, got {exclude}, which is not JSON ({error})") from error
    if not isinstance(listed, list) or not all(isinstance(row, int) and 0 <= row < count for row in listed):
        raise DataError(f"expected a JSON list of rows from 0 to {count - 1} in {exclude}")
    return set(listed), sorted(generator.sample(sorted(set(listed)), min(wanted, len(set(listed)))))


def _check_options(**options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise ConfigError(f"expected {name} of at least 1, got {value}")


def _sentence(held_out: dict[str, Any]) -> str:
    shares = ", ".join(f"{100 * share:.1f} % with {size}" for size, share in held_out["rebuilt_by_size"].items())
    return (
        f"Of {held_out['molecules']} held-out molecules, trees of at most {held_out['max_fragments']} fragments rebuild"
        f" (stereochemistry aside): {shares} fragments."
    )


COMMANDS = {"build": build}
