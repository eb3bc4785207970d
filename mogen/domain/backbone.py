"""Protein backbones: atoms, residue frames and torsions, and how they are read from and written to PDB and mmCIF.

Coordinates are in ångström. A backbone keeps them to 0.001 Å, the precision of a PDB file, so that a file, a key and a
backbone say the same.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import logging
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.errors import CandidateError, DataError, ShapeError

ATOMS = ("N", "CA", "C", "O")
"""the order of atoms in `Backbone.coordinates`"""
LETTERS = dict(
    zip(
        ("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE")
        + ("LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL"),
        "ARNDCQEGHILKMFPSTWYV",
        strict=True,
    )
)
"""three-letter name -> letter"""
NAMES = {**{letter: name for name, letter in LETTERS.items()}, "X": "UNK"}
"""letter -> three-letter name; X is any other residue"""
PARENTS = {"MSE": "MET", "SEP": "SER", "TPO": "THR", "PTR": "TYR", "HYP": "PRO", "CSO": "CYS", "MLY": "LYS"}
PARENTS |= {"CME": "CYS", "CSD": "CYS", "PCA": "GLU", "KCX": "LYS", "M3L": "LYS", "SEC": "CYS", "PYL": "LYS"}
PARENTS |= {"HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HIE": "HIS", "HID": "HIS", "HIP": "HIS", "NLE": "LEU"}
"""modified residues and the standard one they are read as"""
ANGLE_CA, ANGLE_C, ANGLE_N, ANGLE_O = (math.radians(angle) for angle in (111.0, 117.2, 121.7, 120.5))
"""N-CA-C, CA-C-N, C-N-CA and CA-C-O (Engh and Huber 1991)"""
CHAIN_GAP = 200
"""how far apart in position the last residue of a chain and the first of the next are"""
IDEAL_N, IDEAL_CA, IDEAL_C = (-0.525, 1.363, 0.0), (0.0, 0.0, 0.0), (1.526, 0.0, 0.0)
IDEAL_CB = (-0.529, -0.774, -1.205)
IDEAL_O = (0.627, 1.062, 0.0)
"""Å, of alanine: N, CA, C and CB in the residue frame, O in the frame of psi (origin C, x along CA to C)"""

log = logging.getLogger("mogen")


@dataclass(frozen=True)
class Residues:
    """Which residues a backbone has: one chain, number, insertion code and letter each, in the order of the file."""

    chains: tuple[str, ...]
    numbers: tuple[int, ...]
    insertions: tuple[str, ...]
    sequence: str

    def __post_init__(self) -> None:
        sizes = {len(self.chains), len(self.numbers), len(self.insertions), len(self.sequence)}
        if len(sizes) != 1:
            raise ShapeError(f"expected one chain, number, insertion code and letter per residue, got {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.sequence)

    @classmethod
    def numbered(cls, sequence: str, chain: str = "A") -> Residues:
        """One chain numbered from 1 without gaps."""
        n = len(sequence)
        return cls((chain,) * n, tuple(range(1, n + 1)), ("",) * n, sequence)

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """Places along the chain, from 0: a gap in the numbers is a gap here, an insertion is the next place.

        The next chain starts 200 further on, whatever its numbers are.
        """
        places = [0] if len(self) else []
        for this in range(1, len(self)):
            places.append(places[-1] + self._step(this))
        return tuple(places)

    def _step(self, this: int) -> int:
        if self.chains[this] != self.chains[this - 1]:
            return CHAIN_GAP
        return max(1, self.numbers[this] - self.numbers[this - 1])

    def runs(self) -> Iterator[tuple[int, int]]:
        """First and last + 1 of every run of residues of one chain that are numbered one after another."""
        start = 0
        for this in range(1, len(self) + 1):
            if this == len(self) or not self._follows(this):
                yield start, this
                start = this

    def _follows(self, this: int) -> bool:
        is_next = self.numbers[this] == self.numbers[this - 1] + 1 and self.chains[this] == self.chains[this - 1]
        return is_next and not self.insertions[this] and not self.insertions[this - 1]

    @property
    def text(self) -> str:
        """Runs as chain/number:letters, separated by semicolons, for example "A/1:GYDPETGTWG"."""
        return ";".join(
            f"{self.chains[a]}/{self.numbers[a]}{self.insertions[a]}:{self.sequence[a:b]}" for a, b in self.runs()
        )

    @classmethod
    def parse(cls, text: str) -> Residues:
        """The residues that `text` says."""
        chains: list[str] = []
        numbers: list[int] = []
        insertions: list[str] = []
        sequence = ""
        for part in text.split(";"):
            found = re.fullmatch(r"([^/;|]*)/(-?\d+)(\D?):([A-Z]+)", part)
            if found is None:
                raise CandidateError(f"expected residues such as A/1:GYDPETG, got {part[:40]!r}")
            n = len(found[4])
            chains += [found[1]] * n
            numbers += range(int(found[2]), int(found[2]) + n)
            insertions += [found[3]] + [""] * (n - 1)
            sequence += found[4]
        return cls(tuple(chains), tuple(numbers), tuple(insertions), sequence)


@dataclass(frozen=True, eq=False)
class Backbone:
    """Positions of N, CA, C and O of every residue (r x 4 x 3, Å), and which residues they are.

    Build one with `Backbone.of`, which rounds to 0.001 Å and refuses what is not finite; equal keys are equal
    backbones.
    """

    coordinates: Float[Tensor, "r 4 3"]
    residues: Residues

    @classmethod
    def of(cls, coordinates: Float[Tensor, "r 4 3"], residues: Residues) -> Backbone:
        """The backbone with these coordinates (Å)."""
        if coordinates.shape != (len(residues), 4, 3):
            raise ShapeError(f"coordinates must be {len(residues)} x 4 x 3, got {tuple(coordinates.shape)}")
        is_finite = coordinates.isfinite().flatten(1).all(1)
        if not bool(is_finite.all()):
            where = int((~is_finite).nonzero()[0])
            raise CandidateError(f"expected finite coordinates in a backbone, got NaN or infinity in residue {where}")
        milli = (coordinates.detach().cpu().double() * 1000).round()
        if bool((milli.abs() > 2**31 - 1).any()):
            raise CandidateError(f"expected coordinates below 2147483 Å, got {float(coordinates.abs().max()):.4g}")
        return cls((milli / 1000).float(), residues)

    def __len__(self) -> int:
        return len(self.residues)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backbone) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """The residues, a bar, and the coordinates in 0.001 Å (int32, little-endian, zlib, base64)."""
        milli = (self.coordinates.double() * 1000).round().numpy().astype("<i4")
        return f"{self.residues.text}|{base64.b64encode(zlib.compress(milli.tobytes(), 6)).decode()}"

    @classmethod
    def from_key(cls, key: str) -> Backbone:
        """The backbone a key describes; raises `CandidateError` where it describes none."""
        text, _, packed = key.partition("|")
        residues = Residues.parse(text)
        try:
            milli = np.frombuffer(zlib.decompress(base64.b64decode(packed, validate=True)), dtype="<i4")
            atoms = torch.from_numpy(milli.astype(np.float64)).view(len(residues), 4, 3) / 1000
        except (binascii.Error, zlib.error, ValueError, RuntimeError) as error:
            raise CandidateError(f"expected the key of a backbone, got {key[:40]!r} ({error})") from error
        return cls.of(atoms, residues)

    @property
    def sequence(self) -> str:
        return self.residues.sequence

    @property
    def ca(self) -> Float[Tensor, "r 3"]:
        """Positions of the alpha carbons, Å."""
        return self.coordinates[:, 1]

    def moved(self, coordinates: Float[Tensor, "r 4 3"]) -> Backbone:
        """The same residues elsewhere."""
        return Backbone.of(coordinates, self.residues)

    @cached_property
    def is_bonded(self) -> tuple[bool, ...]:
        """Whether each residue but the last is followed in its chain by the next number (no break between them)."""
        residues = self.residues
        places = residues.positions
        return tuple(
            residues.chains[i] == residues.chains[i + 1] and places[i + 1] - places[i] == 1
            for i in range(len(residues) - 1)
        )


def frames(atoms: Float[Tensor, "*b a 3"]) -> tuple[Float[Tensor, "*b 3 3"], Float[Tensor, "*b 3"]]:
    """Residue frames of N, CA, C (the first three atoms): rotations and origins (Å).

    The origin is CA, x points from CA to C, N lies in the xy-plane with y > 0 (Jumper et al. 2021, algorithm 21).
    """
    n, ca, c = atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :]
    x = torch.nn.functional.normalize(c - ca, dim=-1)
    y = torch.nn.functional.normalize((n - ca) - ((n - ca) * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1), ca


def psi(atoms: Float[Tensor, "*b 4 3"]) -> Float[Tensor, "*b 2"]:
    """(sin, cos) of psi by the carbonyl oxygen: the dihedral N, CA, C, O turned by 180 degrees."""
    angle = dihedral(*(atoms[..., i, :] for i in range(4)))
    return -torch.stack((angle.sin(), angle.cos()), -1)


def dihedral(
    a: Float[Tensor, "*b 3"], b: Float[Tensor, "*b 3"], c: Float[Tensor, "*b 3"], d: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b"]:
    """The dihedral angle a-b-c-d in radians, in (-pi, pi], positive when clockwise along b to c (IUPAC)."""
    axis = torch.nn.functional.normalize(c - b, dim=-1)
    first, second = torch.linalg.cross(axis, a - b), torch.linalg.cross(axis, d - c)
    return torch.atan2((torch.linalg.cross(first, second) * axis).sum(-1), (first * second).sum(-1))


def atoms_of(
    rotations: Float[Tensor, "*b 3 3"], translations: Float[Tensor, "*b 3"], psi: Float[Tensor, "*b 2"]
) -> Float[Tensor, "*b 5 3"]:
    """N, CA, C, O and CB of ideal residues with these frames and (sin, cos) of psi, Å.

    A proper rotation can only build L-residues: the side of CB is fixed in the frame.
    """
    sin, cos = psi[..., :1], psi[..., 1:]
    along, across = psi.new_tensor(IDEAL_O[:1]), IDEAL_O[1]
    oxygen = torch.cat((IDEAL_C[0] + along.expand_as(sin), -across * cos, -across * sin), -1)
    rigid = psi.new_tensor((IDEAL_N, IDEAL_CA, IDEAL_C)).expand(*psi.shape[:-1], 3, 3)
    beta = psi.new_tensor(IDEAL_CB).expand(*psi.shape[:-1], 3)
    local = torch.cat((rigid, oxygen[..., None, :], beta[..., None, :]), -2)
    return local @ rotations.transpose(-1, -2) + translations[..., None, :]


def torsions(backbone: Backbone) -> Float[Tensor, "r 3"]:
    """phi, psi and omega in radians; NaN where a residue before or after is missing (omega is that before it)."""
    atoms = backbone.coordinates.double()
    is_bonded = torch.tensor(backbone.is_bonded, dtype=torch.bool)
    n, ca, c = atoms[:, 0], atoms[:, 1], atoms[:, 2]
    found = torch.full((len(backbone), 3), torch.nan, dtype=torch.float64)
    nan = torch.tensor(torch.nan, dtype=torch.float64)
    found[1:, 0] = torch.where(is_bonded, dihedral(c[:-1], n[1:], ca[1:], c[1:]), nan)
    found[:-1, 1] = torch.where(is_bonded, dihedral(n[:-1], ca[:-1], c[:-1], n[1:]), nan)
    found[1:, 2] = torch.where(is_bonded, dihedral(ca[:-1], c[:-1], n[1:], ca[1:]), nan)
    return found


def from_torsions(phi: Float[Tensor, " r"], psi: Float[Tensor, " r"], residues: Residues) -> Backbone:
    """The chain with these torsions (radians), omega of 180 degrees and ideal bonds and angles, atom by atom.

    Parsons et al. 2005. The first phi is not used; the last psi places its O.
    """
    places = [torch.zeros(3).double(), torch.tensor([1.458, 0, 0]).double()]
    places.append(_next([torch.tensor([0.0, 1, 0]).double(), *places], 1.525, ANGLE_CA, math.pi))
    for i in range(1, len(residues)):
        places.append(_next(places[-3:], 1.329, ANGLE_C, float(psi[i - 1])))
        places.append(_next(places[-3:], 1.458, ANGLE_N, math.pi))
        places.append(_next(places[-3:], 1.525, ANGLE_CA, float(phi[i])))
    whole = torch.stack(places).view(-1, 3, 3)
    oxygen = [_next([*whole[i]], 1.231, ANGLE_O, float(psi[i]) + math.pi) for i in range(len(residues))]
    return Backbone.of(torch.cat((whole, torch.stack(oxygen)[:, None]), 1), residues)


def _next(before: list[Float[Tensor, " 3"]], length: float, angle: float, turn: float) -> Float[Tensor, " 3"]:
    """The point after a, b and c: at a distance from c, with an angle at c and the dihedral a-b-c-point."""
    a, b, c = before
    along = torch.nn.functional.normalize(c - b, dim=0)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, along), dim=0)
    across = torch.linalg.cross(normal, along)
    found = math.sin(angle) * (math.cos(turn) * across + math.sin(turn) * normal) - math.cos(angle) * along
    return c + length * found


def read_backbones(path: Path | str, *, chains: Sequence[str] | None = None) -> list[Backbone]:
    """All models of a PDB, mmCIF or BinaryCIF file (also .gz), one backbone each; raises `DataError` in one sentence.

    Of alternate locations the one with the highest occupancy is read. Residues without N, CA or C are left out, as
    gaps; a missing O is placed opposite the next N; modified residues are read as their parents, all others as X.
    `chains` names the ones to keep; all are kept, in the order of the file, by default.
    """
    path = Path(path)
    models = _models(path)
    found = [_backbone(atoms, chains, f"model {i} of {path}" if len(models) > 1 else str(path)) for i, atoms in models]
    if len({item.residues for item in found}) > 1:
        log.warning("the models of %s do not all have the same residues", path)
    return found


def read_backbone(path: Path | str, *, chains: Sequence[str] | None = None) -> Backbone:
    """The first model of a file."""
    return read_backbones(path, chains=chains)[0]


def _models(path: Path) -> list[tuple[int, Any]]:
    """The atoms of every model with its number from 1 (biotite AtomArrays)."""
    if not path.is_file():
        raise DataError(f"expected a PDB or mmCIF file, there is none at {path}")
    suffix = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix not in (".pdb", ".ent", ".cif", ".mmcif", ".bcif"):
        raise DataError(f"expected a name that ends in .pdb, .ent, .cif, .mmcif or .bcif (or with .gz), got {path}")
    try:
        return _parsed(path, suffix)
    except DataError:
        raise
    except Exception as error:  # biotite meets a broken file with any kind of exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"expected a whole {suffix[1:]} file, {path} cannot be read: {reason}") from error


def _parsed(path: Path, suffix: str) -> list[tuple[int, Any]]:
    from biotite.structure.io import pdb, pdbx

    is_binary = suffix == ".bcif"
    mode = "rb" if is_binary else "rt"
    with gzip.open(path, mode) if path.suffix.lower() == ".gz" else path.open(mode) as stream:
        if suffix in (".pdb", ".ent"):
            file: Any = pdb.PDBFile.read(stream)
            _check_numbers(file.lines, path)
            count, room = pdb.get_model_count(file), pdb
        else:
            file = (pdbx.BinaryCIFFile if is_binary else pdbx.CIFFile).read(stream)
            count, room = pdbx.get_model_count(file), pdbx
    if count == 0:
        raise DataError(f"expected the atoms of a protein, got none in {path}")
    return [(i, room.get_structure(file, model=i, altloc="occupancy")) for i in range(1, count + 1)]


def _check_numbers(lines: Sequence[str], path: Path) -> None:
    """Raises `DataError` where an atom of a PDB file has coordinates that are not numbers."""
    for number, line in enumerate(lines, 1):
        if line.startswith(("ATOM", "HETATM")):
            try:
                values = [float(line[a : a + 8]) for a in (30, 38, 46)]
            except ValueError:
                values = [float("nan")]
            if not np.isfinite(values).all():
                raise DataError(f"expected three finite coordinates in line {number} of {path}, got {line[30:54]!r}")


def _backbone(atoms: Any, chains: Sequence[str] | None, where: str) -> Backbone:
    from biotite.structure import get_residue_starts

    if chains is not None:
        missing = [name for name in chains if name not in set(atoms.chain_id)]
        if missing:
            known = ", ".join(dict.fromkeys(atoms.chain_id))
            raise DataError(f"expected a chain among {known} in {where}, got {missing[0]!r}")
        atoms = atoms[np.isin(atoms.chain_id, list(chains))]
    starts = get_residue_starts(atoms, add_exclusive_stop=True) if len(atoms) else np.zeros(1, int)
    kept: list[_Residue] = []
    has_ca, dropped = False, []
    for start, stop in pairwise(starts):
        residue = _Residue.of(atoms[start:stop])
        is_amino = residue.name in LETTERS or residue.name in PARENTS or not residue.is_hetero
        has_ca |= "CA" in residue.atoms and (is_amino or len(residue.atoms) > 1)
        if all(name in residue.atoms for name in ATOMS[:3]):
            kept.append(residue)
        elif is_amino and any(name in residue.atoms for name in ATOMS[:3]):
            dropped.append(residue)
    if not kept:
        reason = "atoms N and C of every residue are missing" if has_ca else "there are no CA atoms"
        raise DataError(f"expected residues with the atoms N, CA and C in {where}, but {reason}")
    return _assembled(kept, dropped, where)


@dataclass
class _Residue:
    """One residue as read: its labels and the positions of its N, CA, C, O and CB."""

    name: str
    chain: str
    number: int
    insertion: str
    is_hetero: bool
    atoms: dict[str, np.ndarray]

    @classmethod
    def of(cls, atoms: Any) -> _Residue:
        places: dict[str, np.ndarray] = {}
        for name, place in zip(atoms.atom_name, atoms.coord, strict=True):
            if name in (*ATOMS, "CB"):
                places.setdefault(str(name), place.astype(np.float64))
        number, insertion = int(atoms.res_id[0]), str(atoms.ins_code[0]).strip()
        name, is_hetero = str(atoms.res_name[0]), bool(atoms.hetero[0])
        return cls(name, str(atoms.chain_id[0]), number, insertion, is_hetero, places)

    @property
    def letter(self) -> str:
        return LETTERS.get(PARENTS.get(self.name, self.name), "X")

    def __str__(self) -> str:
        return f"{self.name} {self.chain}{self.number}{self.insertion}"

    def is_right_handed(self) -> bool:
        """Whether the beta carbon lies where only a D-residue has it."""
        if "CB" not in self.atoms:
            return False
        n, ca, c, cb = (self.atoms[name] for name in ("N", "CA", "C", "CB"))
        return float(np.dot(np.cross(c - ca, n - ca), cb - ca)) > 0


def _assembled(kept: list[_Residue], dropped: list[_Residue], where: str) -> Backbone:
    for residue in kept:
        if not all(np.isfinite(place).all() for place in residue.atoms.values()):
            raise DataError(f"expected finite coordinates in {where}, got NaN or infinity in {residue}")
        corner = [residue.atoms[name] for name in ATOMS[:3]]
        if float(np.linalg.norm(np.cross(corner[2] - corner[1], corner[0] - corner[1]))) < 0.1:
            raise DataError(f"expected N, CA and C that span a plane in {where}, got a line in {residue}")
    right = [residue for residue in kept if residue.is_right_handed()]
    if right:
        raise DataError(f"expected L-amino acids in {where}, got {len(right)} D-residues, the first {right[0]}")
    if len(kept) < 2:
        raise DataError(f"expected at least two residues with N, CA and C in {where}, got one ({kept[0]})")
    odd = [residue for residue in kept if residue.letter == "X"]
    if odd:
        log.warning("%s: %d residues are none of the 20 and stand as UNK, the first %s", where, len(odd), odd[0])
    if dropped:
        log.warning("%s: %d residues without N, CA or C are left out, the first %s", where, len(dropped), dropped[0])
    residues = Residues(
        tuple(item.chain for item in kept),
        tuple(item.number for item in kept),
        tuple(item.insertion for item in kept),
        "".join(item.letter for item in kept),
    )
    atoms = np.stack([np.stack([item.atoms.get(name, np.full(3, np.nan)) for name in ATOMS]) for item in kept])
    return Backbone.of(with_oxygen(torch.from_numpy(atoms)), residues)


def with_oxygen(atoms: Float[Tensor, "r 4 3"]) -> Float[Tensor, "r 4 3"]:
    """Oxygens that are NaN, placed 1.231 Å from C in the plane of CA, C and the next N; trans at the end of a chain."""
    is_missing = atoms[:, 3].isnan().any(-1)
    if not bool(is_missing.any()):
        return atoms
    normal = torch.nn.functional.normalize
    towards_ca = normal(atoms[:, 1] - atoms[:, 2], dim=-1)
    following = torch.cat((atoms[1:, 0], atoms[-1:, 0]))
    is_near = ((following - atoms[:, 2]).norm(dim=-1) < 2.0)[:, None]
    between = normal(-(towards_ca + normal(following - atoms[:, 2], dim=-1)), dim=-1)
    # the last residue of a chain: psi = 180 degrees, so that O is where psi = 180 puts it
    rotations, origins = frames(atoms[:, :3])
    half_turn = torch.tensor([0.0, -1.0], dtype=atoms.dtype).expand(len(atoms), 2)
    placed = torch.where(is_near, atoms[:, 2] + 1.231 * between, atoms_of(rotations, origins, half_turn)[:, 3])
    return torch.cat((atoms[:, :3], torch.where(is_missing[:, None], placed, atoms[:, 3])[:, None]), 1)


def write_backbones(path: Path | str, backbones: Sequence[Backbone]) -> None:
    """Writes backbones with the same residues as the models of one PDB (.pdb) or mmCIF (.cif) file."""
    path = Path(path)
    if not backbones:
        raise DataError(f"expected at least one backbone to write to {path}, got none")
    if any(item.residues != backbones[0].residues for item in backbones):
        raise DataError(f"expected models with the same residues for {path}, got different ones")
    if path.suffix.lower() not in (".pdb", ".cif", ".mmcif"):
        raise DataError(f"expected a name that ends in .pdb or .cif, got {path}")
    stack = _stack(backbones)
    if path.suffix.lower() == ".pdb":
        _write_pdb(path, stack)
    else:
        from biotite.structure.io import pdbx

        file = pdbx.CIFFile()
        pdbx.set_structure(file, stack, data_block=re.sub(r"\W", "_", path.stem) or "models")
        file.write(path)


def write_backbones_to(stream: IO[str], backbones: Sequence[Backbone]) -> None:
    """Writes backbones as PDB text."""
    from biotite.structure.io import pdb

    file = pdb.PDBFile()
    file.set_structure(_stack(backbones))
    file.write(stream)


def _write_pdb(path: Path, stack: Any) -> None:
    from biotite.structure.io import pdb

    long = next((name for name in stack.chain_id if len(name) > 1), None)
    if long is not None:
        raise DataError(f"expected chain names of one letter for {path}, got {long!r}: write .cif instead")
    coordinates = stack.coord
    if coordinates.min() <= -1000 or coordinates.max() >= 10000 or stack.array_length() > 99_999:
        raise DataError(f"expected at most 99,999 atoms between -999.999 and 9999.999 Å for {path}: write .cif instead")
    file = pdb.PDBFile()
    file.set_structure(stack)
    file.write(path)


def _stack(backbones: Sequence[Backbone]) -> Any:
    """A biotite AtomArrayStack of N, CA, C, O."""
    from biotite.structure import AtomArrayStack

    residues = backbones[0].residues
    stack = AtomArrayStack(len(backbones), 4 * len(residues))
    stack.coord = torch.stack([item.coordinates.flatten(0, 1) for item in backbones]).numpy()
    stack.chain_id = np.repeat(np.array(residues.chains, dtype="U4"), 4)
    stack.res_id = np.repeat(np.array(residues.numbers), 4)
    stack.ins_code = np.repeat(np.array(residues.insertions, dtype="U1"), 4)
    stack.res_name = np.repeat(np.array([NAMES.get(letter, "UNK") for letter in residues.sequence]), 4)
    stack.atom_name = np.tile(np.array(ATOMS), len(residues))
    stack.element = np.tile(np.array(["N", "C", "C", "O"]), len(residues))
    stack.hetero = np.zeros(4 * len(residues), dtype=bool)
    return stack


def batch(backbones: Sequence[Backbone]) -> tuple[Float[Tensor, "b r 4 3"], Int[Tensor, "b r"], Float[Tensor, "b r"]]:
    """Coordinates, positions and mask of several backbones, padded with zeros to the longest."""
    size = max((len(item) for item in backbones), default=0)
    atoms = torch.zeros(len(backbones), size, 4, 3)
    positions = torch.zeros(len(backbones), size, dtype=torch.long)
    mask = torch.zeros(len(backbones), size)
    for row, item in enumerate(backbones):
        atoms[row, : len(item)] = item.coordinates
        positions[row, : len(item)] = torch.tensor(item.residues.positions)
        mask[row, : len(item)] = 1
    return atoms, positions, mask
