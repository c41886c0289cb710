"""tooz's locks: a coordinator with a heart, and `get_lock`.

https://docs.openstack.org/tooz/latest/user/tutorial/lock.html:
    coordinator = coordination.get_coordinator('zake://', b'host-1')
    coordinator.start()
    lock = coordinator.get_lock("foobar")
    with lock: ...
and "Creating A Coordinator", of the same tutorial: `start(start_heart=True)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

import tooz
from tooz import coordination

from benchmarks.contestants.contestant import Contestant, Lock


class ToozLock(Lock):
    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def acquire(self) -> None:
        if not self._lock.acquire(blocking=True):
            raise RuntimeError("tooz did not acquire its lock")

    def release(self) -> None:
        self._lock.release()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        try:
            self._lock.is_still_owner()
        except tooz.NotImplemented:
            lock = self._lock
            return {"acquired": lambda: lock.acquired}
        return {"is_still_owner()": self._lock.is_still_owner}


class Tooz(Contestant):
    scheme: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    """Those that set a lease or a timeout; in whole seconds."""

    def connect(self) -> None:
        options = urlencode(dict.fromkeys(self.options, int(self.ttl)))
        self._coordinator = coordination.get_coordinator(
            f"{self.scheme}://{self.host}:{self.port}?{options}", f"host-{os.getpid()}".encode()
        )
        self._coordinator.start(start_heart=True)

    def lock(self, name: str) -> Lock:
        return ToozLock(self._coordinator.get_lock(name.encode()))


class ToozZooKeeper(Tooz):
    scheme = "zookeeper"
    options = ("timeout",)


class ToozRedis(Tooz):
    scheme = "redis"
    options = ("timeout", "lock_timeout", "membership_timeout")


class ToozEtcd(Tooz):
    scheme = "etcd3+http"
    options = ("timeout", "lock_timeout", "membership_timeout")


make_zookeeper = ToozZooKeeper
make_redis = ToozRedis
make_etcd = ToozEtcd
