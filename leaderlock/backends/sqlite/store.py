"""The tables in the file, and the one rule for how long a lease holds."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leaderlock.backends.base import Attempt
from leaderlock.backends.sqlite.errors import is_busy
from leaderlock.backends.sqlite.processes import Process
from leaderlock.errors import BackendRefused

SCHEMA_VERSION = 1

_LONGEST_PAUSE = 0.005  # seconds between two tries to get a lock
_never = threading.Event()

# A row of leaderlock_elections is never deleted: its token is the last one that was issued.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS leaderlock_store (
        id INTEGER PRIMARY KEY CHECK (id = 1), uuid TEXT NOT NULL, schema_version INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS leaderlock_elections (
        namespace TEXT NOT NULL, election TEXT NOT NULL,
        token INTEGER NOT NULL, attempt_id TEXT, payload BLOB NOT NULL,
        renewed_at REAL NOT NULL, expires_at REAL NOT NULL,
        boot_id TEXT NOT NULL, namespaces TEXT NOT NULL,
        pid INTEGER NOT NULL, started INTEGER NOT NULL,
        PRIMARY KEY (namespace, election)
    ) WITHOUT ROWID""",
)

_number_of_stores = itertools.count()


@dataclass(frozen=True, slots=True)
class Term:
    """The last term of one election. Without an attempt id it was released."""

    token: int
    attempt_id: str | None
    payload: bytes
    renewed_at: float
    expires_at: float
    holder: Process

    def remaining(self, now: float, here: Process) -> float:
        """Seconds for which the lease still holds; 0 when it is over, for whatever reason.

        `now` has to be read after the term was, on the machine's own clock. A lease that was
        renewed later than now was renewed before the clock began anew: it is over as well.
        """
        if self.attempt_id is None or self.holder.is_of_another_boot(here):
            return 0.0
        return max(0.0, self.expires_at - now) if self.renewed_at <= now else 0.0

    def keeps_out(self, now: float, here: Process) -> bool:
        """Whether nobody else may lead: the lease holds, and its holder is not known to be dead."""
        return self.remaining(now, here) > 0 and not self.holder.is_dead(here)


class Store:
    """One open connection, in the words of elections.

    Attributes:
        number: no other connection of this process has it.
        source: names the file's content for ever; empty if it has no leaderlock tables (yet).
        deadline: on `time.monotonic`, until when somebody else's lock is waited for.
    """

    def __init__(self, connection: sqlite3.Connection, deadline: float) -> None:
        self.number = next(_number_of_stores)
        self.connection = connection
        self.source = ""
        self.deadline = deadline

    def load(self, path: Path) -> bool:
        """Learn the source. Returns whether the tables are there.

        Raises:
            BackendRefused: they are of another version.
        """
        tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'leaderlock_store'"
        if self.execute(tables).fetchone() is None:
            return False
        query = "SELECT uuid, schema_version FROM leaderlock_store WHERE id = 1"
        row = self.execute(query).fetchone()
        if row is None or row[1] != SCHEMA_VERSION:
            found = None if row is None else row[1]
            raise BackendRefused(
                f"{path} has leaderlock tables of version {found}, this program needs version "
                f"{SCHEMA_VERSION}: upgrade leaderlock, or use another file"
            )
        self.source = f"sqlite:{row[0]}"
        return True

    def create(self) -> None:
        """Make the tables, unless somebody else was quicker."""
        with self.transaction():
            for statement in _SCHEMA:
                self.execute(statement)
            self.execute(
                "INSERT OR IGNORE INTO leaderlock_store VALUES (1, ?, ?)",
                (uuid.uuid4().hex, SCHEMA_VERSION),
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep every other writer out until the end of the block."""
        self.execute("BEGIN IMMEDIATE")
        with self.begun_transaction():
            yield

    def begin(self) -> bool:
        """Keep every other writer out. False: one is in the way, and there is time to ask again."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._wait_for_lock(error)
            return False
        return True

    @contextlib.contextmanager
    def begun_transaction(self) -> Iterator[None]:
        """What `begin` has begun ends with the block."""
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
            raise

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Carry out one statement, again and again while somebody else's lock prevents it.

        SQLite waits by itself, but not where two could wait for each other, and with pauses that
        grow so long that one of fifty processes may never find the lock free.
        """
        while True:
            try:
                return self.connection.execute(statement, parameters)
            except sqlite3.Error as error:
                self._wait_for_lock(error)

    def _wait_for_lock(self, error: sqlite3.Error) -> None:
        if not is_busy(error) or time.monotonic() >= self.deadline:
            raise error
        _never.wait(random.uniform(0, _LONGEST_PAUSE))

    def data_version(self) -> int:
        """Another number after every commit of another connection."""
        return int(self.execute("PRAGMA data_version").fetchone()[0])

    def term(self, namespace: str, election: str) -> Term | None:
        """The last term; None: there has never been one."""
        row = self.execute(
            "SELECT token, attempt_id, payload, renewed_at, expires_at,"
            " boot_id, namespaces, pid, started"
            " FROM leaderlock_elections WHERE namespace = ? AND election = ?",
            (namespace, election),
        ).fetchone()
        if row is None:
            return None
        token, attempt_id, payload, renewed_at, expires_at, *holder = row
        return Term(token, attempt_id, payload, renewed_at, expires_at, Process(*holder))

    def grant(
        self, namespace: str, attempt: Attempt, token: int, now: float, ttl: float, holder: Process
    ) -> None:
        self.execute(
            "REPLACE INTO leaderlock_elections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                namespace, attempt.election, token, attempt.attempt_id, attempt.payload,
                now, now + ttl,
                holder.boot_id, holder.namespaces, holder.pid, holder.started,
            ),
        )  # fmt: skip

    def extend(self, namespace: str, election: str, now: float, ttl: float) -> None:
        self.execute(
            "UPDATE leaderlock_elections SET renewed_at = ?, expires_at = ?"
            " WHERE namespace = ? AND election = ?",
            (now, now + ttl, namespace, election),
        )

    def clear(self, namespace: str, attempt: Attempt) -> None:
        """End the attempt's term; the token stays."""
        self.execute(
            "UPDATE leaderlock_elections SET attempt_id = NULL, payload = x''"
            " WHERE namespace = ? AND election = ? AND attempt_id = ?",
            (namespace, attempt.election, attempt.attempt_id),
        )
