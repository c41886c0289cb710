"""What the leader writes to: a SQLite file, and in it the fence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from leaderlock import FencingToken
from leaderlock.fencing import SQLFence

RESOURCE = "ledger"


@contextmanager
def open_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection, for the thread that opens it."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        yield connection


def create(path: Path) -> None:
    """Make an empty ledger with an empty fence."""
    with open_ledger(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, token TEXT NOT NULL)")
        connection.commit()
        SQLFence(connection, RESOURCE).create_table()


def append(connection: sqlite3.Connection, fence: SQLFence, token: FencingToken) -> None:
    """Check the token and write an entry, in one transaction."""
    with fence.transaction(token) as cursor:
        cursor.execute("INSERT INTO entry (token) VALUES (?)", (str(token),))


def accepted(path: Path) -> list[FencingToken]:
    """The token of every entry, in the order in which they were written."""
    with open_ledger(path) as connection:
        rows = connection.execute("SELECT token FROM entry ORDER BY number")
        return [FencingToken.parse(text) for (text,) in rows]


def count(path: Path, epoch: int) -> int:
    """How many entries were written under tokens of an epoch."""
    with open_ledger(path) as connection:
        row = connection.execute(
            "SELECT count(*) FROM entry WHERE token LIKE ?", (f"{epoch:010d}.%",)
        ).fetchone()
        return int(row[0])
