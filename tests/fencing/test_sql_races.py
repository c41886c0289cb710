"""Two connections at every step of each other: a check and its write are one step."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from functools import partial

import psycopg
import pymysql
import pytest

from leaderlock import StaleToken
from leaderlock.fencing import SQLFence
from tests.elector.tools import PATIENCE, eventually, in_thread
from tests.fencing.databases import RESOURCE, Database, MariaDB, PostgreSQL, SQLite, token

OLD, NEW = token(5), token(6)

# What a database may say in place of StaleToken, in the one of two transactions that it aborts.
CONFLICTS = (psycopg.errors.SerializationFailure, pymysql.err.OperationalError)


class Leader:
    """One of two, with a connection of its own."""

    def __init__(self, database: Database, isolation: str, number: int) -> None:
        self.database = database
        self.connection = database.connect(isolation)
        self.token = token(number)
        self.fence = SQLFence(self.connection, RESOURCE)

    def advance(self) -> None:
        self.fence.advance(self.token)

    def check(self) -> None:
        self.fence.check(self.token)

    def write(self) -> None:
        self.database.write(self.connection, self.token)

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()


def pairs(database: Database) -> list[tuple[Leader, Leader]]:
    """An old and a new leader, at every isolation level."""
    return [
        (Leader(database, level, 2 * n + 1), Leader(database, level, 2 * n + 2))
        for n, level in enumerate(database.isolation_levels)
    ]


def test_a_successor_that_comes_before_the_check_is_seen_by_it(database: Database) -> None:
    for old, new in pairs(database):
        old.advance()
        new.advance()
        with pytest.raises(StaleToken) as caught:
            old.check()
        assert (caught.value.presented, caught.value.highest) == (old.token, new.token)
        old.rollback()
        assert old.token not in database.entries()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("steps", [("check",), ("check", "write")], ids=["checked", "written"])
def test_a_successor_that_comes_after_the_check_waits_for_the_end(
    server_database: Database, steps: tuple[str, ...], ending: str
) -> None:
    for old, new in pairs(server_database):
        old.advance()
        for step in steps:
            getattr(old, step)()
        with in_thread(new.advance) as advancing:
            eventually(server_database.waits)
            assert advancing.is_alive()
            if "write" not in steps:
                old.write()
            getattr(old, ending)()
        # What comes after `advance` sees whatever the old one has committed, and no more of it.
        seen = new.database.run(new.connection, f"SELECT * FROM entry WHERE token = '{old.token}'")
        assert len(seen) == (ending == "commit")
        with pytest.raises(StaleToken):
            old.check()
        old.rollback()
        new.rollback()


def test_in_sqlite_a_successor_is_told_that_the_file_is_locked(sqlite: Database) -> None:
    old = Leader(sqlite, "", 5)
    new = SQLFence(sqlite.connect(timeout=0), RESOURCE)
    old.check()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        new.advance(NEW)
    old.write()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        new.advance(NEW)
    old.commit()
    new.advance(NEW)
    with pytest.raises(StaleToken):
        old.check()


def test_a_check_that_waits_for_a_successor_is_refused_when_that_commits(
    server_database: Database,
) -> None:
    for old, new in pairs(server_database):
        old.advance()
        new.check()  # without advance: the fence is raised by the first write of the term
        new.write()

        def check(old: Leader = old) -> None:
            with pytest.raises((StaleToken, *CONFLICTS[:1])):
                old.check()

        with in_thread(check):
            eventually(server_database.waits)
            new.commit()
        old.rollback()
        assert server_database.entries()[-1] == new.token


def test_a_check_that_waits_for_a_successor_passes_when_that_rolls_back(
    server_database: Database,
) -> None:
    for old, new in pairs(server_database):
        old.advance()
        new.check()
        with in_thread(old.check):
            eventually(server_database.waits)
            new.rollback()
        old.write()
        old.commit()
        assert server_database.highest() == old.token


def test_a_snapshot_older_than_the_successor_does_not_get_a_stale_write_in(
    database: Database,
) -> None:
    for old, new in pairs(database):
        old.advance()
        if isinstance(database, SQLite):
            database.run(old.connection, "BEGIN")  # deferred: it reads first, and would write later
        database.run(old.connection, "SELECT * FROM entry")  # the snapshot is of now
        new.advance()
        refusals = (StaleToken, psycopg.errors.SerializationFailure, sqlite3.OperationalError)
        with pytest.raises(refusals):
            old.check()
        old.rollback()


def test_writes_before_the_check_are_as_safe_as_those_after_it(database: Database) -> None:
    old, new = pairs(database)[0]
    old.advance()
    old.write()
    if not isinstance(database, SQLite):  # there the file is locked by now
        new.advance()
        with pytest.raises(StaleToken):
            old.check()
        old.rollback()
        assert database.entries() == []


def test_two_first_terms_at_the_same_time_leave_the_higher_one(database: Database) -> None:
    for _ in range(5):
        resource = f"{RESOURCE} {random.random()}"
        fences = [SQLFence(database.connect(), resource) for _ in range(2)]
        barrier = threading.Barrier(2)

        def advance(
            n: int, fences: list[SQLFence] = fences, at: threading.Barrier = barrier
        ) -> None:
            at.wait()
            try:
                fences[n].advance(token(n + 1))
            except StaleToken:
                assert n == 0

        with in_thread(partial(advance, 0)), in_thread(partial(advance, 1)):
            pass
        assert fences[0].highest() == token(2)


def test_accepted_tokens_never_decrease_whatever_the_order(database: Database) -> None:
    levels = database.isolation_levels
    turns = 24 // len(levels)

    def lead(isolation: str, seed: int) -> None:
        rng = random.Random(seed)
        connection = database.connect(isolation)
        fence = SQLFence(connection, RESOURCE)
        for turn in range(turns):
            # They rise, as tokens do: after the highest one of all, nothing would be accepted.
            shown = token(turn + rng.randrange(1, 10))
            try:
                if rng.random() < 0.3:
                    fence.advance(shown)
                with fence.transaction(shown) as cursor:
                    cursor.execute(f"INSERT INTO entry (token) VALUES ('{shown}')")
                    if rng.random() < 0.2:
                        raise RuntimeError("the leader changes its mind")
            except (StaleToken, RuntimeError, *CONFLICTS):
                pass

    jobs: list[Callable[[], None]] = [
        partial(lead, level, seed) for level in levels for seed in range(4)
    ]
    run_all(jobs)
    values = [entry.value for entry in database.entries()]
    assert values == sorted(values)
    assert len(set(values)) > 1
    highest = database.highest()
    assert highest is not None and highest.value >= values[-1]


def run_all(jobs: list[Callable[[], None]]) -> None:
    if jobs:
        with in_thread(jobs[0]):
            run_all(jobs[1:])


def test_a_crash_between_advance_and_write_does_not_lower_the_fence(database: Database) -> None:
    connection = database.connect()
    fence = SQLFence(connection, RESOURCE)
    fence.advance(NEW)
    fence.check(NEW)
    database.write(connection, NEW)
    connection.close()  # nothing of the transaction is left
    assert database.entries() == []
    with pytest.raises(StaleToken):
        SQLFence(database.connect(), RESOURCE).advance(OLD)


def test_a_check_that_is_rolled_back_raises_nothing(database: Database) -> None:
    connection = database.connect()
    fence = SQLFence(connection, RESOURCE)
    fence.advance(OLD)
    fence.check(NEW)
    connection.rollback()
    assert database.highest() == OLD


def test_another_resource_is_another_fence(server_database: Database) -> None:
    one, other = (SQLFence(server_database.connect(), name) for name in ("one", "One"))
    one.check(NEW)  # and holds it
    other.advance(OLD)
    assert (one.highest(), other.highest()) == (NEW, OLD)


def test_hold_keeps_a_successor_out_until_the_block_has_ended(server_database: Database) -> None:
    old, new = pairs(server_database)[0]
    entered, over = threading.Event(), threading.Event()

    def hold() -> None:
        with old.fence.hold(old.token):
            entered.set()
            assert over.wait(PATIENCE)

    with in_thread(hold):
        assert entered.wait(PATIENCE)
        with in_thread(new.advance) as advancing:
            eventually(server_database.waits)
            assert advancing.is_alive()
            over.set()
    with pytest.raises(StaleToken), old.fence.hold(old.token):
        pytest.fail("the block was run")


def test_hold_does_not_forget_its_token_when_the_block_raises(database: Database) -> None:
    fence = SQLFence(database.connect(), RESOURCE)
    with pytest.raises(RuntimeError), fence.hold(NEW):
        raise RuntimeError("half of it is done")
    with pytest.raises(StaleToken):
        fence.advance(OLD)


def test_the_databases_are_what_the_tests_take_them_for(server_database: Database) -> None:
    for level in server_database.isolation_levels:
        connection = server_database.connect(level)
        match server_database:
            case PostgreSQL():
                found = server_database.run(connection, "SHOW transaction_isolation")
            case MariaDB():
                found = server_database.run(connection, "SELECT @@tx_isolation")
        assert found[0][0].replace("-", " ").upper() == level
