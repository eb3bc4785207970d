"""A fixed set of candidates in a file, of up to a million rows."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final, overload

from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.errors import CandidateError, ConfigError

COLUMNS = ("candidate", "smiles", "sequence", "key")
"""columns candidates are looked for in, in this order"""


@final
class Library(Sequence[Any]):
    """The candidates of a SMILES file (first word of every line) or a CSV file (one named column); .gz is unpacked.

    Only texts are kept. A molecule is standardised when it is picked, so that reading a million rows takes seconds; the
    rows are trusted to be readable, and those that are not are passed over when they are picked.

    Args:
        path: the file.
        kind: molecule or sequence.
        column: the CSV's column; looked for under the usual names if null.
    """

    def __init__(self, path: str | Path, kind: str = "molecule", column: str | None = None) -> None:
        self.kind = checked_kind(kind)
        self.path = Path(path)
        if not self.path.is_file():
            raise ConfigError(f"expected a library file, there is none at {self.path}")
        try:
            self.texts = list(dict.fromkeys(_texts(self.path, column)))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"expected a library as text, got {error} in {self.path}") from error
        if not self.texts:
            raise ConfigError(f"expected at least one candidate in the library {self.path}, got none")

    @classmethod
    def of(cls, texts: Sequence[str], kind: str = "molecule") -> Library:
        """A library of texts in memory."""
        made = cls.__new__(cls)
        made.kind, made.path, made.texts = checked_kind(kind), Path("(memory)"), list(dict.fromkeys(texts))
        return made

    @cached_property
    def _atoms(self) -> list[int]:
        """A number per row that is the same for all spellings of a molecule."""
        return [composition(text) for text in self.texts]

    @cached_property
    def _keys(self) -> dict[str, str]:
        """Standard forms of the rows that were looked at."""
        return {}

    def others(self, keys: Collection[str]) -> Library:
        """The rows that are none of these candidates, however they are spelled.

        A molecule is the same under any spelling only if it has as many atoms of every element, so that few rows have
        to be standardised; what was found out of a row is kept. A salt, whose standard form has fewer atoms, may stay.
        """
        if self.kind == "sequence":
            return Library.of([text for text in self.texts if text not in keys], self.kind)
        alike = {composition(key) for key in keys}
        left = []
        for text, atoms in zip(self.texts, self._atoms, strict=True):
            if atoms in alike:
                if text not in self._keys:
                    found = standard(text, self.kind)
                    self._keys[text] = text if found is None else found.key
                if text in keys or self._keys[text] in keys:
                    continue
            left.append(text)
        return Library.of(left, self.kind)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...

    def __getitem__(self, place: int | slice) -> Any:
        """Candidates as they are written, not standardised."""
        make: Callable[[str], Any] = Molecule if self.kind == "molecule" else TokenSequence
        return [make(text) for text in self.texts[place]] if isinstance(place, slice) else make(self.texts[place])

    def standardised(self, places: Sequence[int], n: int, known: Collection[str]) -> list[Any]:
        """The first n different readable candidates of these rows whose keys are not known."""
        found: dict[str, Any] = {}
        for place in places:
            if len(found) == n:
                break
            candidate = standard(self.texts[place], self.kind)
            if candidate is not None and candidate.key not in known:
                found.setdefault(candidate.key, candidate)
        return list(found.values())


def composition(smiles: str) -> int:
    """A number that is the same for all spellings of a molecule: its letters, hydrogen aside, in order."""
    return hash("".join(sorted(letter for letter in smiles.upper() if letter.isalpha() and letter != "H")))


def standard(text: str, kind: str) -> Any | None:
    """A candidate by its text, standardised; None where there is none."""
    if kind == "sequence":
        return TokenSequence(text) if text else None
    try:
        return Molecule.from_smiles(text)
    except CandidateError:
        return None


def checked_kind(kind: str) -> str:
    """molecule or sequence."""
    if kind not in ("molecule", "sequence"):
        raise ConfigError(f"expected molecule or sequence as the kind of candidates, got {kind!r}")
    return kind


def _texts(path: Path, column: str | None) -> Iterator[str]:
    names = [suffix.lower() for suffix in path.suffixes]
    with gzip.open(path, "rt", encoding="utf-8") if ".gz" in names else path.open(encoding="utf-8") as file:
        if column is None and ".csv" not in names and ".tsv" not in names:
            for line in file:
                words = line.split()
                if words and not line.startswith("#"):
                    yield words[0]
            return
        rows = csv.DictReader(file, delimiter="\t" if ".tsv" in names else ",")
        given = rows.fieldnames or []
        name = column or next((item for item in given if item.strip().lower() in COLUMNS), None)
        if name not in given:
            wanted = repr(column) if column else " or ".join(COLUMNS)
            raise ConfigError(f"expected a column {wanted} in the library {path}, got {', '.join(given) or 'none'}")
        for row in rows:
            if text := (row.get(name) or "").strip():
                yield text
