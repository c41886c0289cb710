"""Tells waiting attempts and observers that an election may have changed hands."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from leaderlock.backends.base import Attempt, Settings
from leaderlock.backends.sqlite.link import Link, NoStore
from leaderlock.backends.sqlite.processes import Process
from leaderlock.backends.sqlite.store import Term
from leaderlock.backoff import Backoff
from leaderlock.errors import BackendUnavailable, LeaderLockError

log = logging.getLogger("leaderlock")

THOROUGH = 0.05
"""Seconds between two looks at the file itself, and at whether the leaders' processes are alive."""

_LONGEST_BACKOFF = 1.0
_LONGEST_LOCK_WAIT = 0.25
# Another value than every leader, and than nobody after any term.
_UNKNOWN = ("unknown", -1)

Wake = Callable[[], None]
Leader = tuple[str | None, int]


@dataclass(slots=True)
class _Hope:
    """An attempt that waits. It is woken once for each time that it asked."""

    election: str
    wake: Wake
    armed: bool = True


@dataclass(slots=True)
class _Observer:
    election: str
    wake: Wake
    seen: Leader = _UNKNOWN


class Watcher:
    """One thread, from the first attempt that waits, or observer, to `close`.

    It sees commits by the time of the last write, and to be certain by a number that SQLite keeps;
    the end of a lease by the clock; and the death of a leader by asking the system. None of it
    costs a lock or a write. While there is nobody to wake it sleeps.
    """

    def __init__(self, link: Link, settings: Settings, poll: float) -> None:
        self._link = link
        self._settings = settings
        self._poll = poll
        self._backoff = Backoff(_LONGEST_BACKOFF)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards the next five
        self._hopes: dict[str, _Hope] = {}
        self._observers: dict[object, _Observer] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._is_new = False  # somebody came whose election has not been looked at
        self._poke = threading.Event()
        # Of the thread alone:
        self._trace: tuple[int, int, int] | None = None
        self._trace_is_fresh = False
        self._version: tuple[int, int] | None = None
        self._terms: dict[str, Term | None] = {}
        self._next_expiry = -math.inf
        self._next_thorough = 0.0

    def expect(self, attempt: Attempt) -> None:
        """Wake the attempt when its election is free. To be called before every look at it."""
        with self._lock:
            self._hopes[attempt.attempt_id] = _Hope(attempt.election, attempt.wake)
            self._start()

    def forget(self, attempt: Attempt) -> None:
        with self._lock:
            self._hopes.pop(attempt.attempt_id, None)

    def watch(self, election: str, wake: Wake) -> Callable[[], None]:
        """Wake after every change of the leader, and once for the state at present."""
        key = object()
        with self._lock:
            self._observers[key] = _Observer(election, wake)
            self._start()

        def unwatch() -> None:
            with self._lock:
                self._observers.pop(key, None)

        return unwatch

    def close(self, timeout: float) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
        self._poke.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def abandon(self) -> None:
        """In a forked child: the thread and those who waited are the parent's."""
        self._reset()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="leaderlock-sqlite", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise BackendUnavailable(f"no thread to watch elections with: {error}") from error
            self._thread = thread
        self._is_new = True
        self._poke.set()

    # The thread

    def _run(self) -> None:
        while not self._closed:
            self._poke.clear()
            self._poke.wait(self._look_safely())

    def _look_safely(self) -> float | None:
        """Returns the seconds until the next look; None: nobody waits."""
        try:
            if not self._has_work():
                return None
            if self._is_due():
                self._look()
        except Exception as error:
            if not isinstance(error, LeaderLockError):
                log.exception("leaderlock.watcher_failed")
            # Nobody knows what happened meanwhile: the next success has to be a look at everything.
            self._next_expiry = -math.inf
            return self._backoff.pause()
        self._backoff.reset()
        return self._poll

    def _has_work(self) -> bool:
        with self._lock:
            return bool(self._hopes or self._observers)

    def _is_due(self) -> bool:
        expired = self._settings.clock.now() >= self._next_expiry
        # Not on the lease clock: the pace of looking is nobody's belief.
        thorough = time.monotonic() >= self._next_thorough
        if not (self._sees_write() or self._is_new or expired or thorough):
            return False
        version = self._read_version()
        changed = version != self._version
        self._version = version
        if thorough:
            self._next_thorough = time.monotonic() + THOROUGH
            changed = changed or self._sees_death()
        return changed or self._is_new or expired

    def _sees_write(self) -> bool:
        """Whether the log was written to; true once more at the next look.

        Two writes within one tick of the kernel's clock may show the same time.
        """
        trace, before = self._link.trace(), self._trace
        was_fresh, self._trace_is_fresh = self._trace_is_fresh, trace != before
        self._trace = trace
        return self._trace_is_fresh or was_fresh

    def _read_version(self) -> tuple[int, int] | None:
        try:
            with self._link.lend(self._patience) as store:
                return store.number, store.data_version()
        except NoStore:
            return None

    def _sees_death(self) -> bool:
        here = Process.current()
        return any(
            term is not None and term.attempt_id is not None and term.holder.is_dead(here)
            for term in self._terms.values()
        )

    def _look(self) -> None:
        with self._lock:
            self._is_new = False
            elections = {hope.election for hope in self._hopes.values()}
            elections |= {observer.election for observer in self._observers.values()}
        self._terms = self._read_terms(elections)
        now, here = self._settings.clock.now(), Process.current()
        leaders: dict[str, Leader] = {}
        self._next_expiry = math.inf
        for election, term in self._terms.items():
            if term is not None and term.keeps_out(now, here):
                leaders[election] = (term.attempt_id, term.token)
                self._next_expiry = min(self._next_expiry, term.expires_at)
            else:
                # With the token: a term that came and went between two looks is a change, too.
                leaders[election] = (None, 0 if term is None else term.token)
                self._terms[election] = None  # no need to look after its holder
        for wake in self._note(leaders):
            wake()

    def _read_terms(self, elections: Iterable[str]) -> dict[str, Term | None]:
        try:
            with self._link.lend(self._patience) as store:
                return {name: store.term(self._settings.namespace, name) for name in elections}
        except NoStore:
            return dict.fromkeys(elections)

    def _note(self, leaders: dict[str, Leader]) -> list[Wake]:
        """Remember who leads; returns those whom it concerns, to be called without the lock."""
        wakes: list[Wake] = []
        with self._lock:
            for hope in self._hopes.values():
                if hope.armed and leaders.get(hope.election, _UNKNOWN)[0] is None:
                    hope.armed = False
                    wakes.append(hope.wake)
            for observer in self._observers.values():
                leader = leaders.get(observer.election, _UNKNOWN)
                if leader not in (observer.seen, _UNKNOWN):
                    observer.seen = leader
                    wakes.append(observer.wake)
        return wakes

    @property
    def _patience(self) -> float:
        return min(_LONGEST_LOCK_WAIT, self._settings.request_timeout)
