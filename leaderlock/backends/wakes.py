"""Whom to wake when something changes at the store."""

from __future__ import annotations

import threading
from collections.abc import Callable

from leaderlock.backends.base import Attempt

_LOOKS = 100  # in one ttl


def net(ttl: float, waiting: int) -> float:
    """After how many seconds one of so many attempts that wait asks again without a wake.

    Only in case that a wake was lost: together, thousands ask no more often than a hundred do.
    """
    return ttl * max(1.0, waiting / _LOOKS)


class Wakes:
    """Callbacks by the name of what they wait for, such as an election or a key of the store.

    Safe to use from any thread. The callbacks run outside the lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[str, dict[object, Callable[[], None]]] = {}

    def add(self, name: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` at every `ring(name)`. Returns the way to stop, which may be called twice."""
        key = object()
        with self._lock:
            self._callbacks.setdefault(name, {})[key] = wake

        def remove() -> None:
            with self._lock:
                callbacks = self._callbacks.get(name, {})
                callbacks.pop(key, None)
                if not callbacks:
                    self._callbacks.pop(name, None)

        return remove

    def names(self) -> frozenset[str]:
        """What is waited for."""
        with self._lock:
            return frozenset(self._callbacks)

    def __len__(self) -> int:
        return len(self._callbacks)

    def __contains__(self, name: str) -> bool:
        return name in self._callbacks

    def ring(self, name: str) -> None:
        """Wake those who wait for `name`."""
        with self._lock:
            callbacks = list(self._callbacks.get(name, {}).values())
        for wake in callbacks:
            wake()

    def ring_all(self) -> None:
        """Wake everybody: after a gap in which anything may have changed."""
        for name in self.names():
            self.ring(name)


class Waiters:
    """Attempts that wait for their turn, and observers, by the name of what they wait for.

    Attributes:
        attempts: to be woken when they may lead.
        observers: to be woken by every change.
    """

    def __init__(self) -> None:
        self.attempts, self.observers = Wakes(), Wakes()
        self._lock = threading.Lock()
        self._expected: dict[str, Callable[[], None]] = {}  # by attempt id: the ways to stop

    def expect(self, name: str, attempt: Attempt) -> None:
        """Wake the attempt from now on. Does nothing twice."""
        with self._lock:
            if attempt.attempt_id not in self._expected:
                self._expected[attempt.attempt_id] = self.attempts.add(name, attempt.wake)

    def forget(self, attempt: Attempt) -> bool:
        """Wake it no more. Returns whether it was expected."""
        with self._lock:
            stop = self._expected.pop(attempt.attempt_id, None)
        if stop is not None:
            stop()
        return stop is not None

    def names(self) -> frozenset[str]:
        """What is waited for, by attempts or observers."""
        return self.attempts.names() | self.observers.names()

    def ring(self, name: str) -> None:
        """Wake all who wait for `name`."""
        self.attempts.ring(name)
        self.observers.ring(name)

    def ring_all(self) -> None:
        """Wake everybody."""
        self.attempts.ring_all()
        self.observers.ring_all()
