"""What a node may say to a monitor: read with suspicion. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderlock.errors import ConfigurationError
from leaderlock.tokens import FencingToken

LARGEST = 4 * 1024 * 1024
"""The longest report, in bytes."""

_MOST_ROWS = 2000
_LONGEST_NAME = 255
_LONGEST_TEXT = 300
_LONGEST_AGE = 10 * 365 * 86400.0
_LONGEST_INTERVAL = 60.0


class BadReport(ValueError):
    """Not a report. The message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is told of one candidate.

    Attributes:
        token: of the term that it believes in; None: it waits.
        since, until: ages in seconds.
        over: why the term is over; None: it is believed.
        problem: what its health() complains of.
    """

    election: str
    candidate: str
    token: FencingToken | None
    since: float
    until: float
    over: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one node.

    Attributes:
        echo: the monitor's id, its stamp and the stamp's age, as the node had them; None: it has
            not had an answer yet.
        interval: seconds until the next one.
    """

    node: str
    store: str
    namespace: str
    interval: float
    echo: tuple[str, float, float] | None
    rows: Sequence[Row]


def read_report(body: bytes) -> Report:
    """Read what a node has sent.

    Raises:
        BadReport: it is none.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadReport("not JSON") from None
    if not isinstance(fields, dict):
        raise BadReport("not a JSON object")
    beliefs = fields.get("beliefs")
    if not isinstance(beliefs, list) or len(beliefs) > _MOST_ROWS:
        raise BadReport(f"'beliefs' must be a list of at most {_MOST_ROWS}")
    return Report(
        node=_name(fields, "node"),
        store=_name(fields, "store"),
        namespace=_name(fields, "namespace"),
        interval=_number(fields, "interval", _LONGEST_INTERVAL),
        echo=_echo(fields.get("echo")),
        rows=[_row(row) for row in beliefs],
    )


def _row(fields: object) -> Row:
    if not isinstance(fields, dict):
        raise BadReport("a belief must be a JSON object")
    token = None
    if "token" in fields:
        try:
            parsed = FencingToken.parse(_name(fields, "token"))
        except ConfigurationError as error:
            raise BadReport(str(error)) from None
        token = FencingToken(parsed.epoch, parsed.value, _text(fields, "source", _LONGEST_NAME))
    over = _line(fields, "over")
    return Row(
        election=_name(fields, "election"),
        candidate=_name(fields, "candidate"),
        token=token,
        since=0.0 if token is None else _number(fields, "since", _LONGEST_AGE),
        until=0.0 if token is None else _number(fields, "until", _LONGEST_AGE),
        over=over or None,
        problem=_line(fields, "problem"),
    )


def _echo(fields: object) -> tuple[str, float, float] | None:
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise BadReport("'echo' must be a JSON object")
    stamp = _number(fields, "stamp", math.inf)
    return _name(fields, "monitor"), stamp, _number(fields, "age", _LONGEST_AGE)


def _name(fields: Mapping[str, Any], key: str) -> str:
    value = _text(fields, key, _LONGEST_NAME)
    if not value:
        raise BadReport(f"{key!r} must be a text of 1 to {_LONGEST_NAME} characters")
    return value


def _line(fields: Mapping[str, Any], key: str) -> str:
    """For people, among lines of others."""
    text = _text(fields, key, _LONGEST_TEXT)
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _text(fields: Mapping[str, Any], key: str, longest: int) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or not _is_sound(value):
        raise BadReport(f"{key!r} must be a text of at most {longest} characters")
    return value


def _is_sound(text: str) -> bool:
    """JSON may hold half a character, which nothing can be done with."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _number(fields: Mapping[str, Any], key: str, most: float) -> float:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadReport(f"{key!r} must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (0 <= number <= most and math.isfinite(number)):
        raise BadReport(f"{key!r} must be a number from 0 to {most:g}")
    return number
