"""Writes into the election's own store, which carries them out for the leader alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kazoo.protocol.serialization import Create, Delete, GetData, SetData

from leaderlock import (
    BackendRefused,
    ConfigurationError,
    FencingToken,
    LeaderElector,
    LeadershipLost,
    LossReason,
    StaleToken,
    TokenRegression,
)
from leaderlock.fencing import ConsulFence, EtcdFence, Fence, StoreFence, ZooKeeperFence
from leaderlock.testing.servers.web import call
from tests.backends.etcd_tools import delete as delete_in_etcd
from tests.elector.tools import PATIENCE, eventually
from tests.servers.external import Shared

KINDS: dict[str, type[StoreFence[Any]]] = {
    "etcd": EtcdFence,
    "zookeeper": ZooKeeperFence,
    "consul": ConsulFence,
}


@dataclass
class Store:
    """A store, and an election in it that nobody else knows."""

    url: str
    kind: type[StoreFence[Any]]
    election: str

    def elector(self, **settings: Any) -> LeaderElector:
        return LeaderElector(self.url, self.election, **{"ttl": 10, **settings})

    def fence(self, elector: LeaderElector) -> StoreFence[Any]:
        return self.kind(elector)

    def key(self, name: str) -> str:
        folder = f"app-{self.election}"
        return f"/{folder}/{name}" if self.kind is ZooKeeperFence else f"{folder}/{name}"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Store:
    server: Shared = request.getfixturevalue(request.param)
    return Store(server.url, KINDS[request.param], uuid.uuid4().hex[:8])


@pytest.fixture
def leader(store: Store) -> Iterator[LeaderElector]:
    with store.elector() as elector:
        assert elector.wait_elected(PATIENCE)
        yield elector


def token_of(elector: LeaderElector) -> FencingToken:
    assert elector.leadership is not None
    return elector.leadership.token


def test_the_leader_writes_and_everybody_reads(store: Store, leader: LeaderElector) -> None:
    fence, token, key = store.fence(leader), token_of(leader), store.key("a")
    assert isinstance(fence, Fence)
    fence.advance(token)
    assert (fence.read(key), fence.highest()) == (None, token)
    fence.write(token, {key: b"1", store.key("b/c"): b"\x00\xff"})
    fence.write(token, {key: b"2"}, deletes=[store.key("b/c"), store.key("never was")])
    assert (fence.read(key), fence.read(store.key("b/c"))) == (b"2", None)
    # It need not be the leader's process that writes: the token says for which term it is.
    other = store.elector()
    try:
        store.fence(other).write(token, {key: b"3"})
        assert fence.read(key) == b"3"
    finally:
        other.stop()


def test_who_was_succeeded_is_refused(store: Store, leader: LeaderElector) -> None:
    fence, old, key = store.fence(leader), token_of(leader), store.key("a")
    fence.write(old, {key: b"old"})
    with store.elector() as successor:
        leader.stop()
        assert successor.wait_elected(PATIENCE)
        new = token_of(successor)
        with pytest.raises(StaleToken) as caught:
            fence.write(old, {key: b"late"})
        assert (caught.value.presented, caught.value.highest) == (old, new)
        with pytest.raises(StaleToken):
            fence.check(old)
        with pytest.raises(StaleToken):
            store.fence(successor).advance(old)
        store.fence(successor).write(new, {key: b"new"})
        assert fence.read(key) == b"new"
    leader.stop()  # the fence has opened a session again to ask


def test_an_earlier_term_of_the_same_session_is_refused(
    store: Store, leader: LeaderElector
) -> None:
    fence, old, key = store.fence(leader), token_of(leader), store.key("a")
    fence.write(old, {key: b"1"})
    assert leader.resign()
    eventually(lambda: leader.is_leader)
    with pytest.raises(StaleToken):
        fence.write(old, {key: b"2"})
    fence.write(token_of(leader), {key: b"3"})
    with pytest.raises(StaleToken):  # found anew, or remembered
        fence.write(old, {key: b"4"})
    assert fence.read(key) == b"3"


def test_a_successor_that_comes_while_the_leaders_record_is_looked_for_is_seen(
    store: Store, leader: LeaderElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence, old = store.fence(leader), token_of(leader)
    find = fence._find
    looked: list[FencingToken] = []

    def find_late(token: FencingToken) -> Any:
        """After the token was found to lead: somebody else does by now."""
        if not looked:
            looked.append(token)
            assert leader.resign()
            eventually(lambda: leader.is_leader)
        return find(token)

    monkeypatch.setattr(fence, "_find", find_late)
    with pytest.raises(StaleToken):
        fence.write(old, {store.key("a"): b"late"})
    assert (looked, fence.read(store.key("a"))) == ([old], None)


def test_who_was_deposed_and_does_not_know_it_is_refused(
    store: Store, request: pytest.FixtureRequest
) -> None:
    with store.elector(ttl=20) as leader:
        assert leader.wait_elected(PATIENCE)
        fence, token, key = store.fence(leader), token_of(leader), store.key("a")
        fence.write(token, {key: b"1"})
        depose(store, leader, request)
        with pytest.raises((StaleToken, LeadershipLost)) as caught:
            fence.write(token, {key: b"2"})
        if isinstance(caught.value, LeadershipLost):  # else it leads again already
            assert (caught.value.reason, caught.value.token) == (LossReason.TAKEN, token)
        assert fence.read(key) == b"1"


def depose(store: Store, leader: LeaderElector, request: pytest.FixtureRequest) -> None:
    """Take the leader's record away at the store."""
    backend: Any = leader._client.runtime().backend
    match store.kind.__name__:
        case "EtcdFence":
            (place,) = backend._queue.places.values()
            delete_in_etcd(request.getfixturevalue("etcd"), place.key.decode())
        case "ZooKeeperFence":
            (place,) = backend._places.held.values()
            with backend._connection.talk() as talk:
                talk.ask(Delete(place.node.path, -1))
        case _:
            port = int(store.url.rpartition(":")[2])
            call(port, "DELETE", f"/v1/kv/{backend._key(store.election)}")


