"""`leaderlock token`: read a fencing token, or compare two."""

from __future__ import annotations

from typing import Annotated

import typer

from leaderlock.cli import exits
from leaderlock.cli.output import Json, print_json, print_rows
from leaderlock.tokens import FencingToken

HELP = """
Take a fencing token apart, or compare two.

With two tokens the exit code is 0 if the first may write after the second: it is the same or a
later one. For a fence in a shell script; what has a database has better ones (docs/fencing.md).

\b
Examples:
  leaderlock token 0000000001.0000000000000000042
  leaderlock token "$LEADERLOCK_TOKEN" "$(cat highest)" && echo "$LEADERLOCK_TOKEN" >highest
"""


def token(
    text: Annotated[
        str, typer.Argument(metavar="TOKEN", envvar="LEADERLOCK_TOKEN", show_default=False)
    ],
    other: Annotated[str | None, typer.Argument(metavar="[HIGHEST]", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    with exits.plainly():
        first = FencingToken.parse(text)
        second = None if other is None else FencingToken.parse(other)
    if second is None:
        row = {"token": str(first), "epoch": first.epoch, "value": first.value}
        if as_json:
            print_json(row)
        else:
            print_rows([row], tuple(row))
        return
    word = "older" if first < second else "newer" if second < first else "same"
    if as_json:
        print_json({"token": str(first), "highest": str(second), "is": word})
    else:
        print({"older": "stale", "newer": "newer", "same": "the same"}[word])
    raise typer.Exit(exits.NO if word == "older" else 0)
