"""Objectives in worker processes: hangs and crashes cost one candidate."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, final

from mogen.errors import ConfigError, ObjectiveError
from mogen.oracle.executor import Attempt, Executor, Item, Outcome, Store, outcomes
from mogen.oracle.worker import LOADED, READY, work

_LOADING_SECONDS = 300.0
"""what starting a worker and importing an objective's libraries may take"""


@dataclass(frozen=True)
class _Task:
    """Some candidates to be measured under some items, in this order."""

    items: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(eq=False)
class _Worker:
    """A process, and what it is doing."""

    process: Any
    connection: Connection
    tokens: set[int] = field(default_factory=set)
    """items it has already been sent"""
    is_ready: bool = False
    is_loaded: bool = False
    has_served: bool = False
    """it has finished a task, so what it dies of before the next has loaded is not the task's fault"""
    task: _Task | None = None
    done: int = 0
    """items of its task already answered"""
    deadline: float = math.inf

    @classmethod
    def start(cls) -> _Worker:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads' locks
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs,), daemon=True, name="mogen-worker")
        process.start()
        theirs.close()
        return cls(process, ours)

    def kill(self) -> None:
        """Ends the process and whatever its objectives have started."""
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()


@dataclass
class _Job:
    """One call of `run`: what is asked, still to do, and found."""

    items: Sequence[Item]
    candidates: Sequence[Any]
    tokens: list[int]
    store: Store | None
    waiting: deque[_Task]
    table: dict[tuple[int, int], Outcome] = field(default_factory=dict)
    fresh: list[Outcome] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return len(self.table) == len(self.items) * len(self.candidates)

    def add(self, item: int, positions: Sequence[int], attempted: Attempt) -> None:
        """Keeps the values of one item, or puts its candidates back one by one to find the culprit."""
        if attempted.values is None and len(positions) > 1:
            self.waiting.extendleft(_Task((item,), (position,)) for position in reversed(positions))
            return
        found = outcomes(item, positions, attempted)
        self.table.update({(outcome.position, outcome.item): outcome for outcome in found})
        self.fresh.extend(found)

    def flush(self) -> None:
        """Hands what is new to the store."""
        if self.store is not None and self.fresh:
            self.store(self.fresh)
        self.fresh = []


