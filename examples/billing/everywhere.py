"""The demo on every store, one after the other: `make demo-all`.

The stores are those of the tests, each started for its run and stopped after it. Needs what
`make test` sets up.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.etcd import EtcdServer
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.programs import ServerError
from leaderlock.testing.servers.redis import RedisServer, ValkeyServer
from leaderlock.testing.servers.zookeeper import ZooKeeperServer

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@contextlib.contextmanager
def no_server() -> Iterator[None]:
    """What sqlite needs: the demo makes a file of its own."""
    yield None


STORES: dict[str, Callable[[], AbstractContextManager[Server | None]]] = {
    "sqlite": no_server,
    "redis": RedisServer,
    "valkey": ValkeyServer,
    "etcd": EtcdServer,
    "zookeeper": ZooKeeperServer,
    "consul": ConsulServer,
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a run on one store came to; times in seconds, None for what it did not get to."""

    store: str
    killed: float | None
    paused: float | None
    resigned: float | None
    refused: int
    exactly_once: bool
    problems: list[str]

    @classmethod
    def of(cls, store: str, report: dict[str, Any]) -> Row:
        """From the report that the demo prints as JSON."""
        after = {each["fault"]: each["seconds"] for each in report["failovers"]}
        return cls(
            store=store,
            killed=after.get("killed"),
            paused=after.get("paused"),
            resigned=after.get("resigned"),
            refused=report["charges_refused"],
            exactly_once=report["ok"],
            problems=report["problems"],
        )


def run(store: str, ttl: float, subscriptions: int) -> Row:
    """Start the store, run the demo on it, stop the store."""
    with STORES[store]() as server:
        environment = {**os.environ, "DEMO_URL": server.url if server else ""}
        command = [sys.executable, "-m", "examples.billing", "--json", "--ttl", str(ttl)]
        demo = subprocess.run(
            [*command, "--subscriptions", str(subscriptions)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if not demo.stdout:
        problem = demo.stderr.strip() or f"the demo ended with status {demo.returncode}"
        return Row(store, None, None, None, 0, False, [problem])
    return Row.of(store, json.loads(demo.stdout))


@app.command()
def main(
    store: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"One of {', '.join(STORES)}; may be repeated."),
    ] = None,
    ttl: Annotated[
        float, typer.Option(min=1.0, max=10.0, help="The lease in seconds, on every store.")
    ] = 2.0,
    subscriptions: Annotated[
        int, typer.Option(min=500, max=100_000, help="As of the demo itself.")
    ] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run the billing demo on every store, and compare.

    On each one a leader is killed, one is paused past its lease, one resigns. The
    exit status is 0 only if on every store every customer who was due was
    charged exactly once.
    """
    names = store or list(STORES)
    if unknown := set(names) - set(STORES):
        raise typer.BadParameter(f"no store {unknown.pop()!r}: there are {', '.join(STORES)}")
    console = Console(stderr=as_json, highlight=False)
    rows: list[Row] = []
    try:
        for number, name in enumerate(names, start=1):
            with working(console, f"{number} of {len(names)}: four servers bill over {name}"):
                rows.append(run(name, ttl, subscriptions))
            verdict = "exactly once" if rows[-1].exactly_once else "WENT WRONG"
            console.print(f"{name}: {verdict}")
    except ServerError as error:
        print(f"A store could not be started: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("Interrupted; all processes have ended.", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show(rows, ttl, console)
    raise typer.Exit(0 if all(row.exactly_once for row in rows) else 1)


@contextlib.contextmanager
def working(console: Console, text: str) -> Iterator[None]:
    """Something that moves in a terminal, one line in a pipe."""
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text)
        yield


def show(rows: list[Row], ttl: float, console: Console) -> None:
    """The table, and below it what went wrong."""
    table = Table(
        title=f"The same billing day on every store, ttl {ttl:g} s: seconds until the next leader",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("store")
    for column in ("after SIGKILL", "after SIGSTOP", "after resign", "charges refused"):
        table.add_column(column, justify="right")
    table.add_column("exactly once")
    for row in rows:
        table.add_row(
            row.store,
            *(_seconds(value) for value in (row.killed, row.paused, row.resigned)),
            str(row.refused),
            "[bold green]yes[/]" if row.exactly_once else "[bold red]NO[/]",
        )
    console.print()
    console.print(table)
    console.print("A leader that resigns ends its batch of 20 first, which is part of that time.")
    for row in rows:
        for problem in row.problems:
            console.print(f"{row.store}: {problem}", style="red", markup=False)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    app(prog_name="python -m examples.billing.everywhere")
