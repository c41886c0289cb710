"""What is found, for people in a terminal, for a pipe, or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from leaderlock.cli import exits
from leaderlock.observer import LeaderInfo

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Row = Mapping[str, Any]


def print_json(value: object, *, indent: int | None = 2) -> None:
    """One JSON document, or with indent=None one line of it. ASCII: no locale spoils it."""
    print(json.dumps(value, indent=indent), flush=True)


def print_rows(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """A table in a terminal; otherwise a line for each row, with tabs between the columns."""
    if sys.stdout is None or not sys.stdout.isatty():
        for row in rows:
            print_line(*(row.get(column) for column in columns))
        return
    from rich.console import Console  # takes long, and most of what is printed is no table
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column)) or "-") for column in columns))
    Console().print(table)


def print_line(*values: object) -> None:
    """One line, with tabs between the values."""
    print("\t".join(map(_cell, values)), flush=True)


def leader_row(info: LeaderInfo | None, since: float | None = None) -> dict[str, Any]:
    """A leader as all commands show it."""
    if info is None:
        return {"candidate": None, "token": None, "since": None, "metadata": None}
    return {
        "candidate": info.candidate_id,
        "token": str(info.token),
        "since": None if since is None else moment(since),
        "metadata": dict(info.metadata),
    }


def moment(seconds: float | None = None) -> str:
    """A time of day, given in seconds since 1970, or now."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return exits.printable(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
