"""Consul, as a store of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from leaderlock.testing.chaos.stores.base import Action, ClusteredStore, decode
from leaderlock.testing.servers.consul import ConsulCluster, ConsulServer
from leaderlock.testing.servers.process import NotReady


class _Servers(ConsulCluster):
    """They may have been moved."""

    def leads(self, node: ConsulServer) -> bool:
        address = f"{node.settings['bind_addr']}:{node.rpc_port}"
        return bool(node.call("GET", "/v1/status/leader") == address)


class ConsulStore(ClusteredStore):
    """Consul."""

    name = "consul"

    def __init__(self, nodes: int = 3) -> None:
        super().__init__(_Servers(nodes))

    def move(self, addresses: Sequence[str], ports: Sequence[int]) -> None:
        meetings = {
            node: f"{address}:{node.gossip_port}"
            for node, address in zip(self.cluster.nodes, addresses, strict=True)
        }
        for node, address, port in zip(self.cluster.nodes, addresses, ports, strict=True):
            node.port = port
            node.settings["ports"]["http"] = port
            node.settings["bind_addr"] = address
            node.settings["retry_join"] = [at for n, at in meetings.items() if n is not node]

    def queue(self) -> list[str]:
        locks = [lock for lock in self._held() if lock["Key"].endswith("/leader")]
        return [decode(lock["Value"]) for lock in locks]

    def left(self) -> list[str]:
        held = [f"lock {lock['Key']}" for lock in self._held()]
        sessions = self.ask_leader().call("GET", "/v1/session/list?consistent")
        return held + [f"session {session['ID']}" for session in sessions]

    def actions(self) -> Mapping[str, Action]:
        return {
            "delete the key": Action(self._delete, ("I4",)),
            "destroy the session": Action(self._destroy),
            "write to the key": Action(self._write),
        }

    def _delete(self) -> None:
        for lock in self._held():
            self.ask_leader().call("DELETE", f"/v1/kv/{quote(lock['Key'])}")

    def _destroy(self) -> None:
        for lock in self._held():
            self.ask_leader().call("PUT", f"/v1/session/destroy/{lock['Session']}")

    def _write(self) -> None:
        for lock in self._held():
            value = f"{decode(lock['Value'])} and somebody else's"
            self.ask_leader().call("PUT", f"/v1/kv/{quote(lock['Key'])}", value)

    def _held(self) -> list[Any]:
        """The locks that somebody holds."""
        try:
            entries = self.ask_leader().call("GET", "/v1/kv/?recurse&consistent")
        except NotReady as answer:
            if getattr(answer, "status", 0) != 404:
                raise
            return []
        return [entry for entry in entries if "Session" in entry]
