"""C files as machine code: what is kept, when it is compiled again, and what is said where that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mogen.errors import RunError
from mogen.run import compiler
from samplers.native import compiled

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
CODE = """
#ifndef FACTOR
#define FACTOR 1
#endif
long squares(long n) {
    long sum = 0;
    for (long i = 1; i <= n; i++) sum += i * i;
    return FACTOR * sum;
}
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A C file, and an empty cache."""
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "squares.c"
    path.write_text(CODE)
    return path


def kept(source: Path) -> set[tuple[str, int]]:
    """Names and inodes of what lies in the cache."""
    return {(path.name, path.stat().st_ino) for path in (source.parent / "cache" / "native").iterdir()}


def elsewhere(source: Path, processes: int) -> list[str]:
    """What processes that run at the same time say of 10."""
    code = "import sys, pathlib, samplers.native as n; print(n.compiled(pathlib.Path(sys.argv[1])).squares(10))"
    command = [sys.executable, "-c", code, str(source)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [process.communicate()[0].strip() for process in running]


@needs_compiler
def test_a_library_is_compiled_once_and_anew_where_anything_changes(source: Path) -> None:
    assert compiled(source, "-O2").squares(10) == 385  # n (n + 1) (2n + 1) / 6
    first = kept(source)
    assert compiled(source, "-O2").squares(10) == 385
    assert len(first) == 1 and kept(source) == first
    assert compiled(source, "-O2", "-DFACTOR=3").squares(10) == 3 * 385
    source.write_text(CODE.replace("i * i", "i"))
    assert compiled(source, "-O2").squares(10) == 55
    assert len(kept(source)) == 3 and kept(source) > first


@needs_compiler
def test_another_compiler_under_the_same_name_is_noticed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, found = source.with_name("mycc"), compiler()
    monkeypatch.setenv("CC", str(script))
    for factor in (1, 2):
        script.write_text(f'#!/bin/sh\nexec {found} -DFACTOR={factor} "$@"\n')
        script.chmod(0o755)
        assert compiled(source).squares(10) == factor * 385


@needs_compiler
def test_a_broken_library_is_compiled_again(source: Path) -> None:
    folder = source.parent / "cache" / "native"
    assert elsewhere(source, 1) == ["385"]
    ((name, _),) = kept(source)
    folder.joinpath(name).write_bytes(b"cut off")
    assert compiled(source).squares(10) == 385
    assert {name for name, _ in kept(source)} == {name} and folder.joinpath(name).stat().st_size > 1000


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(source: Path) -> None:
    source.with_name("cache").write_text("a file where the folder should be")
    assert compiled(source).squares(10) == 385


@needs_compiler
def test_processes_that_compile_at_once_do_not_disturb_each_other(source: Path) -> None:
    assert elsewhere(source, 4) == ["385"] * 4
    assert len(kept(source)) == 1


def test_what_cannot_be_compiled_is_said(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler() is not None:
        source.write_text("long squares(long n) { return m; }\n")
        with pytest.raises(RunError, match=r"to compile squares\.c, got: (.|\n)*undeclared"):
            compiled(source)
    monkeypatch.setenv("CC", str(source.with_name("nowhere")))
    with pytest.raises(RunError, match=r"expected .*nowhere to compile squares\.c"):
        compiled(source)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(source.parent))
    with pytest.raises(RunError, match="expected a C compiler"):
        compiled(source)


def test_the_compiler_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "mycc")
    assert compiler() == "mycc"
    monkeypatch.delenv("CC")
    assert compiler() == next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    monkeypatch.setenv("PATH", os.devnull)
    assert compiler() is None
