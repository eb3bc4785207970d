"""Where data sets lie: the folder MOGEN_DATA first, then the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from mogen.dataset.dataset import DATASETS
from mogen.errors import DataError

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""what a data set may be called"""


@dataclass(frozen=True)
class Found:
    """A data set and the file it lies in (None where it is nowhere), with the checksum noted at import."""

    name: str
    path: Path | None
    sha256: str | None


def cache() -> Path:
    """The user's own folder: MOGEN_CACHE, else ~/.local/share/mogen."""
    return Path(os.environ.get("MOGEN_CACHE") or Path.home() / ".local" / "share" / "mogen")


def folders() -> list[Path]:
    """The folders that are searched, first one first."""
    given = os.environ.get("MOGEN_DATA")
    return ([Path(given)] if given else []) + [cache()]


def find(name: str) -> Path:
    """The file `NAME` or `NAME.<anything>` in the first folder that has one; raises `DataError` where none has."""
    path = _lookup(name)
    if path is None and not re.fullmatch(NAME, name):
        raise DataError(f"expected a file or the name of a data set, got {name!r}: there is no such file")
    if path is None:
        places = " or ".join(str(folder) for folder in folders())
        raise DataError(
            f"there is no data set {name!r} in {places}: bring it with `mogen data import {name} FILE` or "
            f"`mogen data get {name} --url URL --sha256 HASH`"
        )
    return path


def import_file(name: str, file: Path | str) -> Path:
    """Copies a file into the cache under a name, with its checksum beside it."""
    file = Path(file)
    if not file.is_file():
        raise DataError(f"expected a file to import as {name!r}, there is none at {file}")
    target = _target(name, "".join(file.suffixes))
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(file, partial)
    return _settle(name, partial, target)


def download(name: str, url: str, checksum: str) -> Path:
    """Downloads a file whose SHA-256 is known into the cache under a name; raises `DataError` where it differs."""
    import pooch

    checksum = checksum.removeprefix("sha256:").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise DataError(f"expected a SHA-256 of 64 hexadecimal digits for {name!r}, got {checksum!r}")
    if not url.startswith(("http://", "https://", "ftp://")):
        raise DataError(f"expected an address with http://, https:// or ftp:// for {name!r}, got {url!r}")
    suffix = "".join(Path(url.split("?")[0].rsplit("/", 1)[-1]).suffixes)
    target = _target(name, suffix)
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        pooch.retrieve(url, known_hash=f"sha256:{checksum}", fname=partial.name, path=target.parent)
    except (OSError, ValueError) as error:
        partial.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise DataError(f"{name!r} could not be downloaded from {url}: {reason}") from error
    return _settle(name, partial, target)


def listing() -> list[Found]:
    """Every known or imported name, and where it lies."""
    names = set(DATASETS)
    for folder in folders():
        names |= {path.name.removesuffix(".sha256") for path in folder.glob("*.sha256")}
    return [_found(name) for name in sorted(names)]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _target(name: str, suffix: str) -> Path:
    if not re.fullmatch(NAME, name):
        raise DataError(f"a data set's name has letters, digits, - and _ only, got {name!r}")
    cache().mkdir(parents=True, exist_ok=True)
    return cache() / f"{name}{suffix}"


def _settle(name: str, partial: Path, target: Path) -> Path:
    """Makes a complete file the one and only of its name."""
    for old in _files(cache(), name):
        old.unlink()
    partial.replace(target)
    (cache() / f"{name}.sha256").write_text(f"{sha256(target)}  {target.name}\n", encoding="utf-8")
    return target


def _files(folder: Path, name: str) -> list[Path]:
    found = [path for path in folder.glob("*") if path.is_file() and path.name.split(".")[0] == name]
    return sorted(path for path in found if path.suffix not in (".sha256", ".partial"))


def _lookup(name: str) -> Path | None:
    """The first file of a name in the folders that are searched, or in a folder directly below one."""
    places = (place for top in folders() for place in (top, *sorted(item for item in top.glob("*") if item.is_dir())))
    return next((path for place in places for path in _files(place, name)), None)


def _found(name: str) -> Found:
    path = _lookup(name)
    note = None if path is None else path.parent / f"{name}.sha256"
    words = note.read_text(encoding="utf-8").split() if note is not None and note.is_file() else []
    return Found(name, path, words[0] if words else None)
