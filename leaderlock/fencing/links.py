"""One way to talk to a DB-API connection (PEP 249), and to SQLAlchemy's Connection and Session.

No driver is imported, and neither is SQLAlchemy: what a connection is, is seen by what it offers
and by the module that its class comes from.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from leaderlock.errors import ConfigurationError

# By the first part of the driver's module.
_DIALECTS = {
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "psycopg2cffi": "postgresql",
    "pg8000": "postgresql",
    "pgdb": "postgresql",
    "pymysql": "mysql",
    "cymysql": "mysql",
    "MySQLdb": "mysql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite3": "sqlite",
    "pysqlite3": "sqlite",
    "sqlcipher3": "sqlite",
}
_MYSQL_NO_SAVEPOINT = 1305  # ER_SP_DOES_NOT_EXIST
_MYSQL_IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS, which comes with every answer


class Cursor(Protocol):
    """What a fence needs of a DB-API cursor."""

    @property
    def description(self) -> Any: ...

    def execute(self, operation: Any, parameters: Any = ..., /) -> Any: ...

    def fetchone(self) -> Any: ...

    def close(self) -> Any: ...


class DBAPIConnection(Protocol):
    """What a fence needs of a DB-API connection."""

    def cursor(self) -> Any: ...

    def commit(self) -> Any: ...

    def rollback(self) -> Any: ...


class SQLAlchemyConnection(Protocol):
    """What a fence needs of SQLAlchemy's Connection."""

    def exec_driver_sql(self, statement: str, parameters: Any = ..., /) -> Any: ...

    def in_transaction(self) -> bool: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


class SQLAlchemySession(Protocol):
    """What a fence needs of SQLAlchemy's Session."""

    def connection(self) -> Any: ...

    def in_transaction(self) -> bool: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


SQLConnection = DBAPIConnection | SQLAlchemyConnection | SQLAlchemySession
"""What `SQLFence` takes."""


class Link(ABC):
    """A connection, whatever its kind.

    Attributes:
        dialect: as the driver or SQLAlchemy names it.
        paramstyle: how the driver wants parameters written.
    """

    dialect: str
    paramstyle: str

    @abstractmethod
    def run(self, statement: str, parameters: Any = ()) -> Sequence[Any] | None:
        """Run one statement. Returns its first row, if it has rows; raises what the driver does."""

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def rollback(self) -> None: ...

    @abstractmethod
    def has_begun(self) -> bool:
        """Whether a transaction is known to be open, in which the program may have written."""

    @abstractmethod
    def driver_connection(self) -> Any:
        """The driver's own."""

    def lasts(self) -> bool:
        """Whether what was just locked stays locked after the statement.

        As the server says it: that a connection is not in autocommit mode proves nothing, and
        that it is in it neither, if the program has said BEGIN.
        """
        said = _is_in_transaction(self.driver_connection())
        if said is not None:
            return said
        if self.dialect == "postgresql":
            # To lock a row takes a transaction id. In autocommit mode this statement has another.
            row = self.run("SELECT txid_current_if_assigned() IS NOT NULL")
            return bool(row and row[0])
        if self.dialect in ("mysql", "mariadb"):
            return self._keeps_savepoints()
        raise ConfigurationError(
            "this SQLite driver does not tell whether a transaction is open (`in_transaction`), so "
            "that nobody knows whether a check would last"
        )

    def _keeps_savepoints(self) -> bool:
        """MySQL forgets a savepoint at once where every statement is a transaction."""
        self.run("SAVEPOINT leaderlock")
        try:
            self.run("RELEASE SAVEPOINT leaderlock")
        except Exception as error:
            original = getattr(error, "orig", None) or error
            if original.args and original.args[0] == _MYSQL_NO_SAVEPOINT:
                return False
            raise
        return True


