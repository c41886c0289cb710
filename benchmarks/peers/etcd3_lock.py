"""python-etcd3's `Lock`, as python3-etcd3 has it, the maintained copy: refreshed, and asked.

It follows the class's documentation (https://python-etcd3.readthedocs.io/en/latest/usage.html):
`lock(name, ttl)`, `refresh()` in a loop, and `is_acquired()`, which reads the key at every look.

Favours: several endpoints with fail-over, one tried again after a ttl (default: 300 s), and a
timeout (default: none) are what the client offers, not what its examples use. And `with lock` goes
on without the lock after ten seconds: `acquire()` is called here, and its answer looked at.
"""

from __future__ import annotations

from typing import Any

import etcd3

from benchmarks.peers.peer import Peer


class Etcd3Lock(Peer):
    """A new `Lock` for each term."""

    _lock: Any

    def connect(self) -> None:
        endpoints = [
            etcd3.Endpoint(host, port, secure=False, time_retry=self.ttl)
            for host, port in self.servers
        ]
        self._client = etcd3.MultiEndpointEtcd3Client(
            endpoints, timeout=self.timeout, failover=True
        )

    def acquire(self) -> bool:
        self._lock = self._client.lock(self.election, ttl=int(self.ttl))
        return bool(self._lock.acquire(timeout=self.ttl))

    def is_held(self) -> bool:
        return bool(self._lock.is_acquired())

    def keep(self) -> None:
        self._lock.refresh()

    def release(self) -> None:
        self._lock.release()

    def close(self) -> None:
        self._client.close()


make = Etcd3Lock
