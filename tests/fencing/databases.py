"""Real databases, as the tests of the fence in SQL reach them."""

from __future__ import annotations

import sqlite3
import uuid
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from leaderlock.fencing import SQLFence
from leaderlock.testing.servers.mariadb import MariaDBServer
from leaderlock.testing.servers.postgresql import PostgreSQLServer
from leaderlock.tokens import FencingToken

RESOURCE = "billing"


def token(value: int, epoch: int = 1, source: str = "redis:a") -> FencingToken:
    return FencingToken(epoch, value, source)


class Database(ABC):
    """A database of its own with the fence's table, and a table `entry` that leaders write to."""

    dialect: str
    isolation_levels: tuple[str, ...]
    serial: str

    def __init__(self) -> None:
        self._opened: list[Any] = []

    def prepare(self) -> None:
        connection = self.connect()
        SQLFence(connection, RESOURCE).create_table()
        self.run(connection, f"CREATE TABLE entry (id {self.serial}, token char(30) NOT NULL)")
        connection.commit()

    def connect(self, isolation: str = "", **options: Any) -> Any:
        """A connection that is closed at the end of the test."""
        connection = self.open(**options)
        self._opened.append(connection)
        if isolation:
            self.isolate(connection, isolation)
        return connection

    @abstractmethod
    def open(self, **options: Any) -> Any: ...

    def isolate(self, connection: Any, level: str) -> None:
        raise NotImplementedError

    @abstractmethod
    def waits(self) -> bool:
        """Whether a transaction waits for a lock of another."""

    @abstractmethod
    def sqlalchemy_url(self) -> str: ...

    def run(self, connection: Any, statement: str) -> Any:
        with closing(connection.cursor()) as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def write(self, connection: Any, shown: FencingToken) -> None:
        self.run(connection, f"INSERT INTO entry (token) VALUES ('{shown}')")

    def entries(self) -> list[FencingToken]:
        """In the order in which they were written."""
        connection = self.connect()
        rows = self.run(connection, "SELECT token FROM entry ORDER BY id")
        connection.rollback()
        return [FencingToken.parse(row[0]) for row in rows]

    def highest(self) -> FencingToken | None:
        connection = self.connect()
        try:
            return SQLFence(connection, RESOURCE).highest()
        finally:
            connection.rollback()

    def close(self) -> None:
        for connection in self._opened:
            with suppress(Exception):  # a test may have closed it
                connection.close()


class PostgreSQL(Database):
    dialect = "postgresql"
    isolation_levels = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    serial = "bigserial PRIMARY KEY"

    def __init__(self, server: PostgreSQLServer) -> None:
        super().__init__()
        self._server = server
        self._name = f"db_{uuid.uuid4().hex}"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self._name}".encode())
        self.url = server.url.rpartition("/")[0] + f"/{self._name}"

    def open(self, **options: Any) -> Any:
        return psycopg.connect(self.url, **options)

    def isolate(self, connection: Any, level: str) -> None:
        connection.isolation_level = psycopg.IsolationLevel[level.replace(" ", "_")]

    def waits(self) -> bool:
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            ).fetchone()
        return bool(found and found[0])

    def sqlalchemy_url(self) -> str:
        return self.url.replace("postgresql:", "postgresql+psycopg:")


class MariaDB(Database):
    dialect = "mysql"
    isolation_levels = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    serial = "bigint AUTO_INCREMENT PRIMARY KEY"

    def __init__(self, server: MariaDBServer) -> None:
        super().__init__()
        self._server = server
        self._name = f"db_{uuid.uuid4().hex}"
        with closing(pymysql.connect(host="127.0.0.1", port=server.port, user="root")) as c:
            self.run(c, f"CREATE DATABASE {self._name}")

    def open(self, **options: Any) -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=self._server.port, user="root", database=self._name, **options
        )

    def isolate(self, connection: Any, level: str) -> None:
        self.run(connection, f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")

    def waits(self) -> bool:
        with closing(self.open()) as connection:
            where = "WHERE trx_state = 'LOCK WAIT'"
            return bool(
                self.run(connection, f"SELECT * FROM information_schema.innodb_trx {where}")
            )

    def sqlalchemy_url(self) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self._server.port}/{self._name}"


class SQLite(Database):
    dialect = "sqlite"
    isolation_levels = ("",)  # there is but one
    serial = "integer PRIMARY KEY AUTOINCREMENT"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "file.db"
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    def open(self, **options: Any) -> Any:
        return sqlite3.connect(self._path, **{"check_same_thread": False, "timeout": 20} | options)

    def waits(self) -> bool:
        raise NotImplementedError("SQLite does not tell")

    def sqlalchemy_url(self) -> str:
        return f"sqlite:///{self._path}"
