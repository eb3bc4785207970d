"""Every measurement ever paid for, in one SQLite file."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, final

from mogen.errors import LedgerError
from mogen.objective import Status

_APPLICATION = 0x6D6F676E
_VERSION = 1
_AT_ONCE = 500
"""keys per query, below every SQLite's limit of parameters"""
_FLUSH = 1.0
"""seconds that cheap measurements may wait to be flushed to disk"""
_PRECIOUS = 0.1
"""seconds of measuring that are flushed to disk at once"""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS measurement (
    key TEXT NOT NULL, identity TEXT NOT NULL, replicate INTEGER NOT NULL DEFAULT 0,
    value REAL, status INTEGER NOT NULL, seconds REAL, created TEXT NOT NULL, message TEXT NOT NULL DEFAULT '',
    account TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (key, identity, replicate)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS measurement_account ON measurement (account, key);
CREATE TABLE IF NOT EXISTS asked (
    account TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, preference TEXT,
    PRIMARY KEY (account, position), UNIQUE (account, key)
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


@dataclass(frozen=True)
class Row:
    """One measurement: a candidate under an objective (or constraint), once."""

    key: str
    identity: str
    value: float
    status: Status = Status.MEASURED
    seconds: float = 0.0
    message: str = ""
    account: str = ""
    """who paid"""
    replicate: int = 0


@dataclass(frozen=True)
class AskedRow:
    """A candidate charged to an account, and the preference it was made for."""

    position: int
    key: str
    preference: list[float] | None = None


@final
class Ledger:
    """Measurements by (candidate key, objective identity, replicate), and who asked for which candidate in which order.

    Every `put` is committed before it returns (write-ahead log), so that `kill -9` loses no row. Against a power cut,
    rows that took at least 0.1 s to measure are flushed to disk at once, cheaper ones once a second of writing: a flush
    costs milliseconds, more than many objectives do. A measured value is never overwritten; a failed one is by a later
    row. Safe to use from several threads. Raises `LedgerError` for a file that is no ledger.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self._lock = threading.RLock()
        self._flushed = -math.inf
        self._is_flushing = True
        try:
            if self.path != ":memory:":
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"a ledger must be a file that can be written, got {self.path}: {error}") from error
        try:
            self._open()
        except sqlite3.Error as error:
            self._connection.close()
            raise LedgerError(f"expected a mogen ledger or no file, got {self.path}: {error}") from error
        except LedgerError:
            self._connection.close()
            raise

    def _open(self) -> None:
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        tables = self._one("SELECT count(*) FROM sqlite_master")
        if tables and (application, version) != (_APPLICATION, _VERSION):
            raise LedgerError(
                f"expected a mogen ledger of version {_VERSION}, got {self.path} with application id {application} and "
                f"version {version}"
            )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        if not tables:
            self._connection.executescript(_SCHEMA)

    def get(self, keys: Sequence[str], identity: str, replicate: int = 0) -> dict[str, tuple[float, Status]]:
        """The value and status of every key that is known; NaN where a failure left no value."""
        found: dict[str, tuple[float, Status]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            query = (
                f"SELECT key, value, status FROM measurement WHERE identity = ? AND replicate = ? AND key IN ({marks})"
            )
            for key, value, status in self._all(query, (identity, replicate, *part)):
                found[key] = (math.nan if value is None else value, Status(status))
        return found

    def put(self, rows: Sequence[Row]) -> None:
        """Stores rows, all or none."""
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(
            "INSERT INTO measurement (key, identity, replicate, value, status, seconds, created, message, account) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key, identity, replicate) DO UPDATE SET "
            "value = excluded.value, status = excluded.status, seconds = excluded.seconds, "
            "created = excluded.created, message = excluded.message, account = excluded.account "
            f"WHERE measurement.status != {int(Status.MEASURED)}",
            [
                (
                    row.key,
                    row.identity,
                    row.replicate,
                    None if math.isnan(row.value) else row.value,
                    int(row.status),
                    row.seconds,
                    created,
                    row.message,
                    row.account,
                )
                for row in rows
            ],
            is_precious=sum(row.seconds for row in rows) >= _PRECIOUS,
        )

    def message(self, key: str, identity: str, replicate: int = 0) -> str | None:
        """Why a measurement failed (empty where it did not), or None where there is none."""
        query = "SELECT message FROM measurement WHERE key = ? AND identity = ? AND replicate = ?"
        return next((text for (text,) in self._all(query, (key, identity, replicate))), None)

    def paid(self, account: str) -> int:
        """How many candidates have a measurement that this account paid for."""
        return self._one("SELECT count(DISTINCT key) FROM measurement WHERE account = ?", (account,))

    def asked(self, account: str) -> list[AskedRow]:
        """What an account has asked for, in ask order."""
        query = "SELECT position, key, preference FROM asked WHERE account = ? ORDER BY position"
        return [
            AskedRow(position, key, None if text is None else json.loads(text))
            for position, key, text in self._all(query, (account,))
        ]

    def put_asked(self, account: str, rows: Sequence[AskedRow]) -> None:
        """Charges candidates to an account, all or none; raises `LedgerError` for one charged already."""
        self._write(
            "INSERT INTO asked (account, position, key, preference) VALUES (?, ?, ?, ?)",
            [
                (account, row.position, row.key, None if row.preference is None else json.dumps(row.preference))
                for row in rows
            ],
        )

    def truncate(self, account: str, count: int) -> None:
        """Forgets what an account asked for after its first `count` candidates; measurements stay."""
        self._write("DELETE FROM asked WHERE account = ? AND position >= ?", [(account, count)])

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, query: str, values: tuple[Any, ...] = ()) -> int:
        return int(self._connection.execute(query, values).fetchone()[0])

    def _all(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(f"the ledger {self.path} must be readable, got {error}") from error

    def _write(self, query: str, rows: Sequence[tuple[Any, ...]], *, is_precious: bool = False) -> None:
        if not rows:
            return
        with self._lock:
            try:
                self._choose_flush(is_precious)
                with self._connection:  # commits, or rolls back
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.executemany(query, rows)
            except sqlite3.Error as error:
                raise LedgerError(f"the ledger {self.path} must take new rows, got {error}") from error

    def _choose_flush(self, is_precious: bool) -> None:
        """Makes the next commit wait for the disk (synchronous=FULL), or not (NORMAL)."""
        now = time.monotonic()
        is_flushing = is_precious or now - self._flushed >= _FLUSH
        if is_flushing:
            self._flushed = now
        if is_flushing != self._is_flushing:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_flushing else 'NORMAL'}")
            self._is_flushing = is_flushing