class DBAPILink(Link):
    """A driver's connection."""

    def __init__(
        self, connection: DBAPIConnection, dialect: str | None, paramstyle: str | None
    ) -> None:
        self._connection = connection
        modules = _modules_of(connection)
        names = [module.partition(".")[0] for module in modules]
        self.dialect = dialect or next((_DIALECTS[n] for n in names if n in _DIALECTS), "")
        styles = (getattr(sys.modules.get(m), "paramstyle", None) for m in modules)
        self.paramstyle = paramstyle or next((s for s in styles if isinstance(s, str)), "")
        for name, value in (("dialect", self.dialect), ("paramstyle", self.paramstyle)):
            if not value:
                raise ConfigurationError(
                    f"the {name} of {type(connection).__module__}.{type(connection).__qualname__} "
                    f"is not known: give it as {name}="
                )

    def run(self, statement: str, parameters: Any = ()) -> Sequence[Any] | None:
        cursor = self._connection.cursor()
        try:
            # Without parameters a driver may leave the text as it is; ours has no percent signs.
            cursor.execute(statement, parameters) if parameters else cursor.execute(statement)
            return _as_sequence(cursor.fetchone()) if cursor.description else None
        finally:
            cursor.close()

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()

    def has_begun(self) -> bool:
        if self.dialect == "sqlite" and getattr(self._connection, "autocommit", None) is False:
            return False  # Python 3.12: it is never without one
        return bool(_is_in_transaction(self._connection))

    def driver_connection(self) -> Any:
        return self._connection


class SQLAlchemyLink(Link):
    """SQLAlchemy's Connection or Session; the transaction is theirs."""

    def __init__(self, owner: Any, dialect: str | None, paramstyle: str | None) -> None:
        self._owner = owner
        bound = owner if hasattr(owner, "dialect") else owner.get_bind()
        self.dialect = dialect or bound.dialect.name
        self.paramstyle = paramstyle or bound.dialect.paramstyle
        if not hasattr(owner, "commit"):
            raise ConfigurationError("SQLAlchemy 2.0 is needed: this Connection has no commit()")

    def _present(self) -> Any:
        """The Connection; a Session takes another one for every transaction."""
        return self._owner if hasattr(self._owner, "exec_driver_sql") else self._owner.connection()

    def run(self, statement: str, parameters: Any = ()) -> Sequence[Any] | None:
        result = self._present().exec_driver_sql(statement, parameters or None)
        return _as_sequence(result.fetchone()) if result.returns_rows else None

    def commit(self) -> None:
        self._owner.commit()

    def rollback(self) -> None:
        self._owner.rollback()

    def has_begun(self) -> bool:
        return bool(self._owner.in_transaction())

    def driver_connection(self) -> Any:
        return self._present().connection.driver_connection


def link_to(connection: Any, dialect: str | None, paramstyle: str | None) -> Link:
    """Find out what a connection is.

    Raises:
        ConfigurationError: it is none, or one for asyncio, or has to be told more of.
    """
    if inspect.iscoroutinefunction(getattr(connection, "commit", None)):
        raise ConfigurationError(
            f"{type(connection).__qualname__} is for asyncio, and a fence talks to a database in a "
            "plain way: give it a plain connection, with SQLAlchemy inside "
            "`await connection.run_sync(...)`"
        )
    if hasattr(connection, "exec_driver_sql") or (
        hasattr(connection, "get_bind") and hasattr(connection, "connection")
    ):
        return SQLAlchemyLink(connection, dialect, paramstyle)
    missing = [n for n in ("cursor", "commit", "rollback") if not hasattr(connection, n)]
    if missing:
        raise ConfigurationError(
            f"not a DB-API connection: {type(connection).__qualname__} has no "
            f"{' and no '.join(missing)}"
        )
    return DBAPILink(connection, dialect, paramstyle)


def _modules_of(connection: object) -> list[str]:
    """Of its class, those that this one is made of, and the packages around them."""
    found = []
    for kind in type(connection).__mro__:
        parts = kind.__module__.split(".")
        found += [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return found


def _is_in_transaction(connection: Any) -> bool | None:
    """What the driver knows from the server's last answer; None: it does not tell."""
    known = getattr(connection, "in_transaction", None)  # sqlite3, MySQL's own
    if isinstance(known, bool):
        return known
    status = getattr(getattr(connection, "info", None), "transaction_status", None)  # psycopg
    if isinstance(status, int):
        return status in (1, 2, 3)  # libpq: active, in a transaction, in a failed one
    status = getattr(connection, "server_status", None)  # pymysql
    if isinstance(status, int):
        return bool(status & _MYSQL_IN_TRANSACTION)
    return None


def _as_sequence(row: Any) -> Sequence[Any] | None:
    """A row as the driver gives it; some can be told to give dictionaries, or what they like."""
    if row is None or isinstance(row, Sequence):
        return row
    if isinstance(row, Mapping):
        return list(row.values())
    try:
        return list(row)  # sqlite3.Row, SQLAlchemy's
    except TypeError:
        raise ConfigurationError(
            f"the connection turns rows into {type(row).__qualname__}: give the fence one that "
            "leaves them tuples"
        ) from None
