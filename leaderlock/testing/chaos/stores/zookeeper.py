"""ZooKeeper, as a store of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from leaderlock.testing.chaos.stores.base import PATIENCE, Action, ClusteredStore
from leaderlock.testing.servers.process import NotReady
from leaderlock.testing.servers.zookeeper import ZooKeeperCluster

if TYPE_CHECKING:
    from kazoo.client import KazooClient


class ZooKeeperStore(ClusteredStore):
    """ZooKeeper."""

    name = "zookeeper"

    def __init__(self, nodes: int = 3) -> None:
        super().__init__(ZooKeeperCluster(nodes))

    def move(self, addresses: Sequence[str], ports: Sequence[int]) -> None:
        members = {
            f"server.{node.number}": f"{address}:{node.quorum_port}:{node.election_port}"
            for node, address in zip(self.cluster.nodes, addresses, strict=True)
        }
        for node, port in zip(self.cluster.nodes, ports, strict=True):
            node.port = node.plain_port = port
            node.settings |= {"clientPort": str(port), **members}

    def queue(self) -> list[str]:
        with self._client() as client:
            return [str(path) for path in _ephemerals(client, "/")]

    def left(self) -> list[str]:
        return [f"node {path}" for path in self.queue()]

    def actions(self) -> Mapping[str, Action]:
        return {
            "delete the node": Action(self._delete, ("I4",)),
            "close the session": Action(self._close, ("I4",)),
            "write to the node": Action(self._write),
        }

    def _delete(self) -> None:
        with self._client() as client:
            for path in _first(client):
                client.delete(path)

    def _close(self) -> None:
        with self._client() as client:
            owners = [client.get(path)[1].ephemeralOwner for path in _first(client)]
        for owner in owners:
            with self._client((owner, _password(owner))):
                pass

    def _write(self) -> None:
        with self._client() as client:
            for path in _first(client):
                client.set(path, client.get(path)[0] + b" and somebody else's")

    @contextlib.contextmanager
    def _client(self, session: tuple[int, bytes] | None = None) -> Iterator[KazooClient]:
        from kazoo.client import KazooClient
        from kazoo.exceptions import KazooException
        from kazoo.handlers.threading import KazooTimeoutError

        client = KazooClient(f"127.0.0.1:{self.ask_leader().port}", client_id=session)
        try:
            client.start(timeout=PATIENCE)
            yield client
        except (KazooException, KazooTimeoutError) as error:
            raise NotReady(repr(error)) from error
        finally:
            client.stop()
            client.close()


def _ephemerals(client: KazooClient, path: str) -> Iterator[str]:
    for child in client.get_children(path):
        below = f"{path.rstrip('/')}/{child}"
        stat = client.exists(below)
        if stat is not None and stat.ephemeralOwner:
            yield below
        elif stat is not None and below != "/zookeeper":
            yield from _ephemerals(client, below)


def _first(client: KazooClient) -> list[str]:
    """The node that leads, if there is one."""
    return sorted(_ephemerals(client, "/"), key=lambda path: path[-10:])[:1]


def _password(session: int) -> bytes:
    """A session's. ZooKeeper makes it of the id, by Java's Random (generatePasswd)."""
    seed = (session ^ 0xB3415C00 ^ 0x5DEECE66D) & (2**48 - 1)
    password = b""
    for _ in range(4):
        seed = (seed * 0x5DEECE66D + 0xB) & (2**48 - 1)
        password += (seed >> 16).to_bytes(4, "little")
    return password
