"""`leaderlock doctor`: can elections be held here, how fast, and what endangers them?"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from leaderlock.backends.admin import Finding, Grade, admin_of
from leaderlock.cli import exits
from leaderlock.cli.output import Json, print_json
from leaderlock.cli.store import ConfigFile, Namespace, Place, Ttl, Url
from leaderlock.client import Client
from leaderlock.clock import BOOT_CLOCK
from leaderlock.errors import BackendRefused, ConfigurationError, LeaderLockError

HELP = """
Examine a store: is it reached, does it know us, and what of its settings endangers elections?

States the worst-case fail-over for the timings that are given. Writes nothing, unless --elect is
given: then a short election named `leaderlock-doctor` is held, which shows the missing rights.

\b
Examples:
  leaderlock doctor --url redis://10.0.0.1 --ttl 5
  leaderlock doctor -c leaderlock.toml --elect
"""

ELECTION = "leaderlock-doctor"
_PINGS = 5
_MARKS = {Grade.GOOD: ("ok", "32"), Grade.NOTE: ("note", "33"), Grade.BAD: ("bad", "31")}


def doctor(
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    ttl: Ttl = None,
    elect: Annotated[
        bool, typer.Option("--elect", help="Hold a short election, which writes.")
    ] = False,
    as_json: Json = False,
) -> None:
    worst, found = Grade.GOOD, []
    with exits.plainly(), Place(url, config, namespace, ttl).client() as client:
        for finding in _examine(client, elect=elect):
            found.append({"grade": finding.grade.value, "text": finding.text})
            if finding.grade is Grade.BAD:
                worst = Grade.BAD
            if not as_json:
                _show(finding)
        timing = client.timing
    if as_json:
        print_json(
            {
                "store": str(client.config.url),
                "good": worst is not Grade.BAD,
                "findings": found,
                "timing": {
                    "ttl": timing.ttl,
                    "heartbeat": timing.heartbeat,
                    "belief_window": timing.belief_window,
                    "worst_case_failover": timing.worst_case_failover,
                },
            }
        )
    raise typer.Exit(exits.NO if worst is Grade.BAD else 0)


def _examine(client: Client, *, elect: bool) -> Iterator[Finding]:
    yield _reach(client)
    try:
        yield from admin_of(client.runtime().backend).examine()
    except ConfigurationError as error:
        yield Finding(Grade.NOTE, str(error))
    except BackendRefused as error:  # elections need fewer rights
        yield Finding(Grade.NOTE, f"settings unknown: {exits.sentence(error)}")
    except LeaderLockError as error:
        yield Finding(Grade.BAD, exits.sentence(error))
    if elect:
        yield _elect(client)
    yield from _judge_timing(client)


def _reach(client: Client) -> Finding:
    """Raises LeaderLockError: it is not reached, or refuses; then there is nothing to examine."""
    elector, took = client.elector(ELECTION), []
    for _ in range(_PINGS):
        began = time.monotonic()
        elector.leader()
        took.append(time.monotonic() - began)
    first, best = took[0], sorted(took)[_PINGS // 2]
    text = f"{client.config.url} answers in {best * 1000:.1f} ms, at first {first * 1000:.0f} ms"
    late = best > client.timing.request_timeout / 4
    return Finding(Grade.NOTE if late else Grade.GOOD, text + (": slow for this ttl" * late))


def _elect(client: Client) -> Finding:
    began = time.monotonic()
    try:
        with client.elector(ELECTION).lead(timeout=2 * client.timing.ttl) as leadership:
            took = time.monotonic() - began
            return Finding(
                Grade.GOOD, f"elected in {took * 1000:.0f} ms under token {leadership.token}"
            )
    except LeaderLockError as error:
        return Finding(Grade.BAD, f"no election could be held: {exits.sentence(error)}")


def _judge_timing(client: Client) -> Iterator[Finding]:
    timing = client.timing
    if BOOT_CLOCK.now is time.monotonic:
        yield Finding(Grade.NOTE, "this system has no clock that goes on in a suspend")
    else:
        yield Finding(Grade.GOOD, "leases are counted on a clock that goes on in a suspend")
    if not timing.capabilities.linearizable:
        yield Finding(
            Grade.NOTE, "this store may let two believe to lead after a fail-over: check tokens"
        )
    yield Finding(
        Grade.GOOD,
        f"ttl {timing.ttl:g} s: renewed every {timing.heartbeat:.3g} s, believed for "
        f"{timing.belief_window:.3g} s, a crashed leader is succeeded within "
        f"{timing.worst_case_failover:.3g} s",
    )


def _show(finding: Finding) -> None:
    word, colour = _MARKS[finding.grade]
    mark = f"\x1b[{colour}m{word:4}\x1b[0m" if _is_coloured() else f"{word:4}"
    print(f"{mark}  {exits.printable(finding.text)}", flush=True)


def _is_coloured() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout is not None and sys.stdout.isatty()