def test_while_nobody_leads_nobody_writes(store: Store, leader: LeaderElector) -> None:
    fence, token = store.fence(leader), token_of(leader)
    other = store.elector()
    try:
        leader.stop()
        eventually(lambda: other.leader() is None)
        with pytest.raises(LeadershipLost):
            store.fence(other).write(token, {store.key("a"): b"1"})
        assert store.fence(other).highest() is None
    finally:
        other.stop()
    assert fence.resource == store.election


def test_a_token_of_another_store_or_of_lost_data_is_a_regression(
    store: Store, leader: LeaderElector
) -> None:
    fence, token = store.fence(leader), token_of(leader)
    foreign = FencingToken(token.epoch, token.value, "redis:a")
    with pytest.raises(TokenRegression, match="redis:a"):
        fence.write(foreign, {store.key("a"): b"1"})
    higher = FencingToken(token.epoch, token.value + 1, token.source)
    with pytest.raises(TokenRegression, match="lost data"):
        fence.write(higher, {store.key("a"): b"1"})
    next_epoch = FencingToken(token.epoch + 1, token.value, token.source)
    with pytest.raises(TokenRegression, match="lost data"):
        fence.write(next_epoch, {store.key("a"): b"1"})
    with pytest.raises(StaleToken):
        fence.write(FencingToken(token.epoch - 1, token.value, ""), {store.key("a"): b"1"})
    assert fence.read(store.key("a")) is None


def test_one_write_is_all_or_nothing(store: Store, leader: LeaderElector) -> None:
    fence, token = store.fence(leader), token_of(leader)
    with pytest.raises(ConfigurationError, match="bytes"):
        fence.write(token, {store.key("a"): b"1", store.key("b"): "2"})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match="belongs to the elections"):
        prefix = "/leaderlock" if store.kind is ZooKeeperFence else "leaderlock"
        fence.write(token, {store.key("a"): b"1", f"{prefix}/x": b"2"})
    with pytest.raises(ConfigurationError, match="a key is a text"):
        fence.write(token, {store.key("a"): b"1", "": b"2"})
    assert fence.read(store.key("a")) is None


def test_the_fence_of_another_store_is_refused(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="not a LeaderElector"):
        store.kind("etcd://127.0.0.1")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"the elector's store is memory://"):
        store.fence(LeaderElector("memory://", "e"))


def test_a_node_is_written_with_those_above_it_and_with_a_path(zookeeper: Shared) -> None:
    store = Store(zookeeper.url + "/a/root", ZooKeeperFence, uuid.uuid4().hex[:8])
    with store.elector().lead(PATIENCE) as leadership:
        elector = store.elector()
        try:
            fence = store.fence(elector)
            puts = {store.key("x/y/z"): b"1", store.key("x/y"): b"2", store.key("x/w"): b"3"}
            fence.write(leadership.token, puts)
            assert {key: fence.read(key) for key in puts} == puts
            with pytest.raises(BackendRefused, match="children"):
                fence.write(leadership.token, {store.key("v"): b""}, deletes=[store.key("x")])
            assert fence.read(store.key("v")) is None
            for bad in ("app", "/", "/a//b", "/a/../b"):
                with pytest.raises(ConfigurationError, match="not the path of a node"):
                    fence.write(leadership.token, {bad: b""})
        finally:
            elector.stop()


def test_a_node_that_was_made_again_before_the_first_heartbeat_is_not_the_leaders(
    zookeeper: Shared,
) -> None:
    """As by a backup that is played back: it has the same path, and the version of a new one."""
    store = Store(zookeeper.url, ZooKeeperFence, uuid.uuid4().hex[:8])
    with store.elector(ttl=20) as leader:
        assert leader.wait_elected(PATIENCE)
        fence, token, key = store.fence(leader), token_of(leader), store.key("a")
        fence.write(token, {key: b"1"})
        backend: Any = leader._client.runtime().backend
        (place,) = backend._places.held.values()
        with backend._connection.talk() as talk:
            talk.ask(Delete(place.node.path, -1))
            talk.ask(Create(place.node.path, b"", backend._nodes._acl, 0))
        with pytest.raises((StaleToken, LeadershipLost)):
            fence.write(token, {key: b"2"})
        assert fence.read(key) == b"1"


def test_a_leader_whose_node_somebody_has_written_to_goes_on(
    zookeeper: Shared,
) -> None:
    store = Store(zookeeper.url, ZooKeeperFence, uuid.uuid4().hex[:8])
    with store.elector() as leader:
        assert leader.wait_elected(PATIENCE)
        fence, token = store.fence(leader), token_of(leader)
        fence.write(token, {store.key("a"): b"1"})
        backend: Any = leader._client.runtime().backend
        (place,) = backend._places.held.values()
        with backend._connection.talk() as talk:
            value, _ = talk.ask(GetData(place.node.path, None))
            talk.ask(SetData(place.node.path, value, -1))
        fence.write(token, {store.key("a"): b"2"})
        assert fence.read(store.key("a")) == b"2"
