"""An etcd of our own, to be frozen and killed."""

from __future__ import annotations

from leaderlock.backends.base import Backend, Settings
from leaderlock.backends.etcd import EtcdBackend
from leaderlock.backends.etcd.target import target_of
from leaderlock.backends.layout import key_part
from leaderlock.testing.harness import NAMESPACE
from leaderlock.testing.servers.etcd import EtcdServer, encode
from leaderlock.url import StoreURL
from tests.conformance.server_harness import ServerHarness


class EtcdHarness(ServerHarness[EtcdServer]):
    """One server, which grants no shorter lease than 2 s."""

    short_ttl = 2.0
    short_timeout = 0.4

    def __init__(self, server: EtcdServer) -> None:
        super().__init__(server)
        self._target = target_of(StoreURL.parse(server.url))

    def make_backend(self, settings: Settings) -> Backend:
        return EtcdBackend(self._target, settings)

    def delete_leader(self, election: str) -> None:
        prefix = f"{NAMESPACE}/{key_part(election)}/"
        queue = self._server.call(
            "kv/range",
            {
                "key": encode(prefix),
                "range_end": encode(prefix[:-1] + "0"),
                "sort_target": "CREATE",
                "sort_order": "ASCEND",
                "limit": 1,
            },
        )
        deleted = self._server.call("kv/deleterange", {"key": queue["kvs"][0]["key"]})
        assert deleted["deleted"] == "1"

    def written(self) -> object:
        return self._server.call("kv/range", {"key": encode("any")})["header"]["revision"]
