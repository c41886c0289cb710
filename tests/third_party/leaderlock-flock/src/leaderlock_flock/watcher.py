"""Who waits for a change, and the thread that looks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from leaderlock import BackendUnavailable, LeaderLockError

POLL = 0.02  # seconds between two looks

Leader = tuple[int, str]


@dataclass(slots=True)
class Watch:
    """`wake` is called when another than `seen` leads, and at the first look if that is None."""

    election: str
    wake: Callable[[], None]
    seen: Leader | None = None


class Watcher:
    """One thread for all watches of a client. It ends with the last of them."""

    def __init__(self, look: Callable[[str], Leader]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._watches: dict[object, Watch] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, key: object, watch: Watch) -> None:
        """In place of an earlier one under this key."""
        with self._lock:
            self._watches[key] = watch
            if self._thread is None and not self._closed.is_set():
                self._thread = self._start()

    def remove(self, key: object) -> None:
        with self._lock:
            self._watches.pop(key, None)

    def close(self, timeout: float) -> None:
        with self._lock:
            self._closed.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="leaderlock-flock", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise BackendUnavailable(f"no thread to watch elections with: {error}") from error
        return thread

    def _run(self) -> None:
        while not self._closed.wait(POLL):
            with self._lock:
                watches = list(self._watches.values())
                if not watches:
                    self._thread = None
                    return
            for watch in watches:
                self._wake_if_changed(watch)

    def _wake_if_changed(self, watch: Watch) -> None:
        try:
            leader = self._look(watch.election)
        except LeaderLockError:
            return  # requests tell of it; what has changed is seen when the store is back
        if leader != watch.seen:
            watch.seen = leader
            watch.wake()
