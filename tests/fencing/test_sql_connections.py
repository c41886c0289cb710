"""Which connections the fence in SQL takes, and what it says to those that it cannot use."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from typing import Any

import psycopg
import psycopg.rows
import pymysql
import pymysql.cursors
import pytest
import sqlalchemy
import sqlalchemy.orm
from sqlalchemy.ext.asyncio import create_async_engine

from leaderlock import ConfigurationError, StaleToken
from leaderlock.fencing import SQLFence, ddl
from tests.fencing.databases import RESOURCE, Database, token

OLD, NEW = token(5), token(6)
AUTOCOMMIT: dict[str, dict[str, Any]] = {
    "postgresql": {"autocommit": True},
    "mysql": {"autocommit": True},
    "sqlite": {"isolation_level": None},
}


class Wrapped:
    """A connection of some pool, that shows no more than PEP 249 asks for."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.cursor, self.commit = connection.cursor, connection.commit
        self.rollback = connection.rollback


def wrapped(database: Database, **options: Any) -> Any:
    return Wrapped(database.connect(**options))


# Connections that commit every statement


def test_in_autocommit_mode_a_check_is_refused_with_what_to_do(database: Database) -> None:
    fence = SQLFence(database.connect(**AUTOCOMMIT[database.dialect]), RESOURCE)
    with pytest.raises(ConfigurationError, match=r"autocommit.*fence\.transaction\(\)"):
        fence.check(OLD)


def test_a_driver_that_tells_nothing_is_asked_by_sql(server_database: Database) -> None:
    style = {"dialect": server_database.dialect, "paramstyle": "format"}
    auto = wrapped(server_database, **AUTOCOMMIT[server_database.dialect])
    with pytest.raises(ConfigurationError, match="autocommit"):
        SQLFence(auto, RESOURCE, **style).check(OLD)
    SQLFence(auto, RESOURCE, **style).advance(OLD)
    plain = wrapped(server_database)
    fence = SQLFence(plain, RESOURCE, **style)
    fence.check(NEW)
    server_database.write(plain, NEW)
    plain.commit()
    assert (server_database.highest(), server_database.entries()) == (NEW, [NEW])


def test_a_sqlite_driver_that_tells_nothing_is_refused(sqlite: Database) -> None:
    fence = SQLFence(wrapped(sqlite), RESOURCE, dialect="sqlite", paramstyle="qmark")
    with pytest.raises(ConfigurationError, match="in_transaction"):
        fence.check(OLD)


def test_in_autocommit_mode_a_transaction_that_was_begun_by_hand_is_one(
    database: Database,
) -> None:
    connection = database.connect(**AUTOCOMMIT[database.dialect])
    fence = SQLFence(connection, RESOURCE)
    database.run(connection, "BEGIN")
    fence.check(OLD)
    database.write(connection, OLD)
    database.run(connection, "ROLLBACK")
    assert (database.highest(), database.entries()) == (None, [])


def test_advance_and_transaction_work_in_autocommit_mode_too(database: Database) -> None:
    connection = database.connect(**AUTOCOMMIT[database.dialect])
    fence = SQLFence(connection, RESOURCE)
    fence.advance(OLD)
    with fence.transaction(OLD) as cursor:
        cursor.execute(f"INSERT INTO entry (token) VALUES ('{OLD}')")
    with pytest.raises(RuntimeError), fence.transaction(NEW) as cursor:
        cursor.execute(f"INSERT INTO entry (token) VALUES ('{NEW}')")
        raise RuntimeError("no")
    assert (database.highest(), database.entries()) == (OLD, [OLD])
    fence.advance(NEW)
    with pytest.raises(StaleToken):
        fence.advance(OLD)
    with pytest.raises(StaleToken), fence.transaction(OLD):
        pytest.fail("the block was run")
    with fence.transaction(NEW):  # the refusals have left no transaction open
        pass


# Connections that are in the middle of something


def test_advance_does_not_commit_what_it_has_not_begun(database: Database) -> None:
    connection = database.connect()
    fence = SQLFence(connection, RESOURCE)
    database.write(connection, OLD)
    for commits in (
        lambda: fence.advance(OLD),
        fence.create_table,
        lambda: fence.transaction(OLD).__enter__(),
        lambda: fence.hold(OLD).__enter__(),
    ):
        with pytest.raises(ConfigurationError, match="a transaction open"):
            commits()
    connection.rollback()
    fence.advance(OLD)
    assert database.entries() == []


