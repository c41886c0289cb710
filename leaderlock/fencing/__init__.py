"""The resource's side of fencing: refuse the writes of a leader that has been deposed.

    fence.advance(token)     first of all in a term: raise the fence, before reading anything
    fence.check(token)       before each write; raises StaleToken for a lower token than the highest

| what is guarded                       | fence                                                |
|---------------------------------------|------------------------------------------------------|
| something in this process             | `FenceGate`                                          |
| rows in PostgreSQL, MySQL, SQLite     | `SQLFence`                                           |
| keys in Redis                         | `RedisFence`                                         |
| what a web application does           | `ASGIFence`, `WSGIFence`; `fence_headers`            |
| keys in the election's own store      | `EtcdFence`, `ZooKeeperFence`, `ConsulFence`         |

Names are loaded on first use, and only the last row needs a store's client library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderlock.fencing.consul import ConsulFence as ConsulFence
    from leaderlock.fencing.dialects import ddl as ddl
    from leaderlock.fencing.etcd import EtcdFence as EtcdFence
    from leaderlock.fencing.gate import Fence as Fence
    from leaderlock.fencing.gate import FenceGate as FenceGate
    from leaderlock.fencing.headers import fence_headers as fence_headers
    from leaderlock.fencing.headers import raise_if_fenced as raise_if_fenced
    from leaderlock.fencing.http import ASGIFence as ASGIFence
    from leaderlock.fencing.http import WSGIFence as WSGIFence
    from leaderlock.fencing.redis import RedisFence as RedisFence
    from leaderlock.fencing.sql import SQLFence as SQLFence
    from leaderlock.fencing.store import StoreFence as StoreFence
    from leaderlock.fencing.zookeeper import ZooKeeperFence as ZooKeeperFence

_HOME = {
    "ASGIFence": "http",
    "ConsulFence": "consul",
    "EtcdFence": "etcd",
    "Fence": "gate",
    "FenceGate": "gate",
    "RedisFence": "redis",
    "SQLFence": "sql",
    "StoreFence": "store",
    "WSGIFence": "http",
    "ZooKeeperFence": "zookeeper",
    "ddl": "dialects",
    "fence_headers": "headers",
    "raise_if_fenced": "headers",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"leaderlock.fencing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
