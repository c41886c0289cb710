"""The attempts of one client that wait."""

from __future__ import annotations

import threading

from leaderlock.backends.base import Attempt


class Line:
    """By the folder of their election, in the order in which they came.

    Only the first one of a folder asks and is woken: where hundreds of one client wait for the same
    election, they cost the store no more than one.
    """

    def __init__(self) -> None:
        self.forget_all()

    def forget_all(self) -> None:
        """Begin without any; also in a forked child."""
        self._lock = threading.Lock()
        self._folders: dict[str, dict[str, Attempt]] = {}

    def join(self, folder: str, attempt: Attempt) -> bool:
        """Returns whether it has not been here before."""
        with self._lock:
            waiting = self._folders.setdefault(folder, {})
            is_new = attempt.attempt_id not in waiting
            waiting[attempt.attempt_id] = attempt
            return is_new

    def leave(self, folder: str, attempt: Attempt) -> None:
        with self._lock:
            waiting = self._folders.get(folder, {})
            waiting.pop(attempt.attempt_id, None)
            if not waiting:
                self._folders.pop(folder, None)

    def has(self, folder: str, attempt: Attempt | None = None) -> bool:
        """Whether that attempt, or any, waits there."""
        with self._lock:
            waiting = self._folders.get(folder, {})
            return bool(waiting) if attempt is None else attempt.attempt_id in waiting

    def is_first(self, folder: str, attempt: Attempt) -> bool:
        return self._first(folder) == attempt

    def is_alone(self, folder: str, attempt: Attempt) -> bool:
        with self._lock:
            return list(self._folders.get(folder, {})) == [attempt.attempt_id]

    def folders(self) -> frozenset[str]:
        """Where anybody waits."""
        with self._lock:
            return frozenset(self._folders)

    def wake(self, folder: str) -> None:
        """The first one may lead, or has something else to do there."""
        if (attempt := self._first(folder)) is not None:
            attempt.wake()

    def _first(self, folder: str) -> Attempt | None:
        with self._lock:
            return next(iter(self._folders.get(folder, {}).values()), None)