def test_a_refusal_leaves_the_transaction_to_its_owner(database: Database) -> None:
    connection = database.connect()
    fence = SQLFence(connection, RESOURCE)
    fence.advance(NEW)
    with pytest.raises(StaleToken):
        fence.check(OLD)
    connection.rollback()
    with fence.transaction(NEW):  # the connection is as good as before
        pass


def test_what_the_driver_raises_goes_through(postgres: Database) -> None:
    connection = postgres.connect()
    fence = SQLFence(connection, RESOURCE)
    with pytest.raises(psycopg.errors.UndefinedTable):
        postgres.run(connection, "SELECT * FROM nowhere")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        fence.check(OLD)
    connection.rollback()
    with pytest.raises(psycopg.errors.UndefinedTable), fence.transaction(OLD) as cursor:
        cursor.execute("SELECT * FROM nowhere")
    fence.advance(OLD)
    connection.close()
    with pytest.raises(psycopg.OperationalError):
        fence.advance(OLD)


def test_without_its_table_the_fence_lets_nobody_through(database: Database) -> None:
    fence = SQLFence(database.connect(), RESOURCE, table="other")
    errors = (psycopg.Error, pymysql.Error, sqlite3.Error)
    with pytest.raises(errors):
        fence.advance(OLD)
    with pytest.raises(errors), fence.transaction(OLD):
        pytest.fail("the block was run")
    fence.create_table()
    fence.create_table()  # harmless
    fence.advance(OLD)
    assert database.highest() is None  # which is in the other table


# Rows of every shape, parameters of every style


@pytest.mark.parametrize("factory", ["dict_row", "namedtuple_row", "tuple_row"])
def test_rows_may_have_any_shape_in_psycopg(postgres: Database, factory: str) -> None:
    connection = postgres.connect(row_factory=getattr(psycopg.rows, factory))
    fence = SQLFence(connection, RESOURCE)
    fence.advance(NEW)
    assert fence.highest() == NEW


def test_rows_that_are_no_rows_are_refused(postgres: Database) -> None:
    connection = postgres.connect(row_factory=psycopg.rows.scalar_row)
    fence = SQLFence(connection, RESOURCE)
    with pytest.raises(ConfigurationError, match="turns rows into int"):
        fence.advance(OLD)


def test_rows_may_be_dictionaries_in_pymysql(mysql: Database) -> None:
    connection = mysql.connect(cursorclass=pymysql.cursors.DictCursor)
    fence = SQLFence(connection, RESOURCE)
    fence.advance(NEW)
    assert fence.highest() == NEW


def test_rows_may_be_sqlites_own(sqlite: Database) -> None:
    connection = sqlite.connect()
    connection.row_factory = sqlite3.Row
    fence = SQLFence(connection, RESOURCE)
    fence.advance(NEW)
    assert fence.highest() == NEW


# "numeric", too, until Python 3.13: then sqlite3 takes a sequence for `:1` no longer.
@pytest.mark.parametrize(
    "paramstyle", ["qmark", "named", *(["numeric"] if sys.version_info < (3, 14) else [])]
)
def test_parameters_may_be_written_in_the_styles_that_sqlite_reads(
    sqlite: Database, paramstyle: str
) -> None:
    fence = SQLFence(sqlite.connect(), RESOURCE, paramstyle=paramstyle)
    fence.advance(NEW)
    with pytest.raises(StaleToken):
        fence.check(OLD)


@pytest.mark.parametrize("paramstyle", ["format", "pyformat"])
def test_parameters_may_be_written_in_the_styles_that_others_read(
    server_database: Database, paramstyle: str
) -> None:
    fence = SQLFence(server_database.connect(), RESOURCE, paramstyle=paramstyle)
    fence.advance(NEW)
    with pytest.raises(StaleToken):
        fence.check(OLD)


# What cannot be used is said when the fence is made


def test_what_a_driver_does_not_tell_has_to_be_given(sqlite: Database) -> None:
    connection = wrapped(sqlite)
    with pytest.raises(ConfigurationError, match=r"dialect of .*Wrapped.*give it as dialect="):
        SQLFence(connection, RESOURCE)
    with pytest.raises(ConfigurationError, match="paramstyle="):
        SQLFence(connection, RESOURCE, dialect="sqlite")


