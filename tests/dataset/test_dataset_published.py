"""The unpickler gives arrays and plain configs, and nothing else."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from mogen.dataset.published import load_published
from mogen.errors import DataError


class EasyDict(dict):
    """A stand-in for the class of configs published with checkpoints, under its real name."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.__dict__ = dict(self)


EasyDict.__module__, EasyDict.__qualname__ = "easydict", "EasyDict"


@pytest.fixture
def easydict(monkeypatch: pytest.MonkeyPatch) -> type:
    """A module of the real name for as long as something is pickled."""
    import sys
    import types

    module = types.ModuleType("easydict")
    module.EasyDict = EasyDict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "easydict", module)
    return EasyDict


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_torch_checkpoint_with_a_config_class_comes_back_plain(
    tmp_path: Path, easydict: type, is_zip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    whole = {
        "config": easydict({"lr": 0.1, "data": easydict({"name": "QM9"})}),
        "state": OrderedDict(a=weight, view=weight.t()[1:], flag=torch.tensor([True]), count=torch.tensor(7)),
    }
    torch.save(whole, tmp_path / "model.pth", _use_new_zipfile_serialization=is_zip)
    monkeypatch.undo()
    found = load_published(tmp_path / "model.pth")
    assert found["config"] == {"lr": 0.1, "data": {"name": "QM9"}} and type(found["config"]) is dict
    for name, value in whole["state"].items():
        assert torch.equal(found["state"][name], value)


def test_numpy_arrays_in_a_pickle_come_back_as_tensors(tmp_path: Path) -> None:
    whole = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "scalar": np.float32(1.5),
        "bool": np.array([True, False]),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(whole, protocol=2))
    found = load_published(tmp_path / "a.pkl")
    assert found["scalar"] == 1.5
    for name in ("a", "f", "big", "bool"):
        assert np.array_equal(found[name].numpy(), whole[name])


def test_an_npz_file_comes_back_as_tensors(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    assert torch.equal(load_published(tmp_path / "a.npz")["x"], torch.ones(3, dtype=torch.float64))


class Evil:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("pwned"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content", [Evil(), Path("x"), np.array([object()], dtype=object), print, {"deep": [OrderedDict(a=Evil())]}]
)
def test_foreign_classes_are_refused_with_a_sentence(
    tmp_path: Path, content: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    torch.save(content, tmp_path / "a.pth")
    for name in ("a.pkl", "a.pth"):
        with pytest.raises(DataError, match="expected arrays"):
            load_published(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["a.pkl", "a.pth", "a.npz"])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = {"a": torch.ones(100)}
    if name == "a.npz":
        np.savez(path, a=np.ones(100))
    elif name == "a.pth":
        torch.save(whole, path)
    else:
        path.write_bytes(pickle.dumps({"a": [1.0] * 100}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match="expected a whole"):
        load_published(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is none"):
        load_published(tmp_path / "none.pth")
