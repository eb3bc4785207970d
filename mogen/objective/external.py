"""Objectives computed elsewhere: by a command, or by a service on the network."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError, ObjectiveError
from mogen.objective.objective import Objective
from mogen.types import C


@final
class CommandObjective(Objective[C]):
    """An objective computed by a command of the user's, called once a batch in the current folder.

    As REINVENT's external process: candidate keys (SMILES) come line by line on standard input; standard output is
    {"version": 1, "payload": {"predictions": [0.1, null, ...]}}, one number per line, null where undefined.

    Args:
        command: the program and its arguments, as a list or as one text split as a shell would
        name: what the objective is called
        worst: raw value worth nothing
        best: raw value worth everything
        unit: of the raw values
        source: where the definition comes from
        version: changes whenever the same candidate would get another value
        prediction: the key below `payload`
        timeout: seconds for one batch, after which the command and all it started are killed; null for ever
    """

    def __init__(
        self,
        command: str | Sequence[str],
        *,
        name: str,
        worst: float,
        best: float,
        unit: str = "",
        source: str = "",
        version: str = "1",
        prediction: str = "predictions",
        timeout: float | None = None,
    ) -> None:
        self.command = shlex.split(command) if isinstance(command, str) else [str(part) for part in command]
        if not self.command:
            raise ConfigError(f"expected a command for the objective {name!r}, got {command!r}")
        self.name, self.unit, self.source, self.version = name, unit, source, version
        self.worst, self.best = float(worst), float(best)
        self.prediction, self.timeout = prediction, _timeout(timeout, name)
        self.parameters = {"command": self.command, "prediction": prediction}

    def evaluate(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        if not len(candidates):
            return torch.zeros(0, dtype=torch.float64)
        answer = self._run("".join(f"{candidate.key}\n" for candidate in candidates))
        return predictions(answer, len(candidates), self.prediction, f"the command of {self.name!r}")

    def _run(self, text: str) -> str:
        """What the command prints; raises `ObjectiveError` where it cannot be run, fails or takes too long."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        try:
            process = subprocess.Popen(self.command, text=True, encoding="utf-8", **pipes)  # type: ignore[call-overload]
        except OSError as error:
            raise ObjectiveError(f"the command of {self.name!r} could not be run: {error}") from error
        try:
            answer, complaint = process.communicate(text, timeout=self.timeout)
        except subprocess.TimeoutExpired as error:
            raise ObjectiveError(
                f"the command of {self.name!r} must answer within {self.timeout:g} seconds, got nothing by then"
            ) from error
        except UnicodeDecodeError as error:
            raise ObjectiveError(f"the command of {self.name!r} must print JSON in UTF-8, got {error}") from error
        finally:
            kill_tree(process)
        if process.returncode:
            last = (complaint.strip().splitlines() or ["no message"])[-1]
            raise ObjectiveError(f"the command of {self.name!r} ended with code {process.returncode}: {last}")
        return answer


@final
class HttpObjective(Objective[C]):
    """An objective computed by a service on the network, asked once a batch with an HTTP POST.

    The request is {"version": 1, "candidates": ["CCO", ...]}, keys (SMILES) in order; the answer is
    {"version": 1, "payload": {"predictions": [0.1, null, ...]}}, one number per candidate, null where undefined.

    Args:
        url: the address, http or https
        name: what the objective is called
        worst: raw value worth nothing
        best: raw value worth everything
        unit: of the raw values
        source: where the definition comes from
        version: changes whenever the same candidate would get another value
        prediction: the key below `payload`
        timeout: seconds the service may be silent
        headers: more headers, such as one that lets us in; not part of the objective's identity
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        worst: float,
        best: float,
        unit: str = "",
        source: str = "",
        version: str = "1",
        prediction: str = "predictions",
        timeout: float | None = 60.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"expected an address with http:// or https:// for the objective {name!r}, got {url!r}")
        self.url, self.headers = url, {"Content-Type": "application/json", **(headers or {})}
        self.name, self.unit, self.source, self.version = name, unit, source, version
        self.worst, self.best = float(worst), float(best)
        self.prediction, self.timeout = prediction, _timeout(timeout, name)
        self.parameters = {"url": url, "prediction": prediction}

    def evaluate(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        if not len(candidates):
            return torch.zeros(0, dtype=torch.float64)
        body = json.dumps({"version": 1, "candidates": [candidate.key for candidate in candidates]}).encode()
        request = urllib.request.Request(self.url, body, self.headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                answer = response.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            raise ObjectiveError(f"the service of {self.name!r} at {self.url} answered {error.code}") from error
        except (OSError, HTTPException, UnicodeDecodeError) as error:
            raise ObjectiveError(f"the service of {self.name!r} at {self.url} gave no answer: {error}") from error
        return predictions(answer, len(candidates), self.prediction, f"the service of {self.name!r}")


def predictions(answer: str, count: int, key: str, who: str) -> Float[Tensor, " n"]:
    """The numbers of an answer {"payload": {key: [...]}}, NaN for null; raises `ObjectiveError` for anything else."""
    try:
        values: Any = json.loads(answer)["payload"][key]
        numbers = [math.nan if value is None else float(value) for value in values]
    except (ValueError, KeyError, TypeError) as error:
        got = " ".join(answer.split())[:100]
        raise ObjectiveError(f"{who} must answer JSON with numbers under payload.{key}, got {got!r}") from error
    if len(numbers) != count:
        raise ObjectiveError(f"{who} must answer {count} numbers, one per candidate, got {len(numbers)}")
    return torch.tensor(numbers, dtype=torch.float64)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Ends a process, if it still runs, with all it has started, and closes its pipes.

    The command stays in our own process group, so that it also dies with a worker process that is killed.
    """
    if process.poll() is None:
        for pid in [process.pid, *_descendants(process.pid)]:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _descendants(pid: int) -> list[int]:
    """Processes below one, from /proc; none where there is no /proc."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            below.setdefault(int(parent), []).append(int(stat.parent.name))
    found = below.get(pid, [])
    for child in found:  # the list grows while it is walked
        found += below.get(child, [])
    return found


def _timeout(value: float | None, name: str) -> float | None:
    if value is not None and not value > 0:
        raise ConfigError(f"expected a timeout above 0 seconds for the objective {name!r}, got {value!r}")
    return value
