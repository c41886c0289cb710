"""Measures leaderlock, its peers and the floors of the stores:  python -m benchmarks [--quick]

It starts the real servers and lets all take turns on each. docs/performance.md says what is
measured, and what the figures do not say.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import imports, tables
from benchmarks.field import FIELDS, OURS, Field, Missing
from benchmarks.measure import FULL, QUICK, Effort, Measurement
from benchmarks.results import OnStore, Results

_STORES = tuple(field.store for field in FIELDS)


def bench(
    *,
    stores: Annotated[str, typer.Option(help=f"Of {','.join(_STORES)}.")] = ",".join(_STORES),
    quick: Annotated[bool, typer.Option("--quick", help="Few rounds: does it work?")] = False,
    fail_overs: Annotated[int, typer.Option(help="Leaders to kill; 0: none.", min=0)] = 0,
    ttl: Annotated[int, typer.Option(help="The lease in seconds.", min=2)] = 3,
    json_: Annotated[Path | None, typer.Option("--json", help="Every figure.")] = None,
    png: Annotated[Path | None, typer.Option(help="The ratios as a picture.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="The tables for a page.")] = None,
) -> None:
    """Measure everybody side by side, in units of what each store can do at best."""
    wanted = stores.split(",")
    if not set(wanted) <= set(_STORES):
        raise typer.BadParameter(f"the stores are {', '.join(_STORES)}")
    effort = dataclasses.replace(QUICK if quick else FULL, fail_overs=fail_overs, ttl=float(ttl))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    results = Results(about(effort))
    console.print(
        *(f"{what}: {results.about[what]}" for what in ("date", "machine", "load")), "", sep="\n"
    )
    for field in FIELDS:
        if field.store in wanted:
            on = results.stores[field.store] = OnStore()
            with _progress(console) as tell:
                measure(field, effort, on, lambda what, s=field.store: tell(f"{s}: {what}"))  # type: ignore[misc]
            _show(console, field.store, on)
            _write(results, json_, png, markdown)
    with _progress(console) as tell:
        tell("imports")
        results.imports = imports.measure(effort.imports)
    _show_table(console, "imports", ("", "beyond python"), tables.imports(results))
    console.print(*tables.LEGEND, "", results.about["command"], sep="\n")
    _write(results, json_, png, markdown)
    ours = [on.figures.get(OURS) for on in results.stores.values()]
    if any(figures is None or figures.errors for figures in ours):
        raise typer.Exit(1)


def measure(field: Field, effort: Effort, on: OnStore, tell: Callable[[str], None]) -> None:
    """All figures of a store, into `on`; with the names of those who are missing."""
    pythons = {}
    for entry in field.entries:
        try:
            pythons[entry.name] = entry.python(sys.executable, may_install=effort.may_install)
        except Missing as missing:
            on.missing[entry.name] = str(missing)
    with field.start() as server:
        Measurement(field, server, pythons, effort, on).run(tell)


def about(effort: Effort) -> dict[str, object]:
    """What the figures are worth nothing without."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}, "
        f"Python {platform.python_version()}",
        "load": load,
        **dataclasses.asdict(effort),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """A line that changes in a terminal, a line for each step elsewhere."""
    if not console.is_terminal:
        yield lambda what: console.print(f"... {what}")
        return
    with console.status("") as status:
        yield status.update


def _show(console: Console, store: str, on: OnStore) -> None:
    _show_table(console, store, tables.SPEED, tables.speed(on))
    _show_table(console, "", tables.COST, tables.cost(on))
    for note in tables.notes(on):
        console.print(note)
    console.print()


def _show_table(
    console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate((title, *heads[1:])):
        table.add_column(head, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == OURS else None)
    console.print(table, "", sep="\n")


def _write(results: Results, json_: Path | None, png: Path | None, markdown: Path | None) -> None:
    """After each store, so that a run that is stopped has left something."""
    if json_ is not None:
        json_.write_text(json.dumps(results.as_json(), indent=2) + "\n", "utf-8")
    if markdown is not None:
        markdown.write_text(tables.markdown(results), "utf-8")
    if png is not None:
        from benchmarks.png import draw  # matplotlib takes a second to load

        draw(results).savefig(png)


if __name__ == "__main__":
    typer.run(bench)
