"""A candidate whose place in the store's queue is gone: it is told of, and queues again.

As the candidates of etcd#19597 did not, whose leases had run out while they waited: they waited on,
for ever. For each store that keeps a queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from leaderlock import LossReason, connect
from leaderlock.backends.base import Backend, Settings
from leaderlock.backends.etcd import EtcdBackend
from leaderlock.backends.zookeeper import ZooKeeperBackend
from leaderlock.telemetry.events import Event, PlaceLost
from leaderlock.testing import FaultyBackend
from leaderlock.testing.servers.etcd import EtcdServer, encode
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from leaderlock.url import StoreURL
from tests.backends import etcd_tools
from tests.conformance.zookeeper_harness import operate
from tests.elector.tools import PATIENCE, eventually

SETTINGS = Settings(ttl=3.0, request_timeout=0.6)


class Queue(Protocol):
    """The queue of the election "e", and an operator who harms those that wait in it."""

    def connect(self) -> Backend: ...

    def places(self) -> list[str]:
        """The leader's first."""

    def delete(self, place: str) -> None: ...

    def end_session(self, backend: Backend, place: str) -> None: ...


class EtcdQueue:
    def __init__(self, server: EtcdServer) -> None:
        self.server = server

    def connect(self) -> Backend:
        return EtcdBackend.from_url(StoreURL.parse(self.server.url), SETTINGS)

    def places(self) -> list[str]:
        return etcd_tools.queue_of(self.server)

    def delete(self, place: str) -> None:
        etcd_tools.delete(self.server, place)

    def end_session(self, backend: Backend, place: str) -> None:
        (found,) = self.server.call("kv/range", {"key": encode(place)})["kvs"]
        self.server.call("lease/revoke", {"ID": found["lease"]})


class ZooKeeperQueue:
    def __init__(self, server: ZooKeeperServer) -> None:
        self.server = server

    def connect(self) -> Backend:
        return ZooKeeperBackend.from_url(StoreURL.parse(self.server.url), SETTINGS)

    def places(self) -> list[str]:
        path = "/leaderlock/e"
        nodes = operate(
            self.server.port,
            lambda client: client.get_children(path) if client.exists(path) else [],
        )
        return [f"{path}/{node}" for node in sorted(nodes, key=lambda node: node[-10:])]

    def delete(self, place: str) -> None:
        operate(self.server.port, lambda client: client.delete(place))

    def end_session(self, backend: Backend, place: str) -> None:
        assert isinstance(backend, ZooKeeperBackend)
        session = backend._connection.session
        assert session is not None
        operate(self.server.port, lambda _: None, client_id=session.client.client_id)


@pytest.fixture(params=["etcd", "zookeeper"])
def queue(request: pytest.FixtureRequest) -> Queue:
    if request.param == "etcd":
        return EtcdQueue(request.getfixturevalue("own_etcd"))
    return ZooKeeperQueue(request.getfixturevalue("own_zookeeper"))


class Pair:
    """A leader, and one who waits behind it."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.backends = [queue.connect(), FaultyBackend(waits := queue.connect())]
        self.waits = waits
        self.clients = [connect(backend) for backend in self.backends]
        self.leader, self.waiter = (client.elector("e") for client in self.clients)
        self.lost: list[Event] = []
        self.waiter.subscribe(self.lost.append, PlaceLost)

    @property
    def faulty(self) -> FaultyBackend:
        backend = self.backends[1]
        assert isinstance(backend, FaultyBackend)
        return backend

    def start(self) -> None:
        self.leader.start()
        assert self.leader.wait_elected(PATIENCE)
        self.waiter.start()
        eventually(lambda: len(self.queue.places()) == 2)
        eventually(lambda: self.waiter._candidate._is_queued)
        assert self.waiter.health()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for backend in self.backends:
            backend.close()


@pytest.fixture
def pair(queue: Queue) -> Iterator[Pair]:
    pair = Pair(queue)
    try:
        pair.start()
        yield pair
    finally:
        pair.close()


@pytest.mark.parametrize("harm", ["an operator deletes its key", "its session ends"])
def test_it_is_not_healthy_until_it_queues_again_and_leads_in_the_end(
    pair: Pair, queue: Queue, harm: str
) -> None:
    first, place = queue.places()
    with pair.faulty.hanging("campaign") as hang:
        if harm == "its session ends":
            reason = LossReason.SESSION_LOST
            queue.end_session(pair.waits, place)
        else:
            reason = LossReason.TAKEN
            queue.delete(place)
        assert hang.wait_hit(timeout=PATIENCE), "it has not noticed"
        eventually(lambda: not pair.waiter.health())
        assert f"lost its place in the queue ({reason.value})" in pair.waiter.health().problem
    eventually(pair.waiter.health)
    eventually(lambda: len(queue.places()) == 2)
    assert queue.places()[0] == first and queue.places()[1] != place
    eventually(lambda: [e.reason for e in pair.lost if isinstance(e, PlaceLost)] == [reason])
    assert pair.leader.is_leader
    assert pair.leader.stop()
    assert pair.waiter.wait_elected(PATIENCE)


@pytest.mark.parametrize("store", ["redis", "consul", "etcd", "zookeeper"])
def test_at_a_silent_store_neither_who_waits_nor_who_leads_is_healthy(
    store: str, request: pytest.FixtureRequest
) -> None:
    """With a queue or without one: who is owed an answer is not in line."""
    server: Server = request.getfixturevalue(f"own_{store}")
    settings = {"ttl": SETTINGS.ttl, "request_timeout": SETTINGS.request_timeout}
    with connect(server.url, **settings) as leading, connect(server.url, **settings) as waiting:
        leader, waiter = leading.elector("e"), waiting.elector("e")
        leader.start()
        assert leader.wait_elected(PATIENCE)
        waiter.start()
        eventually(lambda: waiter._candidate._is_queued)
        assert leader.health() and waiter.health()
        server.freeze()
        try:
            eventually(lambda: not leader.health() and not waiter.health())
        finally:
            server.thaw()
        eventually(lambda: leader.health() and waiter.health())
        eventually(lambda: leader.is_leader or waiter.is_leader)
