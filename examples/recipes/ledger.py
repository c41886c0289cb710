"""What the recipes work on: a database that refuses a leader who is late, and any work twice.

Yours is a table beside those that the work changes, so that one transaction holds all three
steps of `claim`: compare the token, look whether the work is done, do it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from leaderlock import FencingToken, StaleToken

SCHEMA = """
CREATE TABLE IF NOT EXISTS fence (job TEXT PRIMARY KEY, token TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS done (
    job TEXT, item TEXT, token TEXT NOT NULL, pid INTEGER NOT NULL, PRIMARY KEY (job, item)
);
"""


class Done(NamedTuple):
    item: str
    token: str
    pid: int


class Ledger:
    """Which items of which job are done, and under which token. One object for each thread."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._database.executescript(SCHEMA)

    def touch(self, job: str, token: FencingToken) -> None:
        """Shut out all earlier leaders: before reading what there is to do.

        Raises:
            StaleToken: a later leader has been here.
        """
        with self._fenced(job, token):
            pass

    def claim(self, job: str, item: str, token: FencingToken) -> bool:
        """Do an item, if nobody has done it: here the row is all of the work.

        Raises:
            StaleToken: a later leader has been here.
        """
        with self._fenced(job, token) as database:
            row = (job, item, str(token), os.getpid())
            added = database.execute("INSERT OR IGNORE INTO done VALUES (?, ?, ?, ?)", row)
            return added.rowcount == 1

    def done(self, job: str) -> list[Done]:
        """What is done, in the order in which it was."""
        rows = self._database.execute(
            "SELECT item, token, pid FROM done WHERE job = ? ORDER BY rowid", (job,)
        )
        return [Done(*row) for row in rows]

    def last(self, job: str) -> Done | None:
        """What was done last."""
        row = self._database.execute(
            "SELECT item, token, pid FROM done WHERE job = ? ORDER BY rowid DESC LIMIT 1", (job,)
        ).fetchone()
        return None if row is None else Done(*row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._database.close()

    @contextmanager
    def _fenced(self, job: str, token: FencingToken) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            row = self._database.execute("SELECT token FROM fence WHERE job = ?", (job,)).fetchone()
            if row is not None and str(token) < row[0]:  # the text is in the order of the tokens
                raise StaleToken(token, FencingToken.parse(row[0]))
            self._database.execute("INSERT OR REPLACE INTO fence VALUES (?, ?)", (job, str(token)))
            yield self._database
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
