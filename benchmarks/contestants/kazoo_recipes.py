"""kazoo's `Lock` and `Election`.

https://kazoo.readthedocs.io/en/latest/api/recipe/lock.html:
    lock = zk.Lock("/lockpath", "my-identifier")
    with lock:  # blocks waiting for lock acquisition
        # do something with the lock
https://kazoo.readthedocs.io/en/latest/api/recipe/election.html:
    election = zk.Election("/electionpath", "my-identifier")
    # blocks until the election is won, then calls my_leader_function()
    election.run(my_leader_function)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from kazoo.client import KazooClient

from benchmarks.contestants.contestant import Contestant, Lock


class KazooLock(Lock):
    def __init__(self, client: Any, name: str) -> None:
        self._lock = client.Lock(f"/{name}", "me")

    def acquire(self) -> None:
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        lock = self._lock
        return {"is_acquired": lambda: lock.is_acquired}


class KazooElection(Lock):
    """`run()` blocks for the whole term, so that a hand-over needs a thread for each term."""

    def __init__(self, client: Any, name: str) -> None:
        self._election = client.Election(f"/{name}", "me")

    def acquire(self) -> None:
        leads, self._over = threading.Event(), threading.Event()
        over = self._over

        def lead() -> None:
            leads.set()
            over.wait()

        self._thread = threading.Thread(target=self._election.run, args=(lead,), daemon=True)
        self._thread.start()
        leads.wait()

    def release(self) -> None:
        self._over.set()
        self._thread.join()

    def cycle(self) -> None:
        self._election.run(lambda: None)


class Kazoo(Contestant):
    def connect(self) -> None:
        self._client = KazooClient(f"{self.host}:{self.port}", timeout=self.ttl)
        self._client.start()

    def lock(self, name: str) -> Lock:
        return KazooLock(self._client, name)


class Elections(Kazoo):
    def lock(self, name: str) -> Lock:
        return KazooElection(self._client, name)


make_lock = Kazoo
make_election = Elections
