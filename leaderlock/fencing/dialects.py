"""The fence's one row in SQL: how it is made, locked, read and raised in each dialect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from leaderlock.errors import ConfigurationError

TABLE = "leaderlock_fence"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?", re.ASCII)
_PLACEHOLDER = re.compile(r":([a-z]+)")
_COLUMNS = "resource, epoch, token, source"


@dataclass(frozen=True, slots=True)
class Dialect:
    """Statements with placeholders `:name`; `{table}` is the table.

    Attributes:
        create: the table, unless it exists.
        ensure: insert the row, and do nothing if it exists; locks it where `locks_first`.
        lock: read the row, under a lock that lasts until the end of the transaction.
        locks_first: `ensure` has to come before `lock`, which by itself locks no row (SQLite), or
            locks the gap where none is, so that two first terms wait for each other (InnoDB).
        begin: a transaction on a connection that commits every statement.
    """

    create: str
    ensure: str
    lock: str
    locks_first: bool
    begin: str


_TABLE = """\
CREATE TABLE IF NOT EXISTS {{table}} (
    resource {name} PRIMARY KEY,
    epoch    {number} NOT NULL,
    token    {number} NOT NULL,
    source   {text} NOT NULL
){options}"""
_INSERT = f"INSERT INTO {{table}} ({_COLUMNS}) VALUES (:resource, :epoch, :token, :source)"
_SELECT = "SELECT epoch, token, source FROM {table} WHERE resource = :resource"
_RAISE = (
    "UPDATE {table} SET epoch = :epoch, token = :token, source = :source WHERE resource = :resource"
)

POSTGRESQL = Dialect(
    create=_TABLE.format(name="text", number="bigint", text="text", options=""),
    ensure=_INSERT + " ON CONFLICT (resource) DO NOTHING",
    lock=_SELECT + " FOR UPDATE",
    locks_first=False,
    begin="BEGIN",
)
MYSQL = Dialect(
    # Names that differ in case or accents are different ones; MyISAM would lock nothing.
    create=_TABLE.format(
        name="varchar(255)",
        number="bigint",
        text="varchar(255)",
        options=" ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    ),
    # INSERT IGNORE would take a shared lock of the row, and two of those never become exclusive.
    ensure=_INSERT + " ON DUPLICATE KEY UPDATE resource = {table}.resource",
    lock=_SELECT + " FOR UPDATE",
    locks_first=True,
    begin="BEGIN",
)
SQLITE = Dialect(
    create=_TABLE.format(name="text", number="integer", text="text", options=""),
    # Makes this the one transaction that may write, also where the row exists.
    ensure=_INSERT + " ON CONFLICT (resource) DO NOTHING",
    lock=_SELECT,
    locks_first=True,
    begin="BEGIN IMMEDIATE",
)
DIALECTS = {"postgresql": POSTGRESQL, "mysql": MYSQL, "mariadb": MYSQL, "sqlite": SQLITE}

_PARAMETERS: Mapping[str, Callable[[int, str], str]] = {
    "qmark": lambda number, name: "?",
    "format": lambda number, name: "%s",
    "pyformat": lambda number, name: f"%({name})s",
    "named": lambda number, name: f":{name}",
    "numeric": lambda number, name: f":{number}",
}
PARAMSTYLES = tuple(_PARAMETERS)
_BY_NAME = ("pyformat", "named")


class Statements:
    """The statements of one dialect, for one table, in a driver's way to write parameters."""

    def __init__(self, dialect: str, paramstyle: str, table: str) -> None:
        if not isinstance(table, str) or not _NAME.fullmatch(table):
            raise ConfigurationError(
                f"table={table!r}: letters, digits and _ only, with a schema and a dot before it "
                "if need be"
            )
        self._dialect = find_dialect(dialect)
        if paramstyle not in _PARAMETERS:
            raise ConfigurationError(
                f"paramstyle={paramstyle!r}: known are {', '.join(PARAMSTYLES)} (PEP 249)"
            )
        self._paramstyle = paramstyle
        self._table = table
        self.create = self._dialect.create.format(table=table)
        self.begin = self._dialect.begin
        self.locks_first = self._dialect.locks_first

    def ensure(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        return self._bind(self._dialect.ensure, values)

    def lock(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        return self._bind(self._dialect.lock, values)

    def read(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        return self._bind(_SELECT, values)

    def raise_to(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        return self._bind(_RAISE, values)

    def _bind(self, statement: str, values: Mapping[str, Any]) -> tuple[str, Any]:
        names: list[str] = []

        def place(match: re.Match[str]) -> str:
            names.append(match[1])
            return _PARAMETERS[self._paramstyle](len(names), match[1])

        text = _PLACEHOLDER.sub(place, statement.format(table=self._table))
        if self._paramstyle in _BY_NAME:
            return text, {name: values[name] for name in names}
        return text, tuple(values[name] for name in names)


def find_dialect(name: str) -> Dialect:
    """By its name; raises ConfigurationError for one that is not known."""
    if name not in DIALECTS:
        raise ConfigurationError(f"dialect={name!r}: known are {', '.join(DIALECTS)}")
    return DIALECTS[name]


def ddl(dialect: str, table: str = TABLE) -> str:
    """The statement that makes the fence's table, for a migration of yours.

    Args:
        dialect: "postgresql", "mysql", "mariadb" or "sqlite".
        table: its name.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    return Statements(dialect, "qmark", table).create
