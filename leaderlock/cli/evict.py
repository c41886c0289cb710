"""`leaderlock evict`: end a term from outside."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from leaderlock.backends.admin import admin_of
from leaderlock.backends.base import Reading
from leaderlock.cli import exits
from leaderlock.cli.output import Json, print_json
from leaderlock.cli.store import (
    ConfigFile,
    ElectionArgument,
    Namespace,
    Place,
    Url,
    require_election,
)
from leaderlock.errors import ConfigurationError
from leaderlock.observer import decode_reading
from leaderlock.tokens import FencingToken

HELP = """
End the term of the present leader, and let the next candidate in.

The leader is not asked. It learns of it with its next heartbeat, and until then two may believe to
lead: only a resource that checks tokens is safe. It contends again afterwards. To have a leader
hand over in good order, tell it: `leaderlock run --resign-on USR1`, elector.resign() in a program.

\b
Examples:
  leaderlock evict billing
  leaderlock evict billing --yes --token "$(leaderlock who billing --json | jq -r .token)"
"""


def evict(
    election: ElectionArgument = None,
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", show_default=False, help="Only if this is the present term."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    with exits.plainly(), Place(url, config, namespace).client() as client:
        name = require_election(client.config, election)
        expected = None if token is None else FencingToken.parse(token)
        admin = admin_of(client.runtime().backend)
        found = admin.candidates(name)
        if not found:
            exits.say(f"nobody leads {name!r}")
            raise typer.Exit(exits.NO)
        leader = found[0]
        info = decode_reading(Reading(payload=leader.payload, token=leader.token))
        assert info is not None  # it has a payload
        if expected is not None and expected != info.token:
            exits.say(f"{name!r} is led under another token, {info.token}")
            raise typer.Exit(exits.NO)
        if not yes:
            leader_id = exits.printable(info.candidate_id)
            _ask(f"{leader_id} leads {name!r} under token {info.token}.")
        done = admin.evict(name, leader)
    if as_json:
        row = {"election": name, "candidate": info.candidate_id, "token": str(info.token)}
        print_json({**row, "evicted": done})
    elif done:
        print(f"evicted {exits.printable(info.candidate_id)} from {name!r}")
    else:
        exits.say("the term was over already")
    raise typer.Exit(0 if done else exits.NO)


def _ask(what: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigurationError(f"{what} Nothing is done without --yes where nobody can be asked")
    typer.echo(
        f"{what}\nIts term ends, and the next candidate is let in at once. It learns of that with "
        "its next\nheartbeat; until then both may believe to lead, and only a resource that "
        "checks tokens is safe.",
        err=True,
    )
    if not typer.confirm("Evict it?", err=True):
        exits.say("nothing was done")
        raise typer.Exit(exits.NO)
