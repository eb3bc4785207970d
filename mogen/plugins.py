"""From a name to the object it stands for: entry points, dotted paths, and files of the user's own.

A file given as `./potency.py:potency` becomes the module `mogen.plugins.file_<path in hex>`. The name holds the path,
so whatever was defined in the file pickles by reference and is found again in a worker process, without touching
`sys.path`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, final

from mogen.errors import ConfigError, PluginError

GROUPS = (
    "mogen.objectives",
    "mogen.objective_sets",
    "mogen.constraints",
    "mogen.samplers",
    "mogen.baselines",
    "mogen.variations",
    "mogen.commands",
    "mogen.models",
)
"""the entry point groups in which names are looked up"""

ROOMS = ("objectives", "samplers")
"""our own packages with common names, which a file of the user's could shadow"""

__path__: list[str] = []
_PREFIX = f"{__name__}.file_"


def closest(text: str, known: Iterable[str]) -> str:
    """The end of a sentence that names what is allowed, nearest match first; empty where nothing is."""
    known = sorted(known)
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected one of {', '.join(known) or '(none installed)'}{hint}"


def names(group: str) -> list[str]:
    """The names installed in a group, sorted."""
    return sorted({point.name for point in entry_points(group=_full(group))})


def load(group: str, name: str) -> Any:
    """The object a name stands for in a group; raises `PluginError` naming the known names."""
    check_rooms()
    points = entry_points(group=_full(group), name=name)
    if not points:
        raise PluginError(f"no {_noun(group)} is called {name!r}: {closest(name, names(group))}")
    return _loaded(next(iter(points)))


def dotted(group: str, name: str) -> str:
    """The dotted path of the object a name stands for, without importing it."""
    points = entry_points(group=_full(group), name=name)
    if not points:
        raise PluginError(f"no {_noun(group)} is called {name!r}: {closest(name, names(group))}")
    return next(iter(points)).value.replace(":", ".")


def load_path(text: str, *, directory: Path | str | None = None) -> Any:
    """The object `FILE.py:attribute` names; a relative file is looked for in `directory` (default: where one is)."""
    file, _, attribute = text.rpartition(":")
    if not file or not attribute:
        raise PluginError(f"expected FILE.py:attribute, got {text!r}")
    path = (Path(directory or ".") / Path(file).expanduser()).resolve()
    if not path.is_file():
        raise PluginError(f"there is no file {path} (asked for by {text!r})")
    module = load_module(path)
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise PluginError(f"{path} has no {attribute!r}: {closest(attribute, public)}")
    return getattr(module, attribute)


def load_module(path: Path) -> ModuleType:
    """The module in a file, under a name that is the same in every process."""
    try:
        return importlib.import_module(_PREFIX + os.fsencode(path).hex())
    except Exception as error:
        raise PluginError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error


def resolve(group: str, text: str, *, directory: Path | str | None = None) -> Any:
    """The object of an entry point's name, of `FILE.py:attribute`, or of a dotted path, tried in this order."""
    if text in names(group):
        return load(group, text)
    if ":" in text and text.rpartition(":")[0].endswith(".py"):
        return load_path(text, directory=directory)
    if "." in text:
        return load_dotted(text)
    return load(group, text)


def load_dotted(text: str) -> Any:
    """The object at `package.module.attribute` (or `package.module:attribute`)."""
    module, _, attribute = text.replace(":", ".").rpartition(".")
    check_rooms()
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs a stranger's code
        raise PluginError(f"{text!r} cannot be imported: {error}") from error


def check_rooms() -> None:
    """Refuses a package `objectives` or `samplers` that is not the one installed beside `mogen`."""
    home = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        found = _location(room)
        if found is not None and not found.is_relative_to(home / room):
            raise PluginError(
                f"expected the package {room!r} beside mogen in {home}, but {found} comes first on the import path: "
                "rename that file or folder"
            )


def _location(room: str) -> Path | None:
    """Where Python takes a package from, without importing it."""
    module = sys.modules.get(room)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(room)
    if spec is None:
        return None
    origin = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return None if origin is None else Path(origin).resolve()


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # importing runs a stranger's code
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"{point.name!r} of {point.group} ({point.value}) cannot be loaded: {reason}") from error


def _full(group: str) -> str:
    full = group if group.startswith("mogen.") else f"mogen.{group}"
    if full not in GROUPS:
        raise ConfigError(f"no group of plug-ins is called {group!r}: {closest(full, GROUPS)}")
    return full


def _noun(group: str) -> str:
    return _full(group).removeprefix("mogen.").removesuffix("s").replace("_", " ")


@final
class _FileFinder:
    """Finds `mogen.plugins.file_<hex>` in the file whose path is written in the name."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        file = os.fsdecode(bytes.fromhex(fullname.removeprefix(_PREFIX)))
        return importlib.util.spec_from_file_location(fullname, file)


if not any(getattr(finder, "__name__", "") == "_FileFinder" for finder in sys.meta_path):
    sys.meta_path.append(_FileFinder)
