"""Other locks under the checker:  python -m benchmarks.peers --seconds 30 --seed 7 [--only NAME]

Each one, and leaderlock on the same store, contends under the same schedules of faults: for each
kind a run of its own, so that it is plain which fault broke what. An extra has what is needed:

    pip install 'leaderlock[peers]'
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peers.peers import FAULTS, INVARIANTS, LEGEND, PEERS, Row, markdown
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.words import began_at, describe

_COLOURS = {"held": "green", "broken": "bold red", "excused": "yellow", "-": "dim"}


def compare(
    *,
    seconds: Annotated[
        float, typer.Option(help="Of faults for each, at least; all kinds together.")
    ] = 30,
    seed: Annotated[int, typer.Option(help="Of the schedules.")] = 7,
    ttl: Annotated[int, typer.Option(help="The lease in seconds.", min=2)] = 2,
    only: Annotated[list[str] | None, typer.Option(help="A part of a name; repeatable.")] = None,
    faults: Annotated[str, typer.Option(help=f"Of {','.join(FAULTS)}.")] = ",".join(FAULTS),
    json_: Annotated[Path | None, typer.Option("--json", help="Every verdict.")] = None,
    markdown_: Annotated[Path | None, typer.Option("--markdown", help="The table.")] = None,
) -> None:
    """Run the peers and leaderlock under the same faults, and compare what they break."""
    kinds = faults.split(",")
    if not set(kinds) <= set(FAULTS):
        raise typer.BadParameter(f"the faults are {', '.join(FAULTS)}")
    peers = [peer for peer in PEERS if not only or any(part in peer.name for part in only)]
    if not peers:
        raise typer.BadParameter(f"the names are {', '.join(peer.name for peer in PEERS)}")
    command = shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]])
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    rows = []
    for peer in peers:
        runs: dict[str, Run] = {}
        for kind in kinds:
            with console.status(f"{peer.name}: {kind}"):
                runs[kind] = peer.run(kind, seconds=seconds / len(kinds), seed=seed, ttl=ttl)
        rows.append(Row(peer, runs))
        _tell(rows[-1], console)
        if json_ is not None:
            json_.write_text(json.dumps([_facts(row) for row in rows], indent=2) + "\n")
        if markdown_ is not None:
            markdown_.write_text(markdown(rows, command))
    console.print(_table(rows), *LEGEND, "", command, sep="\n")


def _tell(row: Row, console: Console) -> None:
    console.print(f"[bold]{row.peer.name}[/]")
    for fault, invariant, verdict in row.examples():
        console.print(f"  {fault:8} {invariant:3} {verdict.status}: {verdict.text}")


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in "", *INVARIANTS, "hung":
        table.add_column(heading, overflow="fold")
    for row in rows:
        cells = [row.cell(invariant) for invariant in INVARIANTS]
        coloured = [f"[{_COLOURS[cell.partition(':')[0]]}]{cell}[/]" for cell in cells]
        table.add_row(row.peer.name, *coloured, row.hung())
    return table


def _facts(row: Row) -> dict[str, object]:
    runs = {fault: _facts_of_run(run) for fault, run in row.runs.items()}
    return {"peer": row.peer.name, "hung": row.hung(), "runs": runs}


def _facts_of_run(run: Run) -> dict[str, object]:
    zero = began_at(run)
    return {
        "seed": run.seed,
        "ttl": run.ttl,
        "seconds": round(run.events[-1].at - zero),
        "verdicts": {
            verdict.invariant: {
                "status": verdict.status,
                "text": verdict.text,
                "events": [describe(event, zero) for event in verdict.counter_example],
            }
            for verdict in run.verdicts
        },
        "errors": sorted({e.data["error"] for e in run.events if e.what == "raised"}),
    }


if __name__ == "__main__":
    typer.run(compare)
