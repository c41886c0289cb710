"""One blocking query for all elections of a namespace: heirs and observers are told by it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from leaderlock.backends.consul.connection import Connection, Entry
from leaderlock.backends.consul.heirs import Heirs
from leaderlock.backends.consul.target import Target
from leaderlock.backends.wakes import Wakes
from leaderlock.backoff import Backoff
from leaderlock.errors import BackendRefused, BackendUnavailable

log = logging.getLogger("leaderlock")

_WAIT = 5.0
# Consul adds up to a sixteenth of the wait; the rest is for the way there and back.
_PATIENCE = _WAIT * 17 / 16 + 2.0
_LONGEST_BACKOFF = 1.0

Entries = Mapping[str, Entry]


class Watcher:
    """One thread and one connection, from the first that looks at an election to `close`.

    What it sees is a hint, from one server: those who are woken ask for themselves.
    """

    def __init__(self, target: Target, prefix: str, heirs: Heirs) -> None:
        self._target = target
        self._prefix = prefix
        self._heirs = heirs
        self._reset()

    def _reset(self) -> None:
        self._connection = Connection(self._target, _PATIENCE)
        self._observers = Wakes()  # by key
        self._poke = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards the next one
        self._thread: threading.Thread | None = None
        self._backoff = Backoff(_LONGEST_BACKOFF)

    def start(self) -> None:
        """To be called when this client has become an heir: who leads at once needs no thread."""
        with self._lock:
            self._start()

    def watch(self, key: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Wake after every change of the key, and once for its state at present."""
        remove = self._observers.add(key, wake)
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
        """In a forked child: the thread and those who watched are the parent's."""
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
        index, wait = 0, _WAIT
        seen: Entries = {}
        while not self._closing.is_set():
            if not self._heirs and not self._observers.names():
                index = 0  # whatever happens from now on will not have been seen
                self._poke.wait()
                self._poke.clear()
                continue
            try:
                index, seen, wait = self._look(index, seen, wait)
            except Exception as error:
                # The core tells of a store that fails; those who wait ask by themselves, too. The
                # rest is a fault of ours, and never a reason not to be woken any more.
                if not isinstance(error, BackendUnavailable | BackendRefused):
                    log.exception("leaderlock.internal_error thread=leaderlock-consul")
                index, wait = 0, _WAIT
                self._closing.wait(self._backoff.pause())

    def _look(self, index: int, seen: Entries, wait: float) -> tuple[int, Entries, float]:
        began = time.thread_time()
        found_index, found = self._connection.wait_for_change(self._prefix, index, wait)
        self._backoff.reset()
        again = self._heirs.notice(found)
        for key in self._observers.names():
            if not index or found.get(key) != seen.get(key):
                self._observers.ring(key)
        # Where thousands of elections change all the time, half of one core and no more.
        self._closing.wait(time.thread_time() - began)
        # An index that runs backwards is of another history: begin anew, as Consul's docs say.
        return (found_index if found_index >= index else 0), found, min(_WAIT, again)
