"""etcd, as a store of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leaderlock.testing.chaos.stores.base import Action, ClusteredStore, decode
from leaderlock.testing.servers.etcd import EtcdCluster, encode


class EtcdStore(ClusteredStore):
    """etcd."""

    name = "etcd"

    def __init__(self, nodes: int = 3) -> None:
        super().__init__(EtcdCluster(nodes))

    def move(self, addresses: Sequence[str], ports: Sequence[int]) -> None:
        for node, address, port in zip(self.cluster.nodes, addresses, ports, strict=True):
            node.port = port
            node.peer_url = node.peer_url.replace("127.0.0.1", address)
        members = ",".join(f"{node.name}={node.peer_url}" for node in self.cluster.nodes)
        for node in self.cluster.nodes:
            node.initial_cluster = members

    def queue(self) -> list[str]:
        return [key for kv in self._find() if "/~/" not in (key := decode(kv["key"]))]

    def left(self) -> list[str]:
        keys = [f"key {decode(kv['key'])}" for kv in self._find()]
        leases = self.ask_leader().call("lease/leases", {}).get("leases", [])
        return keys + [f"lease {int(lease['ID']):x}" for lease in leases]

    def actions(self) -> Mapping[str, Action]:
        return {
            "delete the key": Action(self._delete, ("I4",)),
            "revoke the lease": Action(self._revoke, ("I4",)),
            "write to the key": Action(self._write, ("I4",)),
        }

    def _delete(self) -> None:
        if kv := self._oldest():
            self.ask_leader().call("kv/deleterange", {"key": kv["key"]})

    def _revoke(self) -> None:
        if (kv := self._oldest()) and kv.get("lease"):
            self.ask_leader().call("lease/revoke", {"ID": kv["lease"]})

    def _write(self) -> None:
        if kv := self._oldest():
            self.ask_leader().call("kv/put", {"key": kv["key"], "value": encode("somebody else's")})

    def _oldest(self) -> Any:
        queue = [kv for kv in self._find() if "/~/" not in decode(kv["key"])]
        return min(queue, key=lambda kv: int(kv["create_revision"]), default=None)

    def _find(self) -> list[Any]:
        everything = {"key": encode("\0"), "range_end": encode("\0")}
        found = self.ask_leader().call("kv/range", everything).get("kvs", [])
        return list(found)
