"""leaderlock: one client of a process, and `with elector.lead()` for a term.

`hand-over` ends where `lead()` has been entered, not where a callback runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import leaderlock
from benchmarks.contestants.contestant import Contestant, Lock
from leaderlock.leadership import Leadership


class OurLock(Lock):
    """An elector of the client."""

    def __init__(self, elector: leaderlock.LeaderElector) -> None:
        self._elector = elector
        self._term: AbstractContextManager[Leadership]
        self._leadership: Leadership

    def acquire(self) -> None:
        self._term = self._elector.lead()
        self._leadership = self._term.__enter__()

    def release(self) -> None:
        self._term.__exit__(None, None, None)

    def asks(self) -> Mapping[str, Callable[[], object]]:
        elector = self._elector
        return {"is_leader": lambda: elector.is_leader, "check()": self._leadership.check}


class Ours(Contestant):
    """`connect(url, ttl=...)`."""

    def connect(self) -> None:
        self._client = leaderlock.connect(self.url, ttl=self.ttl)

    def lock(self, name: str) -> Lock:
        return OurLock(self._client.elector(name))


make = Ours
