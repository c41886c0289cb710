"""`leaderlock run`: a program runs only while its node leads."""

from __future__ import annotations

import enum
import logging
import os
import shutil
import signal
from typing import Annotated

import typer

from leaderlock.cli import exits
from leaderlock.cli.store import ConfigFile, Election, Namespace, Place, Ttl, Url
from leaderlock.config import Config
from leaderlock.elector import LeaderElector
from leaderlock.errors import ConfigurationError
from leaderlock.telemetry import beacon

HELP = """
Run a command only while this node leads.

Waits to be elected, then starts the command with the term's fencing token in its environment. When
the term is lost the command gets SIGTERM, and SIGKILL before anybody else can lead; then this
node contends again. When the command ends by itself, the term is released, and its exit code is
that of leaderlock.

\b
In the environment of the command:
  LEADERLOCK_TOKEN   the term's fencing token, to be checked where it writes
  LEADERLOCK_EPOCH   the epoch in it
  LEADERLOCK_ELECTION, LEADERLOCK_CANDIDATE_ID, LEADERLOCK_NAMESPACE

\b
Examples:
  leaderlock run --url etcd://10.0.0.1:2379 -e billing -- charge --all
  leaderlock run -c leaderlock.toml --restart -- gunicorn app:app
  leaderlock run -c leaderlock.toml --timeout 2 -- ./nightly.sh

SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to the command, but for the one
of --resign-on.
"""

EPILOG = """
Exit status:

  of the command; 128 + n if signal n has ended it, or the wait for a term

  2    wrong usage or configuration

  69   the store did not answer within --timeout

  75   not elected within --timeout

  77   the store refuses: wrong login, missing rights, lost data

  79   the term was lost (with --exit-on-loss)

  126  the command cannot be run;  127  there is no such command
"""

_SHARE = 4


class ResignOn(enum.Enum):
    """Signals that mean nothing else to `leaderlock run`."""

    HUP = "HUP"
    USR1 = "USR1"
    USR2 = "USR2"


def run(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND [ARGUMENT]...", show_default=False)
    ],
    url: Url = None,
    election: Election = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    ttl: Ttl = None,
    candidate_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="NAME",
            show_default=False,
            help="What this node is called. Default: host, process and a random part.",
        ),
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option(metavar="JSON", show_default=False, help="Shown to everybody who asks."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, show_default=False, help="Wait no longer to be elected."
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            show_default=False,
            help="From SIGTERM to SIGKILL when the term is lost. The term is believed so much "
            "shorter. Default: a quarter of the belief window.",
        ),
    ] = None,
    exit_on_loss: Annotated[
        bool,
        typer.Option("--exit-on-loss", help="End with 79 when the term is lost."),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Contend again also when the command ends by itself; after a pause of up to 4 "
            "seconds, if it has run for less than 10.",
        ),
    ] = False,
    resign_on: Annotated[
        ResignOn | None,
        typer.Option(
            case_sensitive=False,
            show_default=False,
            help="At this signal the command gets SIGTERM, and when it has ended the term is "
            "handed over and this node contends again.",
        ),
    ] = None,
    monitor: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Report to the `leaderlock monitor` at this URL what this node believes. Also as "
            "LEADERLOCK_MONITOR; its token as LEADERLOCK_MONITOR_TOKEN.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    with exits.plainly():
        if not hasattr(os, "setpgid"):
            raise ConfigurationError("`leaderlock run` needs a Unix system (Linux, macOS)")
        from leaderlock.cli.runner import Runner, Wish  # which another system has no signals for

        _require_program(command[0])
        place = Place(url, config, namespace, ttl)
        found = place.resolve()
        grace = _grace(found, grace)
        elector = LeaderElector.from_config(
            place.mapping(),
            **place.settings(
                election=election,
                candidate_id=candidate_id,
                metadata=metadata,
                stop_grace=grace,
                beat_timeout=_NEVER,
            ),
        )
        facts = {
            "LEADERLOCK_EPOCH": str(found.epoch),
            "LEADERLOCK_ELECTION": elector.election,
            "LEADERLOCK_CANDIDATE_ID": elector.candidate_id,
            "LEADERLOCK_NAMESPACE": found.namespace,
        }
        if not quiet:  # why a Redis that was started lately elects nobody, for instance
            exits.say_what_is_logged(logging.INFO, "leaderlock.redis_", "leaderlock.beacon_")
        wish = Wish(
            words=command,
            grace=grace,
            timeout=timeout,
            restart=restart,
            resign_on=None if resign_on is None else getattr(signal, f"SIG{resign_on.value}"),
            exit_on_loss=exit_on_loss,
            quiet=quiet,
        )
        reporting = beacon.start(elector, monitor) if beacon.is_wanted(monitor) else None
        try:
            raise typer.Exit(Runner(elector, wish, facts).run())
        finally:
            if reporting is not None:
                reporting.close()


# A limit for programs that tell leaderlock of their progress, which a command cannot.
_NEVER = 1e9


def _grace(config: Config, given: float | None) -> float:
    """The seconds by which the belief ends earlier, so that the command can end meanwhile."""
    if given is not None:
        return given
    timing = config.timing
    return timing.stop_grace or timing.belief_window / _SHARE


def _require_program(name: str) -> None:
    """Tell of a mistyped command now, and not when this node is elected."""
    if shutil.which(name) is None:
        missing = os.sep not in name or not os.path.exists(name)  # noqa: PTH110 - just a word
        exits.say(f"{name!r}: {'no such command' if missing else 'cannot be run'}")
        raise typer.Exit(exits.NOT_FOUND if missing else exits.CANNOT_RUN)
