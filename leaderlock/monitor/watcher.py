"""Reads a store for a monitor: who leads, which elections there are, whether it answers at all.

It writes nothing. As for `Observer`, a wake only means "read again", and what counts is the answer;
but here a reading without an answer counts, too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Set
from dataclasses import replace
from typing import Any

from leaderlock.backends.admin import Admin
from leaderlock.backends.layout import is_shortened
from leaderlock.backoff import Backoff
from leaderlock.client import Client
from leaderlock.errors import LeaderLockError
from leaderlock.monitor.state import State
from leaderlock.observer import LeaderInfo, decode_reading
from leaderlock.workers import Recurring, Workers

PROBE = "leaderlock-monitor"
"""An election that is read to see whether the store answers. Nobody leads it."""

_PROBE_PAUSE = 2.0
_LIST_PAUSE = 5.0
_SHARE = 20
"""Listing may search the whole store: it is done for at most one part in so many of the time."""

_LONGEST_BACKOFF = 5.0
_LONGEST_NAME = 255

Post = Callable[..., None]
"""Has a function called with arguments, where the state lives."""


class Watcher:
    """Reads the elections of a state.

    Args:
        client: whose session is used.
        state: is told, by `post` alone.
        admin: lists elections; None: those that are named are all.
    """

    def __init__(self, client: Client, state: State, post: Post, admin: Admin | None) -> None:
        self._runtime = client.runtime()
        self._now = client.clock.now
        self._state = state
        self._post = post
        self._admin = admin
        self._readers: dict[str, _Reader] = {}
        # Not one of the io threads: to a store that is silent, each of thousands of readings takes
        # them for a while, and that it is silent must be known before.
        self._prober = Workers("leaderlock-probe", 1)
        self._probe = Recurring(self._prober, self._look)
        self._listing = Recurring(self._runtime.io, self._list)

    def start(self) -> None:
        """Begin to read."""
        self._probe.due_in(0.0)
        if self._admin is not None:
            self._listing.due_in(0.0)

    def stop(self) -> None:
        """End the probe. What reads on threads of the session ends with it."""
        self._prober.close()

    def follow(self, names: Collection[str]) -> None:
        """Read these elections, and no others. Called where the state lives."""
        for name in self._readers.keys() - names:
            self._readers.pop(name).stop()
        for name in names - self._readers.keys():
            self._readers[name] = _Reader(self, name)

    def read_again(self) -> None:
        """The store is back: what was read before may be outdated."""
        for reader in self._readers.values():
            reader.wake()

    # On the io threads, and that of the probe

    def _look(self) -> float:
        try:
            self.ask(self._runtime.backend.leader, PROBE)
        except LeaderLockError as error:
            self._post(self._state.store_fails, _told(error), self._now())
        else:
            self._post(self._answered, self._now())
        return _PROBE_PAUSE

    def _answered(self, now: float) -> None:
        if self._state.store_answers(now):
            self.read_again()

    def _list(self) -> float:
        assert self._admin is not None
        began = time.monotonic()
        try:
            names = self.ask(self._admin.elections)
        except LeaderLockError:  # the probe tells of a store that does not answer
            return _LIST_PAUSE
        # Of a name too long for a key the store has a part: nobody leads an election of that name.
        found = frozenset(name for name in names if name and not is_shortened(name))
        self._post(self._listed, found - {PROBE}, self._now())
        return max(_LIST_PAUSE, _SHARE * (time.monotonic() - began))

    def _listed(self, names: Set[str], now: float) -> None:
        self._state.listed(names, now)
        self.follow(self._state.elections.keys())

    def ask(self, request: Callable[..., Any], *args: object) -> Any:
        """Send one request. Raises LeaderLockError: told and logged already."""
        return self._runtime.ask(request.__name__, request, *args)


class _Reader:
    """Reads one election, at every wake."""

    def __init__(self, watcher: Watcher, name: str) -> None:
        self._watcher = watcher
        self._name = name
        self._backoff = Backoff(_LONGEST_BACKOFF)
        self._stopped = False
        self._readings = Recurring(watcher._runtime.io, self._read)
        self._unwatch = watcher._runtime.backend.watch(name, self.wake)
        self.wake()

    def wake(self) -> None:
        self._readings.due_in(0.0)

    def stop(self) -> None:
        self._stopped = True
        self._unwatch()

    def _read(self) -> float:
        if self._stopped:
            return math.inf
        watcher = self._watcher
        state, post = watcher._state, watcher._post
        try:
            reading = watcher.ask(watcher._runtime.backend.leader, self._name)
            info = sound(decode_reading(reading))
        except LeaderLockError as error:
            post(state.fail, self._name, _told(error))
            return self._backoff.pause()
        self._backoff.reset()
        post(state.see, self._name, info, watcher._now())
        return math.inf if reading.recheck_after is None else float(reading.recheck_after)


def sound(info: LeaderInfo | None) -> LeaderInfo | None:
    """With a name of a bearable length, whoever has written it."""
    return info and replace(info, candidate_id=info.candidate_id[:_LONGEST_NAME])


def _told(error: LeaderLockError) -> str:
    """What an error says, on one line of a bearable length."""
    return " ".join(str(error).split())[:300]
