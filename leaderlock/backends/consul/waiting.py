"""One blocking query for all elections of a namespace: whoever waits is told by it."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping

from leaderlock.backends.base import Attempt
from leaderlock.backends.consul.connection import Connection, Entry
from leaderlock.backends.consul.target import Target
from leaderlock.backends.wakes import Waiters
from leaderlock.backoff import Backoff
from leaderlock.errors import BackendRefused, BackendUnavailable

log = logging.getLogger("leaderlock")

JITTER = 0.25
"""Seconds over which candidates spread when an election is free: all of them are woken."""

_WAIT = 5.0
# Consul adds up to a sixteenth of the wait; the rest is for the way there and back.
_PATIENCE = _WAIT * 17 / 16 + 2.0
_LONGEST_BACKOFF = 1.0

Entries = Mapping[str, Entry]


class Watcher:
    """One thread and one connection, from the first that waits to `close`.

    What it sees is a hint, from one server: those who are woken read for themselves.
    """

    def __init__(self, target: Target, prefix: str) -> None:
        self._target = target
        self._prefix = prefix
        self._reset()

    def _reset(self) -> None:
        self._connection = Connection(self._target, _PATIENCE)
        self._waiters = Waiters()  # by key
        self._poke = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards the next one
        self._thread: threading.Thread | None = None
        self._backoff = Backoff(_LONGEST_BACKOFF)

    def expect(self, key: str, attempt: Attempt) -> None:
        """Wake the attempt when the key may be free. To be called before every look at it."""
        self._waiters.expect(key, attempt)

    def start(self) -> None:
        """To be called when somebody does have to wait: whoever leads at once needs no thread."""
        with self._lock:
            self._start()

    def forget(self, attempt: Attempt) -> None:
        self._waiters.forget(attempt)

    def watch(self, key: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Wake after every change of the key, and once for its state at present."""
        remove = self._waiters.observers.add(key, wake)
        self.start()
        return remove

    def close(self, timeout: float) -> None:
        self._closing.set()
        self._poke.set()
        self._connection.close()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def abandon(self) -> None:
        """In a forked child: the thread and those who waited are the parent's."""
        self._connection.abandon()
        self._reset()

    def _start(self) -> None:
        self._poke.set()
        if self._thread is None and not self._closing.is_set():
            thread = threading.Thread(target=self._run, name="leaderlock-consul", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise BackendUnavailable(f"no thread to watch elections with: {error}") from error
            self._thread = thread

    # The thread

    def _run(self) -> None:
        index = 0
        seen: Entries = {}
        while not self._closing.is_set():
            if not self._waiters.names():
                index = 0  # whatever happens from now on will not have been seen
                self._poke.wait()
                self._poke.clear()
                continue
            try:
                index, seen = self._look(index, seen)
            except Exception as error:
                # The core tells of a store that fails; those who wait ask by themselves, too. The
                # rest is a fault of ours, and never a reason not to be woken any more.
                if not isinstance(error, BackendUnavailable | BackendRefused):
                    log.exception("leaderlock.internal_error thread=leaderlock-consul")
                index = 0
                self._closing.wait(self._backoff.pause())

    def _look(self, index: int, seen: Entries) -> tuple[int, Entries]:
        found_index, found = self._connection.wait_for_change(self._prefix, index, _WAIT)
        self._backoff.reset()
        self._closing.wait(random.uniform(0, JITTER))
        if not index:
            self._waiters.ring_all()
        for key in seen.keys() | found.keys() if index else ():
            if (entry := found.get(key, Entry(key))) != seen.get(key, Entry(key)):
                self._waiters.observers.ring(key)
                if not entry.session:  # the key is free
                    self._waiters.attempts.ring(key)
        # An index that runs backwards is of another history: begin anew, as Consul's docs say.
        return (found_index if found_index >= index else 0), found
