"""Who leads, for the people of one elector: iterators, callbacks and waits on one observer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from leaderlock.observer import LeaderInfo, Observer, Sink
from leaderlock.runtime import Runtime


class _End:
    """Ends an iterator."""


_Mailbox = queue.SimpleQueue[LeaderInfo | None | _End]


class LeaderFeed:
    """Hands one election's changes of leader to whoever asks for them.

    Args:
        runtime: the client's runtime of the moment; made on first use.
        election: whose leader.
        tell_change: gets the changes between `follow` and `end`.
    """

    def __init__(self, runtime: Callable[[], Runtime], election: str, tell_change: Sink) -> None:
        self._runtime = runtime
        self._election = election
        self._tell_change = tell_change
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: begin anew, whatever the parent's threads held."""
        self._lock = threading.Lock()
        self._observer: Observer | None = None
        self._unfollow: Callable[[], None] | None = None
        self._mailboxes: set[_Mailbox] = set()

    def follow(self) -> None:
        """From now on, have the changes told. Harmless when they are already."""
        observer = self._present_observer()
        with self._lock:
            if self._unfollow is None:
                self._unfollow = observer.subscribe(self._tell_change)

    def changes(self) -> Iterator[LeaderInfo | None]:
        """Yield the present leader, then every change, until `end`."""
        mailbox: _Mailbox = queue.SimpleQueue()
        unsubscribe = self._present_observer().subscribe(mailbox.put)
        with self._lock:
            self._mailboxes.add(mailbox)
        try:
            while not isinstance(info := mailbox.get(), _End):
                yield info
        finally:
            with self._lock:
                self._mailboxes.discard(mailbox)
            unsubscribe()

    def wait_anybody(self, timeout: float | None) -> bool:
        """Wait until somebody leads. False: not within `timeout` seconds."""
        found = threading.Event()

        def look(info: LeaderInfo | None) -> None:
            if info is not None:
                found.set()

        unsubscribe = self._present_observer().subscribe(look)
        try:
            return found.wait(timeout)
        finally:
            unsubscribe()

    def end(self) -> None:
        """Stop telling changes, and end the iterators."""
        with self._lock:
            unfollow, self._unfollow = self._unfollow, None
            mailboxes = list(self._mailboxes)
        if unfollow is not None:
            unfollow()
        for mailbox in mailboxes:
            mailbox.put(_End())

    def _present_observer(self) -> Observer:
        runtime = self._runtime()
        with self._lock:
            if self._observer is None or self._observer.runtime is not runtime:
                self._observer = Observer(runtime, self._election)
            return self._observer
