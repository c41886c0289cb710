"""leader() and observe(): who leads, for everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from leaderlock import BackendRefused, BackendUnavailable, Client, LeaderElector, LeaderInfo
from leaderlock.backends.base import Reading
from leaderlock.observer import decode_reading
from tests.elector.tools import PATIENCE, Store, eventually, in_thread


class Watching:
    """Follows an elector's observe() on a thread of its own."""

    def __init__(self, elector: LeaderElector) -> None:
        self.seen: list[LeaderInfo | None] = []
        self.ended = threading.Event()
        self._elector = elector

    def __call__(self) -> None:
        for info in self._elector.observe():
            self.seen.append(info)
        self.ended.set()

    def names(self) -> list[str | None]:
        return [None if info is None else info.candidate_id for info in self.seen]


@pytest.fixture
def observer(store: Store, clients: Callable[..., Client]) -> LeaderElector:
    return clients(store.sibling()).elector("e")


@pytest.fixture
def watching(observer: LeaderElector) -> Iterator[Watching]:
    watching = Watching(observer)
    with in_thread(watching):
        yield watching
        observer.stop()
    assert watching.ended.is_set()


def test_it_yields_the_present_state_first_then_every_change_and_none_between(
    client: Client, watching: Watching
) -> None:
    eventually(lambda: watching.names() == [None])
    first = client.elector("e", candidate_id="first", metadata={"host": "a", "n": [1, 2]})
    second = client.elector("e", candidate_id="second")
    for number, elector in enumerate((first, second)):
        elector.start()
        assert elector.wait_elected(PATIENCE)
        eventually(lambda number=number: len(watching.seen) == 2 * number + 2)  # type: ignore[misc]
        elector.stop()
        eventually(lambda number=number: len(watching.seen) == 2 * number + 3)  # type: ignore[misc]
    assert watching.names() == [None, "first", None, "second", None]
    info = watching.seen[1]
    assert info is not None
    assert info.metadata == {"host": "a", "n": [1, 2]}
    later = watching.seen[3]
    assert later is not None and later.token > info.token


def test_an_observer_writes_nothing_and_does_not_contend(
    store: Store, observer: LeaderElector, watching: Watching
) -> None:
    eventually(lambda: watching.seen)
    writes = observer._client.runtime().backend
    assert isinstance(writes, Store)
    assert {verb for verb, _ in writes.seen} == {"leader"}
    assert not observer.is_leader


def test_several_observers_of_one_elector_all_see_it(
    client: Client, observer: LeaderElector, watching: Watching
) -> None:
    other = Watching(observer)
    with in_thread(other):
        eventually(lambda: other.seen and watching.seen)
        leader = client.elector("e", candidate_id="me")
        leader.start()
        eventually(lambda: "me" in other.names() and "me" in watching.names())
        observer.stop()


def test_a_generator_that_is_closed_no_longer_listens(
    store: Store, observer: LeaderElector
) -> None:
    changes = observer.observe()
    assert next(changes) is None
    assert len(store._election("e").watchers) == 1
    changes.close()  # type: ignore[attr-defined]
    assert not store._election("e").watchers
    assert not observer._feed._subscribers


def test_a_loop_that_breaks_no_longer_listens(store: Store, observer: LeaderElector) -> None:
    for _ in observer.observe():
        break
    eventually(lambda: not store._election("e").watchers)


def test_a_lease_that_runs_out_unseen_is_noticed(clients: Callable[..., Client]) -> None:
    store = Store(ttl=0.5)
    leader = clients(store).elector("e")
    leader.start()
    assert leader.wait_elected(PATIENCE)
    store.fail("renew", "release", "campaign")
    watching = Watching(clients(store.sibling()).elector("e"))
    with in_thread(watching):
        eventually(lambda: watching.names()[-1:] == [None])
        watching._elector.stop()
    store.heal()


def test_an_outage_of_the_store_ends_no_observation(
    client: Client, observer: LeaderElector, watching: Watching
) -> None:
    backend = observer._client.runtime().backend
    assert isinstance(backend, Store)
    eventually(lambda: watching.seen)
    backend.fail("leader")
    leader = client.elector("e", candidate_id="me")
    leader.start()
    assert leader.wait_elected(PATIENCE)
    asked = backend.calls["leader"]
    eventually(lambda: backend.calls["leader"] >= asked + 2)
    assert watching.names() == [None]
    backend.heal()
    eventually(lambda: watching.names() == [None, "me"])


def test_leader_asks_the_store_now(client: Client, observer: LeaderElector) -> None:
    assert observer.leader() is None
    leader = client.elector("e", candidate_id="me", metadata={"a": 1})
    with leader.lead(timeout=PATIENCE) as leadership:
        info = observer.leader()
        assert info == LeaderInfo("me", leadership.token, {"a": 1})
    assert observer.leader() is None


def test_leader_raises_when_the_store_is_silent(store: Store, client: Client) -> None:
    store.fail("leader")
    with pytest.raises(BackendUnavailable):
        client.elector("e").leader()


def test_an_observation_goes_on_over_a_restart_of_another_elector_of_the_client(
    store: Store, client: Client
) -> None:
    watching = Watching(client.elector("e"))
    other = client.elector("e", candidate_id="other")
    with in_thread(watching):
        for _ in range(2):
            other.start()
            assert other.wait_elected(PATIENCE)
            eventually(lambda: watching.names()[-1:] == ["other"])
            other.stop()
            eventually(lambda: watching.names()[-1:] == [None])
        client.close()
    assert watching.ended.is_set()


def test_an_elector_can_be_observed_again_after_a_stop(
    client: Client, observer: LeaderElector
) -> None:
    for _ in range(3):
        changes = observer.observe()
        assert next(changes) is None
        observer.stop()
        assert list(changes) == []


def test_start_and_stop_do_not_lose_the_callback_of_a_follower(client: Client) -> None:
    told: list[object] = []
    elector = client.elector("e", on_leader_change=told.append)
    for _ in range(3):
        told.clear()
        elector.start()
        eventually(lambda: told)
        client.close()


def test_observing_begins_and_ends_at_random_beside_stops(store: Store) -> None:
    """No iterator outlives the stop that comes after its beginning."""
    elector = LeaderElector(store, "e")
    done = threading.Event()

    def observe() -> None:
        while not done.is_set():
            for _ in elector.observe():
                pass

    with in_thread(observe), in_thread(observe):
        for _ in range(200):
            elector.stop()
        done.set()
        eventually(lambda: elector.stop() and not elector._feed._subscribers)


_HEAD = b'{"id": "a", "epoch": 1, "meta": '


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"[]",
        b'{"id": 5, "epoch": 1, "meta": {}}',
        b'{"id": "\\ud800", "epoch": 1, "meta": {}}',
        b'{"id": "a", "epoch": "1", "meta": {}}',
        _HEAD + b"[1, 2]}",
        _HEAD + b"null}",
        _HEAD + b'{"a": NaN}}',
        _HEAD + b'{"a": ' * 100_000,
        _HEAD + b'{"a": ' + b"9" * 5000 + b"}}",
    ],
    ids=lambda payload: repr(payload[:50]),
)
def test_what_no_candidate_has_written_is_refused_in_plain_words(payload: bytes) -> None:
    with pytest.raises(BackendRefused, match="a leader that leaderlock cannot read"):
        decode_reading(Reading(payload=payload, token=1))
