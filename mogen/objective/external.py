"""An objective that is a command."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ObjectiveError
from mogen.objective.objective import Objective
from mogen.types import C


@final
class CommandObjective(Objective[C]):
    """An objective computed by a command of the user's, called once a batch.

    As REINVENT's external process: candidate keys (SMILES) come line by line on standard input; standard output is
    {"version": 1, "payload": {"predictions": [0.1, null, ...]}}, one number per line, null where undefined.
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
        self.name, self.unit, self.source, self.version = name, unit, source, version
        self.worst, self.best = float(worst), float(best)
        self.prediction, self.timeout = prediction, timeout
        self.parameters = {"command": self.command, "prediction": prediction}

    def evaluate(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        if not len(candidates):
            return torch.zeros(0, dtype=torch.float64)
        text = "".join(f"{candidate.key}\n" for candidate in candidates)
        try:
            done = subprocess.run(
                self.command, input=text, capture_output=True, text=True, timeout=self.timeout, check=True
            )
            values = json.loads(done.stdout)["payload"][self.prediction]
            numbers = [math.nan if value is None else float(value) for value in values]
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise ObjectiveError(f"the command of {self.name!r} ended with code {error.returncode}: {last}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ObjectiveError(f"the command of {self.name!r} could not be run: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ObjectiveError(
                f"the command of {self.name!r} must print JSON with payload.{self.prediction}, got another: {error!r}"
            ) from error
        return torch.tensor(numbers, dtype=torch.float64)
