"""The command line: settings in, a progress bar, the verdicts, and files for whoever wants more.

Exit status 0: nothing was violated; 1: something was; 2: wrong use;
3: the run itself failed, and proves nothing.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from leaderlock.errors import ConfigurationError
from leaderlock.testing.chaos import runner
from leaderlock.testing.chaos.nemesis import KINDS
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.runner import HarnessFailed
from leaderlock.testing.chaos.stores import STORES
from leaderlock.testing.chaos.verdicts import Status, Verdict
from leaderlock.testing.servers.programs import ServerError

_COLOURS = {Status.HELD: "green", Status.VIOLATED: "bold red", Status.REPORTED: "yellow"}


def chaos(
    *,
    backend: Annotated[str, typer.Option(help=", ".join(STORES))] = "etcd",
    nodes: Annotated[int, typer.Option(help="Servers; 0: three, or one Redis.", min=0)] = 0,
    candidates: Annotated[int, typer.Option(help="Processes that contend.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="How long faults are injected.", min=1)] = 60,
    seed: Annotated[int | None, typer.Option(help="Of the schedule; default: a new one.")] = None,
    ttl: Annotated[float, typer.Option(help="The lease in seconds.", min=0.5)] = 3,
    faults: Annotated[str, typer.Option(help=f"Of {', '.join(KINDS)}; default: all.")] = "",
    url: Annotated[
        str,
        typer.Option(
            help="A store of yours in place of one that is started.",
            envvar="LEADERLOCK_CHAOS_URL",
            show_envvar=True,
        ),
    ] = "",
    candidate: Annotated[
        str, typer.Option(help="What contends: leaderlock, or module:function.")
    ] = "leaderlock",
    report: Annotated[Path | None, typer.Option(help="A picture, as a page.")] = None,
    png: Annotated[Path | None, typer.Option(help="A picture.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="The run and its verdicts.")] = None,
    keep_logs: Annotated[Path | None, typer.Option(help="A folder for every event.")] = None,
) -> None:
    """Hold elections under faults, and check what leaderlock promises."""
    settings = runner.Settings(
        backend=backend,
        nodes=nodes,
        candidates=candidates,
        seconds=seconds,
        seed=seed,
        ttl=ttl,
        faults=tuple(part.strip() for part in faults.split(",") if part.strip()),
        url=url,
        candidate=candidate,
        logs=keep_logs,
    )
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        done = _run(settings, console)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    except (HarnessFailed, ServerError) as error:
        typer.echo(f"The run proves nothing: {error}", err=True)
        raise typer.Exit(3) from error
    _show(done, console)
    _write(done, report, png, json_)
    raise typer.Exit(1 if done.violations else 0)


def _run(settings: runner.Settings, console: Console) -> Run:
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=1.0)
        told = ""

        def tell(stage: str, done: float) -> None:
            nonlocal told
            progress.update(bar, description=stage, completed=done)
            if stage != told and not console.is_terminal:
                console.print(stage)
            told = stage

        return runner.run(settings, tell)


def _show(done: Run, console: Console) -> None:
    console.print(
        f"\n{done.store}, {done.nodes} nodes, {done.candidates} candidates, ttl {done.ttl:g} s, "
        f"{done.seconds:g} s of {', '.join(done.faults)}; seed {done.seed}"
    )
    for note in done.notes:
        console.print(note)
    table = Table(box=None, pad_edge=False)
    for heading in "", "invariant", "verdict", "":
        table.add_column(heading, overflow="fold")
    for verdict in done.verdicts:
        colour = _COLOURS.get(verdict.status, "dim")
        status = f"[{colour}]{verdict.status}[/]"
        table.add_row(verdict.invariant, verdict.title, status, verdict.text)
    console.print(table)
    for verdict in done.verdicts:
        if verdict.counter_example:
            _show_example(verdict, done, console)


def _show_example(verdict: Verdict, done: Run, console: Console) -> None:
    console.print(f"\n{verdict.invariant}: {verdict.text}", highlight=False)
    start = done.events[0].at
    for event in verdict.counter_example:
        data = ", ".join(f"{name}={value}" for name, value in event.data.items())
        console.print(
            f"  {event.at - start:9.3f} s  {event.who:10} {event.what:12} {data}",
            highlight=False,
            markup=False,
        )


def _write(done: Run, report: Path | None, png: Path | None, json_: Path | None) -> None:
    if report is not None:
        from leaderlock.testing.chaos.report import write_html

        write_html(report, done)
    if png is not None:
        from leaderlock.testing.chaos.report import write_png

        write_png(png, done)
    if json_ is not None:
        facts = asdict(done)
        facts |= {"events": len(done.events), "counts": done.counts}
        json_.write_text(json.dumps(facts, indent=2, default=dict) + "\n", encoding="utf-8")


def main() -> None:
    """Run the command."""
    signal.signal(signal.SIGTERM, _end)
    typer.run(chaos)


def _end(signum: int, frame: object) -> None:
    """In order, so that nothing is left."""
    sys.exit(128 + signum)
