"""redis-py's `Lock`: with a timeout, `reacquire()` three times in it, and `owned()` at every look.

It follows the class's documentation (https://redis.readthedocs.io/en/latest/lock.html), down to
`thread_local=False` where other threads ask and release.
"""

from __future__ import annotations

import redis
from redis.lock import Lock

from benchmarks.peers.peer import Peer


class RedisLock(Peer):
    """A new `Lock` for each term."""

    _lock: Lock

    def connect(self) -> None:
        ((host, port),) = self.servers
        self._redis = redis.Redis(host, port, socket_timeout=self.timeout)

    def acquire(self) -> bool:
        self._lock = self._redis.lock(
            f"lock of {self.election}", timeout=self.ttl, thread_local=False
        )
        return bool(self._lock.acquire(blocking_timeout=self.ttl))

    def is_held(self) -> bool:
        return self._lock.owned()

    def keep(self) -> None:
        self._lock.reacquire()

    def release(self) -> None:
        self._lock.release()

    def close(self) -> None:
        self._redis.close()


make = RedisLock
