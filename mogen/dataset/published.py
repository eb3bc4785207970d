"""Published files without running what is in them: pickles and torch checkpoints of arrays and plain configs.

The unpickler builds dictionaries, lists, numbers, texts, tensors and numpy arrays. A class of configs (EasyDict and
its kin) becomes a plain dictionary. Anything else in the file is refused with its name, before it could be imported.
"""

from __future__ import annotations

import collections
import gzip
import io
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mogen.errors import DataError

CONFIGS = {"easydict.EasyDict", "ml_collections.config_dict.config_dict.ConfigDict", "argparse.Namespace"}
"""classes that are read as plain dictionaries"""
PLAIN: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.complex": complex,
    "torch.Size": torch.Size,
    "torch.device": torch.device,
}
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""what a torch file from before the zip format begins with"""
LARGEST = 4 * 2**30
"""bytes a file may hold"""


class _Config(dict):
    """A config class as a dictionary."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            for key, value in state.items():
                self.setdefault(key, value)


class _Dtype:
    """A numpy type by name and byte order; types of Python objects and records are refused."""

    def __init__(self, name: str, *rest: Any) -> None:
        del rest
        if not re.fullmatch(r"[biuf][1248]|b1|bool", name):
            raise DataError(f"expected arrays of plain numbers, got a numpy array of type {name!r}")
        self.name, self.is_swapped = name, False

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.is_swapped = state[1] == ("<" if sys.byteorder == "big" else ">")

    def numbers(self, content: bytes | str) -> np.ndarray:
        """Bytes as numbers of the machine's own byte order."""
        raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
        found = np.frombuffer(raw, dtype=np.dtype(self.name))
        return found.byteswap() if self.is_swapped else found


class _Array:
    """A numpy array that is being put together."""

    def __init__(self, *rest: Any) -> None:
        del rest
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = dtype.numbers(content).reshape(tuple(shape), order="F" if is_fortran else "C")


def _scalar(dtype: _Dtype, content: bytes | str) -> Any:
    return dtype.numbers(content)[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """How pickles of old protocols write bytes."""
    if encoding != "latin1":
        raise DataError(f"expected bytes written as latin1, got {encoding!r}")
    return text.encode("latin1")


NUMPY: dict[str, Any] = {
    "_codecs.encode": _encoded,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
}


class _Storage:
    """The kind of numbers a storage holds."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: Path, storage: Callable[[Any], torch.Tensor] | None) -> None:
        super().__init__(file, encoding="latin1")
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in PLAIN:
            return PLAIN[full]
        if full in NUMPY:
            return NUMPY[full]
        if full in CONFIGS:
            return _Config
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _Storage(STORAGES[name])
        if full == "torch._utils._rebuild_tensor_v2":
            return _tensor
        if full == "torch._utils._rebuild_parameter":
            return _parameter
        raise DataError(f"expected arrays and plain configs only in {self.path}, got the class {full}")

    def persistent_load(self, pid: Any) -> Any:
        if self.storage is None or not isinstance(pid, tuple) or not pid or pid[0] != "storage":
            raise DataError(f"expected arrays and plain configs only in {self.path}, got a reference to something else")
        return self.storage(pid)


def load_published(path: Path | str) -> Any:
    """The content of a pickle (gzip or not), a torch checkpoint (either format) or an .npz file, as plain values."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"expected a published file, there is none at {path}")
    if path.stat().st_size > LARGEST:
        raise DataError(f"expected a published file of at most {LARGEST} bytes, got {path.stat().st_size} in {path}")
    try:
        if zipfile.is_zipfile(path):
            return _plain(_from_zip(path))
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise DataError(f"expected a whole pickle, torch checkpoint or .npz file in {path}, got part of one")
            file.seek(0)
            is_packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _plain(_from_pickle(_unpacked(file, path) if is_packed else file, path))
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise DataError(f"expected a whole pickle, torch checkpoint or .npz file in {path}, got {reason}") from error


def _plain(content: Any) -> Any:
    """The content with dictionaries, lists and tensors only."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(item) for item in content]
    return torch.from_numpy(content.value.copy()) if isinstance(content, _Array) else content


def _from_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if sum(item.file_size for item in archive.infolist()) > LARGEST:
            raise DataError(f"expected at most {LARGEST} bytes in {path} when unpacked, got more")
        main = next((name for name in names if name == "data.pkl" or name.endswith("/data.pkl")), None)
        if main is None:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays}
        top = main.removesuffix("data.pkl")

        def storage(pid: Any) -> torch.Tensor:
            return _numbers(archive.read(f"{top}data/{pid[2]}"), pid[1].dtype)

        return _Unpickler(io.BytesIO(archive.read(main)), path, storage).load()


def _unpacked(file: Any, path: Path) -> io.BytesIO:
    """What a gzip file holds."""
    with gzip.open(file) as packed:
        content = packed.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"expected at most {LARGEST} bytes in {path} when unpacked, got more")
    return io.BytesIO(content)


def _from_pickle(file: Any, path: Path) -> Any:
    first = _Unpickler(file, path, None).load()
    if first != LEGACY_MAGIC:
        return first
    for _ in range(2):  # the protocol, and facts about the machine
        _Unpickler(file, path, None).load()
    wanted: dict[str, torch.Tensor] = {}

    def storage(pid: Any) -> torch.Tensor:
        if pid[2] not in wanted:
            if not 0 <= pid[4] * 8 <= LARGEST:
                raise DataError(f"expected storages of at most {LARGEST} bytes in {path}, got {pid[4]} numbers")
            wanted[pid[2]] = torch.zeros(pid[4], dtype=pid[1].dtype)
        return wanted[pid[2]]

    content = _Unpickler(file, path, storage).load()
    for key in _Unpickler(file, path, None).load():
        (count,) = struct.unpack("<q", file.read(8))
        numbers = _numbers(file.read(count * wanted[key].element_size()), wanted[key].dtype)
        wanted[key].copy_(numbers)
    return content


def _numbers(content: bytes, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.zeros(0, dtype=dtype)


def _tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> torch.Tensor:
    """A view of a storage; what it reaches is checked by torch."""
    del rest
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _parameter(data: torch.Tensor, *rest: Any) -> torch.Tensor:
    del rest
    return data
