"""A Redis, a Valkey or a Redis Cluster of our own, to be frozen and killed."""

from __future__ import annotations

import re

from leaderlock.backends.base import Backend, Settings
from leaderlock.backends.redis import RedisBackend
from leaderlock.backends.redis.target import target_of
from leaderlock.testing import BackendHarness
from leaderlock.testing.harness import NAMESPACE
from leaderlock.testing.servers.redis import RedisCluster, RedisServer
from leaderlock.url import StoreURL


class RedisHarness(BackendHarness):
    """Servers that keep all they are told, also in a crash.

    The quarantine is off: it would have the first case after a crash wait for a whole lease. It has
    tests of its own.
    """

    # A little more than the default: there is a server to be scheduled as well.
    short_ttl = 1.5
    short_timeout = 0.3

    def __init__(self, store: RedisServer | RedisCluster) -> None:
        super().__init__()
        self._store = store
        self._nodes = store.nodes if isinstance(store, RedisCluster) else [store]

    def make_backend(self, settings: Settings) -> Backend:
        target = target_of(StoreURL.parse(self._store.url))
        return RedisBackend(target, settings, quarantine=False)

    def freeze(self) -> None:
        for node in self._nodes:
            node.freeze()

    def thaw(self) -> None:
        for node in self._nodes:
            if node.frozen:
                node.thaw()

    def break_store(self) -> None:
        for node in self._nodes:
            node.kill()

    def mend_store(self) -> None:
        for node in self._nodes:
            if not node.running:
                node.launch()
        for node in self._nodes:
            node.wait_until_ready()
        if isinstance(self._store, RedisCluster):
            self._store.wait_until_whole()

    def delete_leader(self, election: str) -> None:
        key = f"{{{NAMESPACE}:{election}}}:leader"
        node = self._store.node_of(key) if isinstance(self._store, RedisCluster) else self._store
        assert node.call("DEL", key) == 1

    def written(self) -> object:
        told = [str(node.call("INFO", "persistence")) for node in self._nodes]
        return [re.findall(r"rdb_changes_since_last_save:(\d+)", text) for text in told]
