"""Side chains for backbones, by FASPR (Huang et al. 2020) where the optional package pyfaspr is installed.

FASPR's rotamer library (Dunbrack 2010) is free for academic users only, which is why it is an extra.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from mogen.domain.backbone import Backbone, write_backbones_to
from mogen.errors import ConfigError, DataError


def packed(backbone: Backbone) -> str:
    """PDB text of the backbone with the side chains of its sequence; needs the extra `sidechains`.

    Raises `DataError` where a residue is not one of the twenty.
    """
    try:
        from pyfaspr import run_FASPR
    except ImportError as error:
        raise ConfigError(
            "expected the package pyfaspr for side chains, it is not installed: pip install 'mogen[sidechains]' (its "
            "rotamer library is free for academic users only)"
        ) from error
    unknown = backbone.sequence.find("X")
    if unknown >= 0:
        raise DataError(f"expected standard residues for side chains, got an unknown one in place {unknown + 1}")
    stream = io.StringIO()
    write_backbones_to(stream, [backbone])
    try:
        text = run_FASPR(stream.getvalue())
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(f"expected side chains from FASPR, got {type(error).__name__}: {error}") from error
    if len(re.findall(r"^ATOM", text, re.M)) < 4 * len(backbone):
        raise DataError(f"expected at least {4 * len(backbone)} atoms from FASPR, got fewer")
    return text


def write_packed(path: Path | str, backbones: Sequence[Backbone]) -> None:
    """All backbones with side chains as the models of one PDB file."""
    lines = []
    for model, backbone in enumerate(backbones, 1):
        atoms = [line for line in packed(backbone).splitlines() if line.startswith(("ATOM", "TER"))]
        lines += [f"MODEL     {model:>4}", *atoms, "ENDMDL"]
    Path(path).write_text("\n".join([*lines, "END", ""]), encoding="ascii")
