"""tooz's locks on ZooKeeper, Redis and etcd: a coordinator with a heart, and `get_lock`.

It follows "Creating A Coordinator" and "Lock" of the tutorial
(https://docs.openstack.org/tooz/latest/user/tutorial/): `start(start_heart=True)`. It is asked with
`is_still_owner()` at every look, and where the driver has none (etcd) with `acquired`.

The driver for etcd knows one host: each candidate takes one of the servers by chance.
"""

from __future__ import annotations

import os
import random
from typing import Any, ClassVar
from urllib.parse import urlencode

import tooz
from tooz import coordination

from benchmarks.peers.peer import Peer


class ToozLock(Peer):
    """A new lock for each term, of one coordinator."""

    scheme: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    """Those that set a lease or a timeout; in whole seconds."""
    _lock: Any = None

    def connect(self) -> None:
        options = dict.fromkeys(self.options, int(self.ttl))
        self._coordinator = coordination.get_coordinator(
            f"{self.scheme}://{self._hosts()}?{urlencode(options)}",
            f"{self.election}-{os.getpid()}".encode(),
        )
        self._coordinator.start(start_heart=True)

    def acquire(self) -> bool:
        self._lock = self._coordinator.get_lock(self.election.encode())
        return bool(self._lock.acquire(blocking=self.ttl))

    def is_held(self) -> bool:
        try:
            return bool(self._lock.is_still_owner())
        except tooz.NotImplemented:
            return bool(self._lock.acquired)

    def release(self) -> None:
        self._lock.release()

    def close(self) -> None:
        self._coordinator.stop()

    def _hosts(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.servers)


class ToozZooKeeper(ToozLock):
    """On ZooKeeper; the lock is kazoo's."""

    scheme = "zookeeper"
    options = ("timeout",)


class ToozRedis(ToozLock):
    """On Redis; the lock is redis-py's."""

    scheme = "redis"
    options = ("timeout", "lock_timeout", "membership_timeout", "socket_timeout")


class ToozEtcd(ToozLock):
    """On etcd, through its HTTP gateway."""

    scheme = "etcd3+http"
    options = ("timeout", "lock_timeout", "membership_timeout")

    def _hosts(self) -> str:
        host, port = random.choice(self.servers)
        return f"{host}:{port}"


make_zookeeper = ToozZooKeeper
make_redis = ToozRedis
make_etcd = ToozEtcd
