"""PostgreSQL and MariaDB do what the tests of fences rely on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import psycopg
import pymysql
import pytest

from leaderlock.testing.servers.mariadb import MariaDBServer
from leaderlock.testing.servers.postgresql import PostgreSQLServer
from leaderlock.testing.servers.process import Server


def connect_postgresql(server: Server) -> Any:
    return psycopg.connect(server.url, autocommit=True)


def connect_mariadb(server: Server) -> Any:
    connection = pymysql.connect(host="127.0.0.1", port=server.port, user="root", autocommit=True)
    connection.cursor().execute("CREATE DATABASE IF NOT EXISTS test")
    connection.select_db("test")
    return connection


@pytest.mark.parametrize(
    ("kind", "connect"),
    [(PostgreSQLServer, connect_postgresql), (MariaDBServer, connect_mariadb)],
    ids=["postgresql", "mariadb"],
)
def test_a_database_keeps_what_it_has_committed_over_a_crash_and_ends_while_clients_are_there(
    kind: type[Server], connect: Callable[[Server], Any]
) -> None:
    with kind() as server:
        with connect(server) as connection:
            connection.cursor().execute("CREATE TABLE kept (number integer)")
            connection.cursor().execute("INSERT INTO kept VALUES (7)")
            server.kill()
        server.start()
        with connect(server) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT number FROM kept")
            assert cursor.fetchall()[0] == (7,)
            server.restart()
        folder = server.folder
    assert not folder.exists()
    assert not server.running


def test_a_killed_postgresql_takes_those_along_that_talk_to_clients() -> None:
    with PostgreSQLServer() as server, connect_postgresql(server) as connection:
        # Such a process ends by itself when it sees that the server is gone; this one is late.
        os.kill(connection.info.backend_pid, signal.SIGSTOP)
        server.kill()
        server.start()
