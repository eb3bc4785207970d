import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from mogen import plugins
from mogen.errors import PluginError

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny-plugin"
version = "1"
[project.entry-points."mogen.objectives"]
tiny = "tiny_plugin:tiny"
[tool.setuptools]
py-modules = ["tiny_plugin"]
"""
MODULE = """
from mogen.objective import objective

@objective(worst=0, best=30, unit="letters")
def tiny(candidate):
    "How long a key is."
    return len(candidate.key)
"""


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(PluginError, match="did you mean 'gflownet'"):
        plugins.load("mogen.samplers", "gflownt")


def test_a_function_of_a_file_pickles_into_another_process(tmp_path: Path):
    file = tmp_path / "potency.py"
    file.write_text("def potency(candidate):\n    return 7.0\n")
    function = plugins.load_path("./potency.py:potency", directory=tmp_path)
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())(None))"
    preamble = "import mogen.plugins; "
    done = subprocess.run(
        [sys.executable, "-c", preamble + code], input=pickle.dumps(function), capture_output=True, cwd=tmp_path
    )
    assert done.stdout.decode().strip() == "7.0", done.stderr.decode()
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("text", ["./nothing.py:a", "noattribute", "./here.py:b"])
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "here.py").write_text("a = 1\n")
    with pytest.raises(PluginError):
        plugins.load_path(text, directory=tmp_path)


def test_a_shadowed_room_is_refused_and_named(tmp_path: Path):
    (tmp_path / "objectives.py").write_text("raise SystemExit(9)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mogen.cli.main", "show", "qed"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert str(tmp_path / "objectives.py") in done.stderr
    assert "Traceback" not in done.stderr


def test_an_installed_distribution_is_seen_by_the_command_line(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "tiny_plugin.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(target)}
    command = [sys.executable, "-m", "mogen.cli.main"]
    listed = subprocess.run([*command, "list", "objectives"], env=environment, capture_output=True, text=True)
    assert "tiny" in listed.stdout.split()
    shown = subprocess.run([*command, "show", "tiny"], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "letters" in shown.stdout and "best: 30" in shown.stdout
