"""Logs written by hand: a line is the time, who, what, and data as name=JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from leaderlock.testing.chaos.events import Event

_WORDS = re.compile(r"\s+(?=[a-z]+=)")


def parse(line: str) -> Event:
    """`1.0 c1 leads token=1 seen=0.9` as an event."""
    head, *data = _WORDS.split(line.strip())
    at, who, what = head.split(maxsplit=2)
    return Event(float(at), who, what, dict(_value(word) for word in data))


def _value(word: str) -> tuple[str, object]:
    name, _, text = word.partition("=")
    return name, json.loads(text)


def events(log: str) -> list[Event]:
    return sorted(parse(line) for line in log.strip().splitlines())


def without(log: str, *parts: str) -> str:
    """The log without its lines that have one of these in them; each must be in one."""
    return "\n".join(_drop(log.splitlines(), parts))


def changed(log: str, old: str, new: str) -> str:
    assert log.count(old) == 1, f"{old!r} is not in one place"
    return log.replace(old, new)


def _drop(lines: Iterable[str], parts: tuple[str, ...]) -> Iterable[str]:
    lines = list(lines)
    for part in parts:
        assert any(part in line for line in lines), f"{part!r} is in no line"
    return [line for line in lines if not any(part in line for part in parts)]
