"""The public names of the rooms of samplers, and what importing the rooms costs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

ROOMS = ("samplers.environment", "samplers.gflownet", "samplers.baseline")


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_there(room: str) -> None:
    loaded = importlib.import_module(room)
    assert loaded._PUBLIC
    for name in loaded._PUBLIC:
        assert callable(getattr(loaded, name)), name
        assert name in dir(loaded)
    with pytest.raises(AttributeError, match="no_such_name"):
        loaded.no_such_name  # noqa: B018 - the access is what is tested


def test_importing_the_rooms_is_light() -> None:
    heavy = ["torch", "torch_geometric", "lightning", "rdkit", "pymoo", "botorch", "mol_ga"]
    code = f"import sys, samplers, {', '.join(ROOMS)}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sampler_comes_without_graph_libraries() -> None:
    code = "import sys; from samplers.gflownet import GFlowNetSampler; print('torch_geometric' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
