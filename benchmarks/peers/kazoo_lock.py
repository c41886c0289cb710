"""kazoo's `Lock`, without and with the state listener that its documentation recommends.

It follows "Kazoo Lock" (https://kazoo.readthedocs.io/en/latest/api/recipe/lock.html) and "Listening
for Connection Events" (https://kazoo.readthedocs.io/en/latest/basic_usage.html).

`make` is the example as it stands: a client, a lock, and `is_acquired`, which is a flag of its own.
`make_listening` adds the listener: whoever is SUSPENDED does not believe, and gives the lock up.
kazoo's `Election` has no row: it is `with lock: function()` on a `Lock` that it does not show.
"""

from __future__ import annotations

from typing import Any

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import CancelledError

from benchmarks.peers.peer import Peer
from leaderlock.testing.chaos.contender import Note


class KazooLock(Peer):
    """A new `Lock` for each term. Its node's name has its prefix in it, which serves as attempt."""

    _lock: Any = None

    def connect(self) -> None:
        hosts = ",".join(f"{host}:{port}" for host, port in self.servers)
        self._client = KazooClient(hosts, timeout=self.ttl)
        self._client.start()

    def acquire(self) -> bool:
        self._lock = self._client.Lock(f"/{self.election}", "peer")
        self.note("attempt", attempt=self._lock.prefix)
        if self.stopped.is_set():  # `interrupt` may have cancelled the one before
            return False
        try:
            return bool(self._lock.acquire())
        except CancelledError:
            return False

    def is_held(self) -> bool:
        return bool(self._lock.is_acquired)

    def release(self) -> None:
        self._lock.release()

    def interrupt(self) -> None:
        if self._lock is not None:
            self._lock.cancel()

    def close(self) -> None:
        self._client.stop()
        self._client.close()


class ListeningKazooLock(KazooLock):
    """Believes only while the session is known to live."""

    def __init__(self, url: str, election: str, note: Note) -> None:
        super().__init__(url, election, note)
        self._state = KazooState.LOST
        self._losses = self._losses_before = 0

    def connect(self) -> None:
        super().connect()
        self._state = self._client.state
        self._client.add_listener(self._listen)

    def acquire(self) -> bool:
        self._losses_before = self._losses
        if not super().acquire():
            return False
        if self._losses == self._losses_before:
            return True
        self.release()  # perhaps a lock of the session before
        return False

    def is_held(self) -> bool:
        lives = self._state == KazooState.CONNECTED and self._losses == self._losses_before
        return lives and super().is_held()

    def _listen(self, state: str) -> None:
        if state == KazooState.LOST:
            self._losses += 1
        self._state = state


make = KazooLock
make_listening = ListeningKazooLock
