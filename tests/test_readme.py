"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import mogen

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs(tmp_path, monkeypatch, capsys) -> None:
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code is not None and len(code.group(1).strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(code.group(1), "README.md", "exec"), {})
    assert (tmp_path / "runs/readme/summary.json").is_file() and (tmp_path / "runs/readme/report.html").is_file()
    assert "0." in capsys.readouterr().out


def test_every_public_name_is_there() -> None:
    for name in mogen._PUBLIC:
        assert getattr(mogen, name) is not None
