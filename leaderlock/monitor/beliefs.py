"""Who has believed to lead, and when for certain. Pure.

A report tells ages by the node's own clock, and arrives some time later. What is certain:

* the belief was there `since` seconds before the report was written, so at the latest `since`
  seconds before it arrived here;
* it was there `until` seconds before the report was written, and the answer that the report echoes
  had come `age` seconds before. That answer was stamped here before it came. So it was there
  `age - until` seconds after the stamp at the earliest.

In between, the node believed. Both bounds hold whatever the clocks show and however long messages
take; only their rate counts, and a part of each age is left out for that. So two intervals that
overlap are two beliefs at one instant, and a hand-over, however quick, is never taken for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leaderlock.tokens import FencingToken

DRIFT = 2e-4
"""How much faster or slower a sound clock may run than another."""

MARGIN = 0.002
"""Seconds that an overlap has to last at the least, against rounding."""

MOST_BELIEFS = 32
"""Of one election. Those that were told of longest ago are forgotten."""

FRESH = 3
"""A node has gone silent after so many of its reports, and seconds, without one."""


@dataclass(slots=True)
class Belief:
    """One term as its node believes it.

    Attributes:
        since, until: it believed between these times for certain; nothing if `until` is lower.
        told_at: the last report of it.
        silent_at: when it is stale unless another report comes.
        over: why it is over; None: the last report still had it.
        problem: what is wrong with the leader.
        is_stale: its node has gone silent.
    """

    node: str
    store: str
    candidate: str
    token: FencingToken
    since: float = math.inf
    until: float = -math.inf
    told_at: float = 0.0
    silent_at: float = 0.0
    over: str | None = None
    problem: str = ""
    is_stale: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is believed now, as far as is known."""
        return self.over is None and not self.is_stale

    @property
    def shown(self) -> tuple[object, ...]:
        """What people see of it, but for times that go on by themselves."""
        return self.over, self.problem, self.is_stale, self.until > self.since

    def narrow(self, since: float, until: float, echo: float | None, now: float) -> None:
        """One more report.

        Args:
            since, until: ages in seconds.
            echo: the time here to which the age 0 belongs at the earliest; None: not known.
            now: when it arrived.
        """
        self.since = min(self.since, now - since + DRIFT * since)
        if echo is not None:
            self.until = max(self.until, min(now, echo - until - DRIFT * until))

    def as_json(self) -> dict[str, Any]:
        """For the page and for programs."""
        return {
            "node": self.node,
            "store": self.store,
            "candidate": self.candidate,
            "token": str(self.token),
            "source": self.token.source,
            "since": self.since if math.isfinite(self.since) else None,
            "until": self.until if math.isfinite(self.until) else None,
            "open": self.is_open,
            "over": self.over,
            "silent": self.is_stale and self.over is None,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two beliefs at the same time.

    Attributes:
        seen_at: when it was last seen to go on.
    """

    one: Belief
    other: Belief
    since: float
    until: float
    seen_at: float

    def __str__(self) -> str:
        seconds = self.until - self.since
        lasted = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
        one, other = (
            f"{belief.candidate!r} (token {belief.token.value}, epoch {belief.token.epoch})"
            for belief in (self.one, self.other)
        )
        stores = ", in different stores" * (self.one.token.source != self.other.token.source)
        return f"{one} and {other} believed to lead at the same time{stores}, for at least {lasted}"


_Identity = tuple[str, int, int, str]


class Beliefs:
    """The beliefs in one election."""

    def __init__(self) -> None:
        self._terms: dict[_Identity, Belief] = {}
        self.overlap: Overlap | None = None

    def __iter__(self) -> Iterator[Belief]:
        return iter(self._terms.values())

    def of(self, node: str, store: str, candidate: str, token: FencingToken) -> Belief:
        """The belief of a term; a new one, if nothing has been told of it."""
        identity = (candidate, token.epoch, token.value, token.source)
        belief = self._terms.get(identity)
        if belief is None:
            if len(self._terms) >= MOST_BELIEFS:
                oldest = min(self._terms, key=lambda each: self._terms[each].told_at)
                del self._terms[oldest]
            belief = self._terms[identity] = Belief(node, store, candidate, token)
        return belief

    def compare(self, belief: Belief, now: float) -> None:
        """Look for an overlap of this belief with another one."""
        for other in self._terms.values():
            if other is belief:
                continue
            since, until = max(belief.since, other.since), min(belief.until, other.until)
            if until - since < MARGIN:
                continue
            if self.overlap is not None and until <= self.overlap.until:
                continue
            first, second = sorted((belief, other), key=_age)
            self.overlap = Overlap(first, second, since, until, now)

    def forget(self, before: float) -> None:
        """What was told of last before that time, and is over."""
        for identity, belief in list(self._terms.items()):
            if not belief.is_open and belief.told_at < before:
                del self._terms[identity]


def _age(belief: Belief) -> tuple[int, int, str]:
    """The lower token first: it is that of the leader that should have gone."""
    return belief.token.epoch, belief.token.value, belief.candidate
