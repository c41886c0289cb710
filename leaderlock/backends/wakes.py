"""Whom to wake when something changes at the store."""

from __future__ import annotations

import threading
from collections.abc import Callable

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
