"""`leaderlock who`, `watch`, `list` and `candidates`: who leads, and who waits."""

from __future__ import annotations

import errno
import logging
import os
import queue
import select
import sys
import threading
from contextlib import suppress
from typing import Annotated, Any

import typer

from leaderlock.backends.admin import Admin, Standing, admin_of
from leaderlock.backends.base import Reading
from leaderlock.backends.layout import is_shortened
from leaderlock.cli import exits
from leaderlock.cli.output import Json, leader_row, moment, print_json, print_line, print_rows
from leaderlock.cli.store import (
    ConfigFile,
    ElectionArgument,
    Namespace,
    Place,
    Url,
    require_election,
)
from leaderlock.client import Client
from leaderlock.errors import BackendRefused, ConfigurationError
from leaderlock.observer import LeaderInfo, decode_reading

_LOOK_AT_READER = 1.0
_LEADER = ("candidate", "token", "since", "metadata")

WHO = """
Show who leads an election.

\b
Examples:
  leaderlock who billing --url etcd://10.0.0.1:2379
  leaderlock who billing --json | jq -r .token
  leaderlock who billing >/dev/null; [ $? = 1 ] && echo "nobody leads"
"""

WATCH = """
Show who leads, and every change, until Ctrl-C.

\b
Examples:
  leaderlock watch billing
  leaderlock watch billing cron reports --json | tee changes.jsonl
"""

LIST = """
List the elections of a namespace, and who leads them.

\b
Examples:
  leaderlock list --url redis://10.0.0.1
  leaderlock list -n shop --json | jq '.[] | select(.candidate == null)'
"""

CANDIDATES = """
List the candidates of an election: who leads, then who waits, in the order of the queue.

On a store without a queue, only the leader is known.

\b
Examples:
  leaderlock candidates billing --url zookeeper://10.0.0.1:2181
"""


def who(
    election: ElectionArgument = None,
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    with exits.plainly(), Place(url, config, namespace).client() as client:
        name = require_election(client.config, election)
        info = client.elector(name).leader()
        row = {"election": name, **leader_row(info, _since(client, name, info))}
    if as_json:
        print_json(row)
    elif info is not None:
        print_rows([row], ("election", *_LEADER))
    else:
        exits.say(f"nobody leads {name!r}")
    raise typer.Exit(0 if info else exits.NO)


def _since(client: Client, election: str, info: LeaderInfo | None) -> float | None:
    """When the leader was elected, where the store knows that."""
    try:
        admin = admin_of(client.runtime().backend)
    except ConfigurationError:
        return None
    for standing in admin.candidates(election)[:1]:
        if info is not None and standing.token == info.token.value:
            return standing.since
    return None


def watch(
    elections: Annotated[
        list[str] | None, typer.Argument(metavar="[ELECTION]...", show_default=False)
    ] = None,
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object on each line.")
    ] = False,
) -> None:
    changes: queue.SimpleQueue[_Change] = queue.SimpleQueue()
    with exits.plainly(), Place(url, config, namespace).client() as client:
        names = elections or [require_election(client.config, None)]
        for name in names:
            client.elector(name).leader()  # a store that is not there is an error now
        # Later it may come back, and what is wrong meanwhile is no more than worth a line.
        exits.say_what_is_logged(logging.WARNING)
        for name in names:
            threading.Thread(target=_follow, args=(client, name, changes), daemon=True).start()
        while True:
            with suppress(queue.Empty):
                _print_change(*changes.get(timeout=_LOOK_AT_READER), as_json=as_json)
            _require_reader()


def _require_reader() -> None:
    """`leaderlock watch | head` ends with its reader, and not with the next change after that."""
    if sys.stdout is None or not hasattr(select, "poll"):  # Windows
        return
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


_Change = tuple[str, LeaderInfo | None]


def _follow(client: Client, name: str, changes: queue.SimpleQueue[_Change]) -> None:
    for info in client.elector(name).observe():
        changes.put((name, info))


def _print_change(name: str, info: LeaderInfo | None, *, as_json: bool) -> None:
    row = {"at": moment(), "election": name, **leader_row(info)}
    if as_json:
        print_json({key: row[key] for key in row if key != "since"}, indent=None)
    else:
        leader = (info.candidate_id, str(info.token)) if info else ("nobody leads",)
        print_line(row["at"], name, *leader)


def list_(
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    with exits.plainly(), Place(url, config, namespace).client() as client:
        admin = admin_of(client.runtime().backend)
        rows, code = [], 0
        for name in admin.elections():
            try:
                row = _listed(client, name)
            except (BackendRefused, ConfigurationError) as error:
                # Of what is not ours: no reason to hide the others.
                exits.say(f"{name!r:.60}: {exits.sentence(error)}")
                code = exits.REFUSED
                continue
            if row["candidate"] is None and is_shortened(name):
                exits.say(f"{name!r}: the store has a part of this name; `who` takes the whole one")
            else:
                rows.append(row)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ("election", "candidate", "token", "metadata"))
    raise typer.Exit(code)


def _listed(client: Client, name: str) -> dict[str, Any]:
    row = leader_row(client.elector(name).leader())
    return {"election": name} | {key: row[key] for key in ("candidate", "token", "metadata")}


def candidates(
    election: ElectionArgument = None,
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    with exits.plainly(), Place(url, config, namespace).client() as client:
        name = require_election(client.config, election)
        admin = admin_of(client.runtime().backend)
        rows = [_ranked(n, each) for n, each in enumerate(admin.candidates(name))]
    if as_json:
        print_json(rows)
        return
    _tell_limits(admin)
    print_rows(rows, ("place", "candidate", "since", "metadata"))


def _ranked(number: int, standing: Standing) -> dict[str, Any]:
    info = decode_reading(Reading(payload=standing.payload, token=standing.token))
    row = leader_row(info, standing.since)
    del row["token"]  # of one that waits it is not known, or not certain
    return {"place": "leads" if number == 0 else number} | row


def _tell_limits(admin: Admin) -> None:
    if not admin.knows_waiting:
        exits.say("this store does not know who waits, only who leads")