@final
class ProcessExecutor(Executor):
    """Runs objectives in worker processes that stay between calls and are replaced when they die.

    `timeout` is what one objective may take for one chunk, in seconds (None: for ever). A chunk in which an objective
    raises, returns a wrong shape, runs out of time or kills its worker is measured again under that objective one
    candidate at a time, so that only the culprit is recorded as failed; for objectives of minutes, use `chunk=1`.
    Objectives and candidates must pickle, and a script must guard its main part with `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int | None = None, chunk: int = 32, timeout: float | None = 60.0) -> None:
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if workers < 1 or chunk < 1 or (timeout is not None and not timeout > 0):
            raise ConfigError(
                "a process executor needs workers >= 1, chunk >= 1 and timeout > 0 or null, "
                f"got workers={workers}, chunk={chunk}, timeout={timeout}"
            )
        self.workers, self.chunk, self.timeout = workers, chunk, timeout
        self._pool: list[_Worker] = []
        self._written: dict[int, tuple[Item, bytes]] = {}
        self._lock = threading.Lock()

    def run(
        self, items: Sequence[Item], candidates: Sequence[Any], *, store: Store | None = None
    ) -> list[list[Outcome]]:
        with self._lock:
            job = _Job(items, candidates, [self._token(item) for item in items], store, self._tasks(items, candidates))
            try:
                while not job.is_done:
                    self._turn(job)
            finally:
                self._retire()
                job.flush()
        return [[job.table[position, item] for item in range(len(items))] for position in range(len(candidates))]

    def close(self) -> None:
        with self._lock:
            for worker in self._pool:
                worker.kill()
            self._pool, self._written = [], {}

    def _tasks(self, items: Sequence[Item], candidates: Sequence[Any]) -> deque[_Task]:
        """Chunks, small enough that every worker gets two."""
        n, every = len(candidates), tuple(range(len(items)))
        size = max(1, min(self.chunk, math.ceil(n / (2 * self.workers))))
        return deque(_Task(every, tuple(range(start, min(start + size, n)))) for start in range(0, n, size))

    def _token(self, item: Item) -> int:
        """Pickles an item once; the item is kept, so that its id stays its own."""
        token = id(item)
        if token not in self._written:
            self._written[token] = item, _pickled(item, f"objective {item.name!r}")
        return token

    def _turn(self, job: _Job) -> None:
        """Gives work to whoever is idle, stores what came, waits for the next answer."""
        while len(self._pool) < min(self.workers, len(job.waiting) + sum(w.task is not None for w in self._pool)):
            self._pool.append(_Worker.start())
        for worker in [worker for worker in self._pool if worker.task is None]:
            if job.waiting:
                self._give(worker, job)
        job.flush()
        busy = [worker for worker in self._pool if worker.task is not None]
        watched = {watch: worker for worker in busy for watch in (worker.connection, worker.process.sentinel)}
        rest = max(0.0, min((worker.deadline for worker in busy), default=0.0) - time.monotonic())
        ready = wait(list(watched), None if math.isinf(rest) else rest)
        for worker in {watched[watch]: None for watch in ready}:  # type: ignore[index]
            self._hear(worker, job)
        now = time.monotonic()
        for worker in busy:
            if worker.task is not None and worker.deadline <= now:
                self._lose(worker, job, self._late(worker))

    def _give(self, worker: _Worker, job: _Job) -> None:
        """Sends the next task; a worker that died while idle is dropped and the task stays."""
        task = job.waiting[0]
        tokens = [job.tokens[item] for item in task.items]
        fresh = {token: self._written[token][1] for token in tokens if token not in worker.tokens}
        blob = _pickled([job.candidates[position] for position in task.positions], "candidates")
        try:
            worker.connection.send((tokens, fresh, blob))
        except OSError:
            if not worker.is_ready:
                raise self._stillborn(worker) from None
            self._drop(worker)
            return
        job.waiting.popleft()
        worker.tokens.update(tokens)
        worker.task, worker.done, worker.is_loaded = task, 0, False
        worker.deadline = time.monotonic() + _LOADING_SECONDS

    def _hear(self, worker: _Worker, job: _Job) -> None:
        """Takes in everything a worker has said so far."""
        while worker.task is not None:
            try:
                if not worker.connection.poll():
                    if worker.process.exitcode is not None:
                        self._lose(worker, job, f"worker process died with exit code {worker.process.exitcode}")
                    return
                said = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join(5)
                self._lose(worker, job, f"worker process died with exit code {worker.process.exitcode}")
                return
            self._take(worker, job, said)

    def _take(self, worker: _Worker, job: _Job, said: Any) -> None:
        assert worker.task is not None
        if said == READY:
            worker.is_ready = True
            return
        if isinstance(said, Attempt):
            job.add(worker.task.items[worker.done], worker.task.positions, said)
            worker.done += 1
        elif said == LOADED:
            worker.is_loaded = True
        else:
            names = ", ".join(repr(job.items[item].name) for item in worker.task.items)
            raise ObjectiveError(
                f"objectives and candidates must load in worker processes, got {said[1]!r} while loading {names}"
            )
        worker.deadline = math.inf if self.timeout is None else time.monotonic() + self.timeout
        if worker.done == len(worker.task.items):
            worker.task, worker.deadline, worker.has_served = None, math.inf, True

    def _late(self, worker: _Worker) -> str:
        return f"timeout: no answer within {self.timeout if worker.is_loaded else _LOADING_SECONDS:g} seconds"

    def _lose(self, worker: _Worker, job: _Job, message: str) -> None:
        """Replaces a worker; the item it was busy with is split or failed, the items after it are put back."""
        if not worker.is_ready:
            raise self._stillborn(worker)
        task = worker.task
        assert task is not None
        self._drop(worker)
        if not worker.is_loaded:
            if not worker.has_served:
                names = ", ".join(repr(job.items[item].name) for item in task.items)
                raise ObjectiveError(f"objectives must load in worker processes, got {message!r} while loading {names}")
            job.waiting.appendleft(task)
            return
        later = task.items[worker.done + 1 :]
        if later:
            job.waiting.appendleft(_Task(later, task.positions))
        job.add(task.items[worker.done], task.positions, Attempt(None, 0.0, message))

    def _stillborn(self, worker: _Worker) -> ObjectiveError:
        self._drop(worker)
        return ObjectiveError(
            f"worker processes must start, got exit code {worker.process.exitcode} from one that did not: a script "
            "that uses ProcessExecutor needs its main part under `if __name__ == '__main__':`"
        )

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        worker.task = None
        self._pool.remove(worker)

    def _retire(self) -> None:
        """Ends workers still busy, which only happens when a call is interrupted."""
        for worker in [worker for worker in self._pool if worker.task is not None]:
            self._drop(worker)


def _pickled(value: Any, what: str) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except (Exception, SystemExit) as error:  # pickling runs user code
        raise ObjectiveError(
            f"{what} must pickle to be run in worker processes (define it at the top of an importable module), "
            f"got {type(error).__name__}: {error}"
        ) from error
