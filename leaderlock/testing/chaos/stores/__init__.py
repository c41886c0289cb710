"""The stores of a run: their servers, what they promise, and what an operator can do to them."""

from __future__ import annotations

from collections.abc import Callable

from leaderlock.testing.chaos.stores.base import Store
from leaderlock.testing.chaos.stores.consul import ConsulStore
from leaderlock.testing.chaos.stores.etcd import EtcdStore
from leaderlock.testing.chaos.stores.redis import RedisStore
from leaderlock.testing.chaos.stores.zookeeper import ZooKeeperStore

STORES: dict[str, Callable[[int], Store]] = {
    "etcd": EtcdStore,
    "zookeeper": ZooKeeperStore,
    "consul": ConsulStore,
    "redis": RedisStore,
}
DEFAULT_NODES = {"etcd": 3, "zookeeper": 3, "consul": 3, "redis": 1}


def with_ttl(url: str, ttl: float) -> str:
    """The URL, with its lease."""
    return f"{url}{'&' if '?' in url else '?'}ttl={ttl:g}"
