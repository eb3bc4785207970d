"""C files of the package as machine code for this computer: compiled once for every compiler and CPU, then kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from mogen.dataset.store import cache
from mogen.errors import RunError
from mogen.run import compiler

LIBRARY = ("-shared", "-fPIC", "-w")
FACTS = ("-dM", "-E", "-x", "c")
"""what makes GCC and Clang print the macros they come with: their version, and what the CPU at hand can do"""


def compiled(source: Path, *flags: str) -> ctypes.CDLL:
    """The functions of a C file; raises `RunError` where it cannot be compiled.

    The library is kept in the cache, under a name that depends on the source, the headers beside it, the flags, the
    compiler and the CPU; where the cache cannot be written it is compiled again. Processes may do so at once: only
    whole files get the name.
    """
    command = compiler()
    if command is None:
        raise RunError(f"expected a C compiler (cc, gcc, clang or $CC) for {source.name}, found none")
    facts = _run(source, [*shlex.split(command), *flags, *FACTS, "-"])
    texts = [path.read_text(encoding="utf-8") for path in (source, *sorted(source.parent.glob("*.h")))]
    key = hashlib.sha256("\n".join((*texts, command, *flags, facts)).encode())
    kept = cache() / "native" / f"{source.stem}-{key.hexdigest()[:16]}.so"
    with suppress(OSError):
        return ctypes.CDLL(str(kept))
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent if os.access(kept.parent, os.W_OK) else None) as folder:
        made = Path(folder) / kept.name
        _run(source, [*shlex.split(command), *flags, *LIBRARY, str(source), "-o", str(made), "-lm"])
        with suppress(OSError):
            return ctypes.CDLL(str(made.replace(kept)))
        return ctypes.CDLL(str(made))


def _run(source: Path, command: list[str]) -> str:
    """What a compiler prints; raises `RunError` with its complaint."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RunError(f"expected {command[0]} to compile {source.name}, got: {error}") from error
    if done.returncode:
        raise RunError(f"expected {command[0]} to compile {source.name}, got: {done.stderr.strip()[:500]}")
    return done.stdout
