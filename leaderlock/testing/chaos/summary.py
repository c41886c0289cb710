"""The command: python -m leaderlock.testing.chaos.summary FILE...

Makes one table, in Markdown, of the files that runs have written with --json: a row for each store.
Exit status 1: something was violated in one of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from leaderlock.testing.chaos.verdicts import Status

Facts = dict[str, Any]
_HEADINGS = "store", "runs", "minutes", "faults", "terms", "writes", "refused", "verdicts"


def summary(
    files: Annotated[list[Path], typer.Argument(help="Written by --json.", exists=True)],
) -> None:
    """One table of many runs."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    typer.echo("\n".join(table(runs)))
    raise typer.Exit(1 if any(_named(run, Status.VIOLATED) for run in runs) else 0)


def table(runs: Sequence[Facts]) -> list[str]:
    """The lines of the table."""

    def store(run: Facts) -> str:
        return str(run["store"])

    rows = [_row(name, list(of)) for name, of in groupby(sorted(runs, key=store), key=store)]
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _row(store: str, runs: Sequence[Facts]) -> tuple[str, ...]:
    def total(count: str) -> str:
        return f"{sum(run['counts'][count] for run in runs)}"

    minutes = sum(run["seconds"] for run in runs) / 60
    nodes = sorted({run["nodes"] for run in runs})
    seeds = sorted(run["seed"] for run in runs)
    return (
        f"{store}, {' or '.join(map(str, nodes))} servers",
        f"{len(runs)}, seeds {', '.join(map(str, seeds))}",
        f"{minutes:g}",
        *(total(count) for count in ("faults", "terms", "accepted", "refused")),
        _verdicts(runs),
    )


def _verdicts(runs: Sequence[Facts]) -> str:
    """What was not held in all runs, and in how many."""
    told = []
    for status in Status.VIOLATED, Status.REPORTED, Status.NOT_APPLICABLE:
        names = [name for run in runs for name in _named(run, status)]
        counted = [f"{name} in {names.count(name)}" for name in sorted(set(names), key=_number)]
        if counted:
            told.append(f"{status}: {', '.join(counted)}")
    return "; ".join(told) or "all held"


def _named(run: Facts, status: Status) -> list[str]:
    return [v["invariant"] for v in run["verdicts"] if v["status"] == status]


def _number(invariant: str) -> int:
    return int(invariant[1:])


if __name__ == "__main__":
    typer.run(summary)
