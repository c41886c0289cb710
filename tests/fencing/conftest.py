"""A database of its own for each test, in each of the three."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fencing.databases import Database, MariaDB, PostgreSQL, SQLite


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    made = make_database(request, request.param, tmp_path)
    made.prepare()
    yield made
    made.close()


@pytest.fixture(params=["postgresql", "mariadb"])
def server_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Those that have servers, which lock rows."""
    made = make_database(request, request.param, tmp_path)
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    made = make_database(request, "postgresql", tmp_path)
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def mysql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    made = make_database(request, "mariadb", tmp_path)
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    made = SQLite(tmp_path)
    made.prepare()
    yield made
    made.close()


def make_database(request: pytest.FixtureRequest, name: str, folder: Path) -> Database:
    match name:
        case "postgresql":
            return PostgreSQL(request.getfixturevalue("postgresql"))
        case "mariadb":
            return MariaDB(request.getfixturevalue("mariadb"))
        case _:
            return SQLite(folder)
