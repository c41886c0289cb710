"""Who looks at the lock of an election, of all clients that wait for it.

If all of them did, a hand-over would cost the store as many requests as there are candidates. So
three clients are its heirs, each with a key `<namespace>/<election>/heir/<session>` that its
session has locked: whose session ends is an heir no more. The store tells them when the lock is
free. The one that came first takes it at once, the next one a moment later, if it is free still.

The others look with each heartbeat whether an heir is missing, and take its place. Such a key gives
no right: who finds the lock free may take it, and only the lock decides who leads. So whatever
becomes of these keys, by lost replies or by an operator, can only make a hand-over slower.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from leaderlock.backends.base import Attempt
from leaderlock.backends.consul.connection import Connection, Entry
from leaderlock.backends.consul.line import Line
from leaderlock.backends.consul.session import OurSession

Entries = Mapping[str, Entry]

PATIENCE = 0.25
"""Seconds that an heir leaves to the one before it, which may be dead."""

LEADER = "leader"
"""The name of the lock in the folder of an election."""

_MOST = 3
_HEIR = "heir/"


@dataclass(slots=True)
class _Freed:
    """A lock that is free, for this client to take.

    Attributes:
        index: of its key; another one is another occasion.
        since: when that was seen first.
        told: the first one of the line has been woken.
    """

    index: int
    since: float
    told: bool = False


class Heirs:
    """The elections that this client is an heir of. A folder is `<namespace>/<election>/`.

    Args:
        longest_pause: seconds for which a lock may be free and nobody can take it.
        tell_free: is told which lock is free, before somebody is woken.
    """

    def __init__(
        self,
        store: Connection,
        session: OurSession,
        line: Line,
        longest_pause: float,
        tell_free: Callable[[Entry], None],
    ) -> None:
        self._store = store
        self._session = session
        self._line = line
        self._longest_pause = longest_pause
        self._tell_free = tell_free
        self.forget_all()

    def forget_all(self) -> None:
        """Begin as no heir; also in a forked child."""
        self._places: dict[str, str] = {}  # by folder: the session that may have its key there
        self._freed: dict[str, _Freed] = {}  # as the watcher sees it
        self._unused: dict[tuple[str, int], float] = {}  # as heartbeats see it: free since
        self._looked_at = -math.inf

    def __bool__(self) -> bool:
        """Whether this client has something to look at."""
        return bool(self._places)

    def is_one(self, folder: str) -> bool:
        return folder in self._places

    def apply(self, folder: str, found: Entries, *, is_new: bool) -> bool:
        """Become an heir, if one is missing. Returns whether this client is one.

        Args:
            found: what is in the folder.
            is_new: it has just come. The last place is left to those who have waited longer, or
                a few that resign in turn would keep all others out.
        """
        heirs, session = _living(found).get(folder, []), self._session.id
        if session in heirs[:_MOST]:
            self._places[folder] = session
            return True
        self._drop(folder)
        if len(heirs) >= (_MOST - 1 if is_new else _MOST):
            return False
        session, _ = self._session.keep()
        self._places[folder] = session  # before it is: the answer may be lost
        dead = [k for k, e in found.items() if k.startswith(folder + _HEIR) and not e.session]
        beside = self._store.lock_beside(self._key(folder, session), session, folder + _HEIR, dead)
        if session in _living(beside).get(folder, [])[:_MOST]:
            self._places[folder] = session  # a heartbeat beside it may have read too early
            return True
        self._drop(folder)
        if beside:
            self._store.delete([self._key(folder, session)])  # others were quicker
        else:
            self._session.doubt()
        return False

    def key_without(self, folder: str, attempt: Attempt) -> str:
        """The key that has to go when this attempt waits no more; empty: none has."""
        session = self._places.get(folder, "")
        is_last = session and self._line.is_alone(folder, attempt)
        return self._key(folder, session) if is_last else ""

    def elected(self, folder: str, *, is_gone: bool) -> None:
        """One of ours leads; `is_gone`: with the same request our key was deleted."""
        self._freed.pop(folder, None)
        if is_gone or not self._line.has(folder):
            self._drop(folder)
        if is_gone:
            self._line.wake(folder)  # who has come meanwhile, and may have seen the key

    def leave(self, folder: str) -> None:
        """One of ours, perhaps, does not wait there any more."""
        if folder in self._places and not self._line.has(folder):
            self._store.delete([self._key(folder, self._places[folder])])
            self._drop(folder)
            self._line.wake(folder)
        elif folder in self._freed:
            self._line.wake(folder)  # in place of the one that was woken

    def leave_all(self) -> None:
        self._store.delete([self._key(*place) for place in self._places.items()])
        self.forget_all()

    def is_look_due(self) -> bool:
        """Whether a heartbeat has to look after the heirs: places may be free, or lost."""
        waited, since = self._line.folders(), time.monotonic() - self._looked_at
        return not waited <= self._places.keys() or bool(waited and since > self._longest_pause / 2)

    def look_after(self, entries: Entries) -> None:
        """Have those asked who can be an heir, or who are needed. `entries`: all of them."""
        session, now = self._session.id, time.monotonic()
        self._looked_at = now
        waited, heirs = self._line.folders(), _living(entries)
        known, self._unused = self._unused, {}
        for folder in waited:
            there, leader = heirs.get(folder, []), entries.get(folder + LEADER, Entry(""))
            if session in there[:_MOST]:
                self._places[folder] = session
            elif len(there) < _MOST:
                self._line.wake(folder)
            else:
                self._drop(folder)
            if not leader.session:
                free = folder, leader.index
                self._unused[free] = known.get(free, now)
                if now - self._unused[free] > self._longest_pause:
                    self._line.wake(folder)  # what has become of the heirs?
        ours = [
            self._key(folder, session)
            for folder, there in heirs.items()
            if session in there[_MOST:] or (session in there and not self._line.has(folder))
        ]
        for folder in [folder for folder in list(self._places) if not self._line.has(folder)]:
            self._drop(folder)
        if ours:  # a request that came late, or too many at once
            self._store.delete(ours)

    def notice(self, found: Entries) -> float:
        """What the watcher has seen. Wakes who may lead now.

        Returns after how many seconds to look again, also if nothing changes.
        """
        now, again = time.monotonic(), math.inf
        heirs: Mapping[str, list[str]] | None = None
        for folder, session in list(self._places.items()):
            leader = found.get(folder + LEADER, Entry(folder + LEADER))
            if leader.session:
                self._freed.pop(folder, None)
                continue
            freed = self._freed.get(folder)
            if freed is None or freed.index != leader.index:
                freed = self._freed[folder] = _Freed(leader.index, now)
            if freed.told:
                continue
            heirs = _living(found) if heirs is None else heirs
            there = heirs.get(folder, [])
            before = there.index(session) if session in there else len(there)
            left = freed.since + before * PATIENCE - now
            if left <= 0:
                freed.told = True
                self._tell_free(leader)
                self._line.wake(folder)
            else:
                again = min(again, left)
        return again

    def _drop(self, folder: str) -> None:
        self._places.pop(folder, None)
        self._freed.pop(folder, None)

    @staticmethod
    def _key(folder: str, session: str) -> str:
        return f"{folder}{_HEIR}{session}"


def _living(entries: Entries) -> Mapping[str, list[str]]:
    """The sessions of the heirs by folder, in the order in which they came."""
    keys = [e for e in entries.values() if e.session and e.key.endswith(_HEIR + e.session)]
    found: dict[str, list[str]] = {}
    for entry in sorted(keys, key=lambda entry: entry.index):
        folder = entry.key.removesuffix(_HEIR + entry.session)
        found.setdefault(folder, []).append(entry.session)
    return found
