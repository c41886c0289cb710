"""The command line of the billing demo."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from examples.billing import report, scenario, view
from examples.billing.audit import audit
from examples.billing.events import now
from examples.billing.processes import ChildCrashed
from examples.billing.settings import Mode, Settings
from leaderlock import BackendRefused, BackendUnavailable, ConfigurationError, LeaderElector, Timing

HELP = """
Four servers elect a leader, and the leader charges the customers whose
subscription ends today.

While it does, the leader is killed; the next one is paused for longer than
its lease and wakes up late; the third resigns. In the end every customer
who was due must have been charged exactly once.

One sees who leads with which token, the progress, what is done to the
leaders, and a report with the terms, the fail-over times and the charges
that the payment service refused.

\b
Examples:
  python -m examples.billing                # charged exactly once
  python -m examples.billing --no-fence     # who wakes up late charges twice
  python -m examples.billing --no-election  # everybody charges everybody
  python -m examples.billing --url etcd://127.0.0.1:2379 --ttl 3
  python -m examples.billing --json | jq .customers
"""

EXIT_STATUS = """
Exit status:

  0  every customer who was due was charged exactly once, and nobody else was charged

  1  something went wrong, as --no-fence and --no-election are there to show

  2  wrong usage
"""

LEFT_OUT = "See what goes wrong without"
OUTPUT = "Output"

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode="rich")


def interrupted(signum: int, _: FrameType | None) -> NoReturn:
    """End like on Ctrl-C: with all processes ended and the folder removed."""
    sys.exit(128 + signum)


def choose_ttl(url: str) -> float:
    """Short, so that there is something to see; a Consul server takes no less than 10 as it is."""
    return 10.0 if url.startswith("consul") else 2.0


def check_store(url: str, ttl: float) -> Timing:
    """Refuse a wrong URL or ttl, or a store that is not there, before anything is started."""
    if url.startswith("memory:"):
        raise typer.BadParameter(
            "memory:// lives within one process, and the four servers are four processes; use"
            " sqlite:///path/file.db, or a server",
            param_hint="--url",
        )
    try:
        elector = LeaderElector(url, "billing", ttl=ttl)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        elector.leader()
    except (BackendUnavailable, BackendRefused) as error:
        raise typer.BadParameter(
            f"the store cannot be used: {error}", param_hint="--url"
        ) from error
    finally:
        elector.stop()
    return elector.timing


@app.command(help=HELP, epilog=EXIT_STATUS)
def main(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="DEMO_URL",
            show_envvar=False,
            help="The store that holds the election: redis://, etcd://, consul://, zookeeper:// or"
            " sqlite:///path/file.db. Without it, a sqlite file in the temporary folder. With a"
            " password in it, set it as the environment variable DEMO_URL.",
        ),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.5,
            max=30.0,
            help="A leader silent for so long is succeeded. Default 2; 10 on Consul, whose servers"
            " take no less.",
        ),
    ] = None,
    subscriptions: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=500,
            max=100_000,
            help="Two in five are due, but at most 1,000.",
        ),
    ] = 2000,
    seed: Annotated[
        int,
        typer.Option(metavar="N", help="Another seed makes other customers and prices."),
    ] = 1,
    no_fence: Annotated[
        bool,
        typer.Option(
            "--no-fence",
            rich_help_panel=LEFT_OUT,
            help="The payment service takes any token.",
        ),
    ] = False,
    no_election: Annotated[
        bool,
        typer.Option(
            "--no-election",
            rich_help_panel=LEFT_OUT,
            help="All four servers work at once, without any token.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=OUTPUT, help="Print the report only, as JSON."),
    ] = False,
    svg: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            rich_help_panel=OUTPUT,
            help="Also make a picture, an SVG file, of what is printed.",
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            rich_help_panel=OUTPUT,
            help="Keep the folder with the databases, and print its name.",
        ),
    ] = False,
) -> None:
    began = now()
    if not hasattr(signal, "SIGSTOP"):
        raise typer.BadParameter("pausing a process takes a Unix system (Linux, macOS)")
    check_picture(svg, as_json=as_json)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    try:
        with scratch_folder(keep=keep) as folder:
            store = url or f"sqlite://{folder}/election.db"
            ttl = ttl or choose_ttl(store)
            timing = check_store(store, ttl)
            settings = Settings(
                folder=folder,
                url=store,
                # A store that is used for real elections too must not see them joined.
                election=f"billing-demo-{uuid.uuid4().hex[:8]}",
                ttl=ttl,
                longest_failover=timing.worst_case_failover,
                subscriptions=subscriptions,
                seed=seed,
                day=date.today(),
                mode=choose_mode(no_fence=no_fence, no_election=no_election),
                began=began,
            )
            status = run(settings, as_json=as_json, svg=svg)
    except KeyboardInterrupt:
        print("Interrupted; all processes have ended.", file=sys.stderr)
        status = 128 + signal.SIGINT
    raise typer.Exit(status)


def check_picture(svg: Path | None, *, as_json: bool) -> None:
    """Refuse, before half a minute has gone by, a picture that cannot be made."""
    if svg is not None and as_json:
        raise typer.BadParameter("--json prints nothing to make a picture of", param_hint="--svg")
    if svg is not None and not svg.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {svg.parent}", param_hint="--svg")


@contextmanager
def scratch_folder(*, keep: bool) -> Iterator[Path]:
    """A new folder for the databases, removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="leaderlock-billing-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def choose_mode(*, no_fence: bool, no_election: bool) -> Mode:
    """Without an election there is no token, and so no fence either."""
    if no_election:
        return Mode.NO_ELECTION
    return Mode.NO_FENCE if no_fence else Mode.FENCED


def run(settings: Settings, *, as_json: bool, svg: Path | None) -> int:
    """Run the demo and print its report; returns the exit status."""
    console = view.console(record=svg is not None)
    try:
        outcome = scenario.run(settings, view.choose(console, silent=as_json))
    except ChildCrashed as error:
        print(f"The demo was broken off: {error}", file=sys.stderr)
        return 1
    result = audit(outcome)
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        report.show(result, console)
    if svg is not None:
        view.save_picture(console, svg)
    return 0 if result.ok else 1
