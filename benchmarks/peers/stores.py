"""The stores of the harness, for locks that keep their keys elsewhere and promise less."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from leaderlock.testing.chaos.checker import Traits
from leaderlock.testing.chaos.stores.base import ELECTION, Action, Store
from leaderlock.testing.chaos.stores.etcd import EtcdStore
from leaderlock.testing.chaos.stores.redis import RedisStore
from leaderlock.testing.chaos.stores.zookeeper import ZooKeeperStore
from leaderlock.timing import Timing


class _Judged(Store):
    """A belief may last as long as the store's lease: nobody has promised a shorter one."""

    def traits(self, timing: Timing) -> Traits:
        return dataclasses.replace(super().traits(timing), belief_window=timing.longest_lease)


class PeersOnZooKeeper(_Judged, ZooKeeperStore):
    """ZooKeeper. The operator finds the lowest node, which is the lock in every recipe."""


class PeersOnEtcd(_Judged, EtcdStore):
    """etcd. The operator finds the oldest key, which is the lock."""

    def actions(self) -> Mapping[str, Action]:
        """What is written to the key has no lease: it is deleted again, or nobody ever led."""
        actions = dict(super().actions())
        write, delete = actions["write to the key"], actions["delete the key"]

        def do() -> Callable[[], None]:
            write.do()
            return lambda: (delete.do(), None)[1]

        return {**actions, "write to the key": Action(do, write.excuses)}


class PeersOnRedis(_Judged, RedisStore):
    """Redis. The lock is the key with the election's name in its own."""

    def queue(self) -> list[str]:
        return []  # whoever waits asks again and again

    def _keys(self, pattern: str) -> list[str]:
        return super()._keys("*" if pattern == "*" else f"*{ELECTION}*")


STORES: dict[str, Callable[[], Store]] = {
    "zookeeper": PeersOnZooKeeper,
    "etcd": PeersOnEtcd,
    "redis": PeersOnRedis,
}