def test_unknown_names_are_refused_with_the_known_ones(sqlite: Database) -> None:
    connection = sqlite.connect()
    with pytest.raises(ConfigurationError, match=r"oracle.*postgresql, mysql, mariadb, sqlite"):
        SQLFence(connection, RESOURCE, dialect="oracle")
    with pytest.raises(ConfigurationError, match=r"dollar.*qmark, format, pyformat"):
        SQLFence(connection, RESOURCE, paramstyle="dollar")
    for table in ("", "a b", "a;b", "1a", "a.b.c", '"a"', None):
        with pytest.raises(ConfigurationError, match="letters, digits and _ only"):
            SQLFence(connection, RESOURCE, table=table)  # type: ignore[arg-type]
    for thing in (None, "sqlite:///file.db", object()):
        with pytest.raises(ConfigurationError, match="not a DB-API connection"):
            SQLFence(thing, RESOURCE)  # type: ignore[arg-type]


def test_connections_for_asyncio_are_refused_by_name() -> None:
    class AsyncConnection:
        async def commit(self) -> None: ...

    with pytest.raises(ConfigurationError, match="AsyncConnection is for asyncio"):
        SQLFence(AsyncConnection(), RESOURCE)  # type: ignore[arg-type]


def test_a_source_that_a_column_would_cut_off_is_refused(sqlite: Database) -> None:
    with pytest.raises(ConfigurationError, match="longer than 255"):
        SQLFence(sqlite.connect(), RESOURCE).advance(token(1, source="x" * 256))


def test_the_statement_for_a_migration_makes_the_table(database: Database) -> None:
    connection = database.connect()
    database.run(connection, ddl(database.dialect, "by_hand"))
    connection.commit()
    SQLFence(connection, RESOURCE, table="by_hand").advance(OLD)
    with pytest.raises(ConfigurationError, match="known are"):
        ddl("oracle")


# SQLAlchemy


def test_sqlalchemys_connections_and_sessions_are_taken_as_they_are(database: Database) -> None:
    engine = sqlalchemy.create_engine(database.sqlalchemy_url())
    insert = sqlalchemy.text("INSERT INTO entry (token) VALUES (:token)")
    with engine.connect() as connection:
        fence = SQLFence(connection, RESOURCE)
        fence.advance(OLD)
        with fence.transaction(OLD) as given:
            assert given is connection
            connection.execute(insert, {"token": str(OLD)})
        with connection.begin():
            fence.check(OLD)
            connection.execute(insert, {"token": str(OLD)})
        with connection.begin(), pytest.raises(ConfigurationError, match="transaction open"):
            fence.advance(OLD)
    with sqlalchemy.orm.Session(engine) as session:
        fence = SQLFence(session, RESOURCE)
        with session.begin():
            fence.check(NEW)
            session.execute(insert, {"token": str(NEW)})
        fence.advance(NEW)
        with pytest.raises(StaleToken), fence.transaction(OLD):
            pytest.fail("the block was run")
    engine.dispose()
    assert database.entries() == [OLD, OLD, NEW]


def test_sqlalchemys_autocommit_is_noticed_too(database: Database) -> None:
    engine = sqlalchemy.create_engine(database.sqlalchemy_url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        fence = SQLFence(connection, RESOURCE)
        with pytest.raises(ConfigurationError, match="autocommit"):
            fence.check(OLD)
        connection.rollback()
        fence.advance(OLD)
        with pytest.raises(RuntimeError), fence.transaction(NEW):
            raise RuntimeError("no")
    engine.dispose()
    assert database.highest() == OLD


def test_in_asyncio_a_fence_runs_inside_run_sync(postgres: Database) -> None:
    def check(connection: sqlalchemy.Connection) -> None:
        SQLFence(connection, RESOURCE).check(NEW)

    def advance(connection: sqlalchemy.Connection) -> None:
        SQLFence(connection, RESOURCE).advance(OLD)

    async def main() -> None:
        engine = create_async_engine(postgres.sqlalchemy_url())
        async with engine.connect() as connection:
            with pytest.raises(ConfigurationError, match=r"AsyncConnection.*run_sync"):
                SQLFence(connection, RESOURCE)  # type: ignore[arg-type]
            await connection.run_sync(advance)
            async with connection.begin():
                await connection.run_sync(check)
            with pytest.raises(StaleToken):
                await connection.run_sync(advance)
        await engine.dispose()

    asyncio.run(main())
    assert postgres.highest() == NEW
