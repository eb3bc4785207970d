"""A measure that remembers, and charges for what is new."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import BudgetExhausted, ConfigError, LedgerError, ShapeError
from mogen.objective import Constraint, Evaluation, Measured, ObjectiveSet, Status
from mogen.oracle.executor import Executor, Item, Outcome, SerialExecutor
from mogen.oracle.ledger import AskedRow, Ledger, Row
from mogen.types import C


@dataclass(frozen=True)
class History:
    """What an account has asked for: every unique candidate once, in ask order."""

    keys: list[str]
    evaluation: Evaluation
    preference: Float[Tensor, "n m"] | None
    """what each candidate was made for (NaN rows where nothing was noted), or None where nothing ever was"""

    def __len__(self) -> int:
        return len(self.keys)


@final
class Oracle(Generic[C]):
    """An objective set with a memory, a budget and an executor.

    Every unique candidate an account asks for is charged once, whether or not its measurement was already in the
    ledger; repeats are free. When the budget ends inside a batch, the candidates before the first one that is too many
    are measured, recorded and observed, then `BudgetExhausted` is raised. Values are stored as they arrive and before
    they are charged, so that a killed process loses no measurement. A failed measurement is remembered as failed.
    `observer` gets each candidate once, when it is charged, with its evaluation and preference.
    """

    def __init__(
        self,
        objectives: ObjectiveSet[C],
        ledger: Ledger,
        *,
        budget: int,
        account: str = "mogen",
        executor: Executor | None = None,
        observer: Callable[[list[C], Evaluation, Tensor | None], None] | None = None,
    ) -> None:
        if budget < 0:
            raise ConfigError(f"a budget must be a number of candidates, zero or more, got {budget}")
        self.objectives, self.ledger, self.budget, self.account = objectives, ledger, int(budget), account
        self.executor = SerialExecutor() if executor is None else executor
        self.observer = observer
        self._items: tuple[Item, ...] = (*objectives.objectives, *objectives.constraints)
        self._identities = tuple(_identity(item) for item in self._items)
        self._lock = threading.RLock()
        self._positions = {row.key: row.position for row in ledger.asked(account)}

    @property
    def asked(self) -> int:
        """Unique candidates charged to the account."""
        return len(self._positions)

    @property
    def paid(self) -> int:
        """Candidates with at least one measurement this account paid for, in this process or an earlier one."""
        return self.ledger.paid(self.account)

    @property
    def remaining(self) -> int:
        """Unique candidates that can still be asked for."""
        return max(0, self.budget - self.asked)

    def __call__(self, candidates: Sequence[C], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        """Measures candidates; `preference` is noted, and never changes a value."""
        if preference is not None and preference.shape != (len(candidates), self.objectives.m):
            raise ShapeError(
                f"preference must be {len(candidates)} x {self.objectives.m}, got {tuple(preference.shape)}"
            )
        keys = [candidate.key for candidate in candidates]
        with self._lock:
            end, new = self._affordable(keys)
            self._measure(candidates[:end], keys[:end])
            known = self._known(keys[:end])
            self._charge([keys[place] for place in new], None if preference is None else preference[new])
            if new and self.observer is not None:
                noted = None if preference is None else preference[new]
                self.observer([candidates[place] for place in new], known[torch.tensor(new)], noted)
            if end < len(candidates):
                raise BudgetExhausted(
                    f"the budget of {self.budget} candidates is spent: {len(candidates)} were asked for, the first "
                    f"{end} of them measured"
                )
            return known

    def limited(self, budget: int) -> Oracle[C]:
        """The same oracle, ledger and account, that stops at a smaller budget."""
        if budget < 0:
            raise ConfigError(f"a budget must be a number of candidates, zero or more, got {budget}")
        view = copy.copy(self)
        view.budget = min(int(budget), self.budget)
        return view

    def truncate(self, count: int) -> None:
        """Forgets what was asked for after the first `count` candidates; their measurements stay in the ledger.

        Raises `LedgerError` where fewer were asked for: whoever remembers more has another ledger in mind.
        """
        with self._lock:
            if count > self.asked:
                raise LedgerError(
                    f"expected at least {count} candidates of {self.account!r}, got {self.asked} in the ledger "
                    f"{self.ledger.path}, which is not the one that was used before"
                )
            self.ledger.truncate(self.account, count)
            for key in [key for key, position in self._positions.items() if position >= count]:
                del self._positions[key]

    def history(self) -> History:
        """Every candidate the account was charged for, in ask order."""
        rows = self.ledger.asked(self.account)
        keys = [row.key for row in rows]
        noted = None
        if any(row.preference is not None for row in rows):
            blank = [math.nan] * self.objectives.m
            noted = torch.tensor([row.preference or blank for row in rows], dtype=torch.float64)
        return History(keys, self._known(keys), noted)

    def _affordable(self, keys: Sequence[str]) -> tuple[int, list[int]]:
        """How much of a batch the budget covers, and where its new candidates are."""
        remaining, seen = self.remaining, set[str]()
        new: list[int] = []
        for place, key in enumerate(keys):
            if key in self._positions or key in seen:
                continue
            if len(new) == remaining:
                return place, new
            seen.add(key)
            new.append(place)
        return len(keys), new

    def _measure(self, candidates: Sequence[C], keys: Sequence[str]) -> None:
        """Runs what the ledger does not know, and stores it as it arrives."""
        unique = dict(zip(keys, candidates, strict=True))
        known = [self.ledger.get(list(unique), identity) for identity in self._identities]
        groups: dict[tuple[int, ...], list[str]] = {}
        for key in unique:
            wanted = tuple(
                index
                for index, item in enumerate(self._items)
                if key not in known[index] and not isinstance(item, Measured)
            )
            groups.setdefault(wanted, []).append(key)
        for wanted, group in groups.items():
            if wanted:
                self._run(wanted, group, [unique[key] for key in group])

    def _run(self, wanted: tuple[int, ...], keys: list[str], candidates: list[C]) -> None:
        identities = [self._identities[index] for index in wanted]

        def row(out: Outcome) -> Row:
            key, identity = keys[out.position], identities[out.item]
            return Row(key, identity, out.value, out.status, out.seconds, out.message, self.account)

        def store(outcomes: list[Outcome]) -> None:
            self.ledger.put([row(out) for out in outcomes])

        self.executor.run([self._items[index] for index in wanted], candidates, store=store)

    def _charge(self, keys: list[str], preference: Tensor | None) -> None:
        """Writes new candidates down, after their values."""
        noted: list[Any] = [None] * len(keys) if preference is None else preference.detach().cpu().tolist()
        start = len(self._positions)
        rows = [AskedRow(start + place, key, note) for place, (key, note) in enumerate(zip(keys, noted, strict=True))]
        self.ledger.put_asked(self.account, rows)
        self._positions.update({row.key: row.position for row in rows})

    def _known(self, keys: Sequence[str]) -> Evaluation:
        """What the ledger knows of candidates; missing where it knows nothing."""
        unique = list(dict.fromkeys(keys))
        columns = [self.ledger.get(unique, identity) for identity in self._identities]
        m, absent = self.objectives.m, (math.nan, Status.MISSING)
        cells = [[column.get(key, absent) for column in columns] for key in keys]
        table = torch.tensor([[value for value, _ in row] for row in cells], dtype=torch.float64)
        status = torch.tensor([[state for _, state in row] for row in cells], dtype=torch.long)
        table, status = table.view(len(keys), len(columns)), status.view(len(keys), len(columns))
        passed = (table[:, m:] == 1) & (status[:, m:] == Status.MEASURED)
        return self.objectives.evaluation(table[:, :m], passed, status[:, :m])


def _identity(item: Item) -> str:
    """What the ledger knows an item by; a constraint never answers for an objective of the same name."""
    return f"constraint:{item.identity}" if isinstance(item, Constraint) else item.identity
