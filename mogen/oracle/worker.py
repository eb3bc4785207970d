"""What runs inside a worker process."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

import torch

from mogen.oracle.executor import attempt

READY, LOADED, UNLOADABLE = "ready", "loaded", "unloadable"


def work(connection: Connection) -> None:
    """Answers tasks until the parent goes away.

    A task is (tokens, pickled items not sent before by token, pickled candidates); the answer is `LOADED`, then one
    `Attempt` per item as soon as it is there. One torch thread: the parent runs as many workers as it wants cores.
    """
    os.setsid()  # Ctrl-C goes to the parent alone, and what an objective starts dies with its worker
    _end_with_parent()
    torch.set_num_threads(1)
    connection.send(READY)
    loaded: dict[int, Any] = {}
    while True:
        try:
            tokens, fresh, blob = connection.recv()
        except (EOFError, OSError):
            return
        _answer(connection, loaded, tokens, fresh, blob)


def _answer(connection: Connection, loaded: dict[int, Any], tokens: list[int], fresh: dict[int, bytes], blob: bytes):
    try:
        loaded.update({token: pickle.loads(written) for token, written in fresh.items()})
        candidates = pickle.loads(blob)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling imports and runs user code
        connection.send((UNLOADABLE, f"{type(error).__name__}: {error}"))
        return
    connection.send(LOADED)
    for token in tokens:
        connection.send(attempt(loaded[token], candidates))


def _end_with_parent() -> None:
    """Sees to it that this worker and what it has started end once the parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if hasattr(fcntl, "F_SETSIG"):
        _ask_kernel_to_kill(parent.sentinel)

    def outlast() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=outlast, daemon=True).start()


def _ask_kernel_to_kill(pipe: int) -> None:
    """Has Linux send SIGKILL when a pipe's other end closes: an objective that hangs in C lets no thread here run."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())  # negative: the whole process group
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
