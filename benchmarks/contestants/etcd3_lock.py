"""python-etcd3's `Lock`: of python3-etcd3, the maintained copy, and of the original, in a venv.

https://python-etcd3.readthedocs.io/en/latest/usage.html:
    lock = etcd.lock('some-key', ttl=20)
    with etcd.lock('doot-machine', ttl=60): ...
`refresh()` prolongs it, `is_acquired()` reads the key. The class's acquire() has a timeout of ten
seconds by default; None waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import etcd3

from benchmarks.contestants.contestant import Contestant, Lock


class Etcd3Lock(Lock):
    def __init__(self, client: Any, name: str, ttl: float) -> None:
        self._lock = client.lock(name, ttl=int(ttl))

    def acquire(self) -> None:
        if not self._lock.acquire(timeout=None):
            raise RuntimeError("etcd3 did not acquire its lock")

    def release(self) -> None:
        self._lock.release()

    def keep(self) -> None:
        self._lock.refresh()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        return {"is_acquired()": self._lock.is_acquired}


class Etcd3(Contestant):
    def connect(self) -> None:
        self._client = etcd3.client(host=self.host, port=self.port)

    def lock(self, name: str) -> Lock:
        return Etcd3Lock(self._client, name, self.ttl)


make = Etcd3
