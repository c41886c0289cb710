"""A clock that a test moves."""

from __future__ import annotations

import threading


class FakeClock:
    """Stands still until it is told to move. Any thread may read and move it.

    Pass it as `Settings.clock` to a backend, and everything that is elected over that backend
    believes by it. Threads wait in real time all the same: `advance` wakes nobody, so a test that
    has moved the clock waits, with a deadline, for what is to follow.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._lock = threading.Lock()
        self._now = start

    def now(self) -> float:
        """The seconds that it shows."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once.

        Raises:
            ValueError: a clock does not run backwards.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} seconds")
        with self._lock:
            self._now += seconds

    def __repr__(self) -> str:
        return f"<FakeClock at {self.now():g}>"
