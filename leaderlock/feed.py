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


class End:
    """Ends an iterator."""


Put = Callable[[LeaderInfo | None | End], object]
_Mailbox = queue.SimpleQueue[LeaderInfo | None | End]


def _take(mailbox: _Mailbox, timeout: float | None = None) -> LeaderInfo | None | End:
    """The next one. Raises queue.Empty if there is none within `timeout` seconds."""
    taken: list[LeaderInfo | None | End] = []

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
        self._subscribers: dict[object, Put] = {}
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
        subscribers, self._subscribers = self._subscribers, {}
        for put in subscribers.values():  # nobody would ever tell them anything here
            put(End())
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
        mailbox: _Mailbox = queue.SimpleQueue()
        with self.subscribed(mailbox.put):
            while not isinstance(info := _take(mailbox), End):
                yield info

    def wait_anybody(self, timeout: float | None) -> bool:
        """Wait until somebody leads. False: not within `timeout` seconds, or `end` came first."""
        end = None if timeout is None else time.monotonic() + timeout
        mailbox: _Mailbox = queue.SimpleQueue()
        with self.subscribed(mailbox.put):
            while True:
                try:
                    left = None if end is None else max(0.0, end - time.monotonic())
                    info = _take(mailbox, left)
                except queue.Empty:
                    return False
                if info is not None:
                    return not isinstance(info, End)

    @contextmanager
    def subscribed(self, put: Put) -> Iterator[None]:
        """Have `put` called with the present leader, with every change, and with `End` at the end.

        Under a lock: it only passes on what it gets.
        """
        key = object()
        with self._lock:  # before anything can end what is now begun
            self._subscribers[key] = put
        try:
            unsubscribe = self._present_observer().subscribe(put)
            try:
                yield
            finally:
                unsubscribe()
        finally:
            with self._lock:
                self._subscribers.pop(key, None)

    def end(self) -> None:
        """Stop telling changes, and end the iterators."""
        with self._lock:
            unfollow, self._unfollow, self._followed = self._unfollow, _nothing, None
            subscribers = list(self._subscribers.values())
        unfollow()
        for put in subscribers:
            put(End())

    def _present_observer(self) -> Observer:
        runtime = self._runtime()
        with self._lock:
            if self._observer is None or self._observer.runtime is not runtime:
                self._observer = Observer(runtime, self._election)
            return self._observer
