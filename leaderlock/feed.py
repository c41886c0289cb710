"""Who leads, for the people of one elector: iterators, callbacks and waits on one observer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from leaderlock.interrupt import wait_in_steps
from leaderlock.observer import LeaderInfo, Observer, Sink
from leaderlock.runtime import Runtime


def _nothing() -> None:
    pass


class _End:
    """Ends an iterator."""


_Mailbox = queue.SimpleQueue[LeaderInfo | None | _End]


def _take(mailbox: _Mailbox, timeout: float | None = None) -> LeaderInfo | None | _End:
    """The next one. Raises queue.Empty if there is none within `timeout` seconds."""
    taken: list[LeaderInfo | None | _End] = []

    def wait(left: float | None) -> bool:
        try:
            taken.append(mailbox.get(timeout=left))
        except queue.Empty:
            return False
        return True

    if not wait_in_steps(wait, timeout):
        raise queue.Empty
    return taken[0]


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
        self._mailboxes: set[_Mailbox] = set()
        self._observer: Observer | None = None
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._observer = None
        self._followed: Observer | None = None
        self._unfollow: Callable[[], None] = _nothing

    def after_fork(self) -> None:
        """In a forked child: begin anew, whatever the parent's threads held."""
        if self._observer is not None:
            self._observer.after_fork()
        mailboxes, self._mailboxes = self._mailboxes, set()
        for mailbox in mailboxes:  # nobody would ever put anything into them here
            mailbox.put(_End())
        self._forget()

    def follow(self) -> None:
        """From now on, have the changes told. Harmless when they are already."""
        observer = self._present_observer()
        with self._lock:
            if self._followed is not observer:
                self._followed = observer
                self._unfollow = observer.subscribe(self._tell_change)

    def changes(self) -> Iterator[LeaderInfo | None]:
        """Yield the present leader, then every change, until `end`."""
        with self._subscribed() as mailbox:
            while not isinstance(info := _take(mailbox), _End):
                yield info

    def wait_anybody(self, timeout: float | None) -> bool:
        """Wait until somebody leads. False: not within `timeout` seconds, or `end` came first."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._subscribed() as mailbox:
            while True:
                try:
                    left = None if end is None else max(0.0, end - time.monotonic())
                    info = _take(mailbox, left)
                except queue.Empty:
                    return False
                if info is not None:
                    return not isinstance(info, _End)

    @contextmanager
    def _subscribed(self) -> Iterator[_Mailbox]:
        mailbox: _Mailbox = queue.SimpleQueue()
        with self._lock:  # before anything can end what is now begun
            self._mailboxes.add(mailbox)
        try:
            unsubscribe = self._present_observer().subscribe(mailbox.put)
            try:
                yield mailbox
            finally:
                unsubscribe()
        finally:
            with self._lock:
                self._mailboxes.discard(mailbox)

    def end(self) -> None:
        """Stop telling changes, and end the iterators."""
        with self._lock:
            unfollow, self._unfollow, self._followed = self._unfollow, _nothing, None
            mailboxes = list(self._mailboxes)
        unfollow()
        for mailbox in mailboxes:
            mailbox.put(_End())

    def _present_observer(self) -> Observer:
        runtime = self._runtime()
        with self._lock:
            if self._observer is None or self._observer.runtime is not runtime:
                self._observer = Observer(runtime, self._election)
            return self._observer
