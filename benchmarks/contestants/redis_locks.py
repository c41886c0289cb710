"""The locks of Redis: redis-py, python-redis-lock, pottery, sherlock; each over one `redis.Redis`.

A module is imported when its lock is asked for, so that what one lacks does not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import redis

from benchmarks.contestants.contestant import Contestant, Lock


class RedisPyLock(Lock):
    """https://redis.readthedocs.io/en/latest/lock.html: "Use Redis to hold a shared, distributed
    lock named name"; `reacquire()` "Resets a TTL of an already acquired lock back to a timeout
    value". It polls every 0.1 s (`sleep`) by default.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def acquire(self) -> None:
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def keep(self) -> None:
        self._lock.reacquire()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        return {"owned()": self._lock.owned}


class PythonRedisLock(RedisPyLock):
    """https://python-redis-lock.readthedocs.io/en/latest/readme.html:
    `redis_lock.Lock(conn, "name-of-the-lock", expire=60, auto_renewal=True)` for "long running
    tasks": renewed by a thread of each lock, every expire * 2/3.
    """

    def keep(self) -> None:
        """Its thread does."""

    def asks(self) -> Mapping[str, Callable[[], object]]:
        return {"get_owner_id()": self._lock.get_owner_id}


class PotteryLock(RedisPyLock):
    """https://github.com/brainix/pottery#redlock-:
    `Redlock(key='printer', masters={redis}, auto_release_time=...)`, `extend()`, `locked()`.
    """

    def keep(self) -> None:
        self._lock.extend()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        return {"locked()": self._lock.locked}


class SherlockLock(RedisPyLock):
    """https://sher-lock.readthedocs.io/en/latest/: `RedisLock("my_lock", expire=..., client=...)`,
    "retry acquiring an acquired lock after an interval of 0.1 second" by default; `renew()`.
    """

    def acquire(self) -> None:
        if not self._lock.acquire():
            raise RuntimeError("sherlock did not acquire its lock")

    def keep(self) -> None:
        self._lock.renew()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        return {"locked()": self._lock.locked}


class RedisPy(Contestant):
    def connect(self) -> None:
        self._redis = redis.Redis(self.host, self.port)

    def lock(self, name: str) -> Lock:
        return RedisPyLock(self._redis.lock(name, timeout=self.ttl))


class PythonRedis(RedisPy):
    def lock(self, name: str) -> Lock:
        make = import_module("redis_lock").Lock
        return PythonRedisLock(make(self._redis, name, expire=int(self.ttl), auto_renewal=True))


class Pottery(RedisPy):
    def lock(self, name: str) -> Lock:
        make = import_module("pottery").Redlock
        # Three extensions are allowed by default, a minute's lease in all: others would lose here.
        return PotteryLock(
            make(
                key=name,
                masters={self._redis},
                auto_release_time=self.ttl,
                num_extensions=1_000_000,
            )
        )


class Sherlock(RedisPy):
    def lock(self, name: str) -> Lock:
        make = import_module("sherlock").RedisLock
        return SherlockLock(make(name, client=self._redis, expire=int(self.ttl), timeout=60))


make_redis_py = RedisPy
make_python_redis_lock = PythonRedis
make_pottery = Pottery
make_sherlock = Sherlock
