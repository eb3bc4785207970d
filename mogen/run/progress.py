"""What a run tells while it works: a bar on a terminal, a line every tenth elsewhere, a row per hundredth on disk."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mogen.pareto import hypervolume, is_non_dominated
from mogen.run.directory import write_text

COLUMNS = ("stage", "asked", "front_size", "hypervolume", "seconds")
REST = 20
"""times the seconds a hypervolume took: how long none is computed after it (large fronts of many objectives)"""


@final
class Progress:
    """Follows one stage of one account through its asked candidates.

    The front is kept as utilities and keys; hypervolume and diversity are brought up to date once per hundredth of the
    budget, so that following costs next to nothing.
    """

    def __init__(
        self,
        stage: str,
        budget: int,
        path: Path,
        *,
        start: int = 0,
        show: bool = True,
        diversity: Callable[[list[str]], float | None] | None = None,
    ) -> None:
        self.stage, self.budget, self.path = stage, budget, path
        self.start = self.asked = start
        self.diversity, self.show = diversity, show
        self.is_terminal = sys.stderr.isatty()
        self.began, self.rested = time.perf_counter(), 0.0
        self.due = self.told = self.written = 0
        self.front: Float[Tensor, "n m"] | None = None
        self.keys: list[str] = []
        self.volume = 0.0
        self.first: tuple[float, int] | None = None
        self.variety: float | None = None
        self.bar = tqdm(total=budget, initial=start, desc=stage, unit="cand", leave=True, disable=not self.visible)

    @property
    def visible(self) -> bool:
        """Whether a bar can be drawn."""
        return self.show and self.is_terminal

    def begin(self, keys: list[str], utility: Float[Tensor, "n m"], asked: int) -> None:
        """Takes in what the account asked for before this stage or session, `asked` candidates."""
        self.extend(keys, utility)
        self.prune(asked)
        self.start = self.asked = asked
        self.bar.n = self.bar.initial = asked
        self.told = 10 * asked // max(1, self.budget)

    def update(self, keys: list[str], utility: Float[Tensor, "n m"], asked: int) -> None:
        """Takes in newly measured candidates; `asked` counts the account's unique candidates so far."""
        self.extend(keys, utility)
        self.bar.update(max(0, asked - self.bar.n))
        self.asked = asked
        if self.first is None:
            self.first = time.perf_counter(), asked
        if asked >= self.due and time.perf_counter() >= self.rested:
            self.refresh()

    def extend(self, keys: list[str], utility: Float[Tensor, "n m"]) -> None:
        """Keeps what is not dominated, each candidate once."""
        known = set(self.keys)
        is_worth = (utility > 0).any(1).tolist()
        fresh = [row for row, key in enumerate(keys) if is_worth[row] and key not in known]
        if not fresh:
            return
        joined = utility[fresh] if self.front is None else torch.cat([self.front, utility[fresh]])
        names = self.keys + [keys[row] for row in fresh]
        keep = is_non_dominated(joined).nonzero().flatten().tolist()
        self.front, self.keys = joined[keep], [names[row] for row in keep]

    def refresh(self) -> None:
        """Brings the figures up to date, on disk and before the user's eyes."""
        every = max(1, self.budget // 100)
        self.due = (self.asked // every + 1) * every
        began = time.perf_counter()
        self.volume = 0.0 if self.front is None else float(hypervolume(self.front))
        now = time.perf_counter()
        self.rested = now + REST * (now - began) if now - began > 0.1 else now
        self.write()
        self.written = self.asked
        tenth = 10 * self.asked // max(1, self.budget)
        if self.show and tenth > self.told:
            self.told = tenth
            self.variety = self.diversity(self.keys) if self.diversity and self.keys else None
            if not self.is_terminal:
                print(f"{self.stage}: {self.line()}, {self.left()}", file=sys.stderr, flush=True)
        self.bar.set_postfix_str(self.line(), refresh=False)

    def line(self) -> str:
        """The live line: budget used, front size, hypervolume, diversity."""
        variety = "" if self.variety is None else f", its diversity {self.variety:.3f}"
        return f"{self.asked}/{self.budget} asked, front {len(self.keys)}, hypervolume {self.volume:.4f}{variety}"

    def left(self) -> str:
        """Time left at the rate since the first batch of this session (what came before it was starting up)."""
        since, count = self.first or (self.began, self.asked)
        done = self.asked - count
        if not done:
            return "time left unknown"
        return f"{tqdm.format_interval((time.perf_counter() - since) * (self.budget - self.asked) / done)} left"

    def write(self) -> None:
        """One row in metrics.csv."""
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(COLUMNS)
            seconds = round(time.perf_counter() - self.began, 3)
            writer.writerow([self.stage, self.asked, len(self.keys), self.volume, seconds])

    def prune(self, asked: int) -> None:
        """Forgets the rows an interrupted session wrote for this stage beyond where it continues."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        whole = [row for row in rows if len(row) == len(COLUMNS)]
        kept = [row for row in whole if row[0] != self.stage or int(row[1]) <= asked]
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(kept)
        write_text(self.path, text.getvalue())

    def close(self) -> None:
        """Writes the last row and takes the bar away."""
        if self.asked > max(self.start, self.written):
            self.refresh()
        self.bar.close()
