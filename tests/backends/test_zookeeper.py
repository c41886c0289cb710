"""zookeeper:// on a real server: the traps of the store, and those of kazoo."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from leaderlock import BackendRefused, BackendUnavailable
from leaderlock.backends.base import Attempt, Granted, Renewal, Settings, Waiting
from leaderlock.backends.wakes import Wakes
from leaderlock.backends.zookeeper import ZooKeeperBackend, nodes
from leaderlock.backends.zookeeper.proofs import Proofs
from leaderlock.backends.zookeeper.session import Session
from leaderlock.testing.conformance.tools import until, until_answered
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from leaderlock.url import StoreURL
from tests.conformance.zookeeper_harness import ZooKeeperHarness, operate, paused, wait_settled

LONG = 30.0  # a ttl that no test waits for
SOON = 10.0  # by then it has happened, on a busy machine too; never waited for in full
NAMESPACE = "tests"


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeperServer]:
    """Not the shared one: it is frozen and killed."""
    with ZooKeeperServer(tick=100) as server:
        yield server


MakeBackend = Callable[..., ZooKeeperBackend]


@pytest.fixture
def make(server: ZooKeeperServer) -> Iterator[MakeBackend]:
    made: list[ZooKeeperBackend] = []

    def make_backend(
        ttl: float = LONG, request_timeout: float = 5.0, port: int = 0, at: str = ""
    ) -> ZooKeeperBackend:
        settings = Settings(ttl=ttl, request_timeout=request_timeout, namespace=NAMESPACE)
        url = at or (server.url_at(port) if port else server.url)
        made.append(ZooKeeperBackend.from_url(StoreURL.parse(url), settings))
        return made[-1]

    yield make_backend
    if server.frozen:
        server.thaw()
    if not server.running:
        server.start()
    for backend in made:
        backend.close()


class Woken:
    """An attempt, and how often it has been woken."""

    def __init__(self, election: str) -> None:
        self.count = 0
        self.attempt = Attempt(election, uuid.uuid4().hex, b"payload", self._wake)

    def _wake(self) -> None:
        self.count += 1


def new_attempt(election: str | None = None, wake: Callable[[], None] = lambda: None) -> Attempt:
    return Attempt(election or uuid.uuid4().hex, uuid.uuid4().hex, b"payload", wake)


def win(backend: ZooKeeperBackend, attempt: Attempt) -> Granted:
    answer = backend.campaign(attempt)
    assert isinstance(answer, Granted), answer
    return answer


def make_election(backend: ZooKeeperBackend, attempt: Attempt) -> None:
    """Have its persistent nodes there."""
    first = new_attempt(attempt.election)
    win(backend, first)
    backend.release(first)


def renewal(backend: ZooKeeperBackend, attempt: Attempt) -> Renewal | None:
    return backend.renew([attempt]).outcomes.get(attempt.attempt_id)


def node_of(backend: ZooKeeperBackend, attempt: Attempt) -> str:
    node = backend._places.held[attempt.attempt_id].node
    assert node is not None
    return node.path


def session_of(backend: ZooKeeperBackend) -> Session:
    session = backend._connection.session
    assert session is not None
    return session


def children(server: ZooKeeperServer, attempt: Attempt) -> list[str]:
    path = f"/{NAMESPACE}/{attempt.election}"
    found = operate(server.port, lambda c: c.get_children(path) if c.exists(path) else [])
    return [str(child) for child in found]


def number(server: ZooKeeperServer, name: str) -> int:
    """One of the server's own counters."""
    lines = dict(line.split("\t") for line in server.ask("mntr").splitlines())
    return int(lines[f"zk_{name}"])


def has_lost_connection(backend: ZooKeeperBackend) -> bool:
    return not session_of(backend).client.connected


# The heartbeat


def test_a_heartbeat_is_a_write_that_wakes_nobody(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """A `set` would wake the waiting one at every beat; a reading proves nothing."""
    leader, waiter = make(), make()
    led = new_attempt()
    waiting = Woken(led.election)
    win(leader, led)
    assert isinstance(waiter.campaign(waiting.attempt), Waiting)
    assert renewal(leader, led) is Renewal.RENEWED  # the first writes the node, once
    before = operate(server.port, lambda c: c.get(node_of(leader, led))[1])
    zxid = [line for line in server.ask("srvr").splitlines() if "Zxid" in line]
    for _ in range(5):
        assert renewal(leader, led) is Renewal.RENEWED
        assert renewal(waiter, waiting.attempt) is Renewal.RENEWED
    assert [line for line in server.ask("srvr").splitlines() if "Zxid" in line] != zxid
    assert operate(server.port, lambda c: c.get(node_of(leader, led))[1]) == before
    assert waiting.count == 0


@contextlib.contextmanager
def asked(backend: ZooKeeperBackend) -> Iterator[list[str]]:
    """The requests that were sent during the block."""
    connection = session_of(backend).client._connection
    sent: list[str] = []
    submit = connection._submit

    def note(request: Any, *rest: Any) -> None:
        sent.append(type(request).__name__)
        submit(request, *rest)

    connection._submit = note
    try:
        yield sent
    finally:
        del connection._submit


def test_every_verb_takes_few_requests(make: MakeBackend) -> None:
    backend, led = make(), new_attempt()
    make_election(backend, led)
    make_election(backend, led)  # the client takes no other election to be new
    first, second = (new_attempt(led.election) for _ in range(2))
    for verb, expected in (
        (lambda: backend.campaign(led), ["Create2", "GetChildren"]),
        (lambda: backend.campaign(first), ["Create2", "GetChildren", "GetChildren2"]),
        (lambda: backend.campaign(second), ["Create2", "GetChildren", "GetChildren2"]),
        (lambda: backend.renew([led, first, second]), ["Checks"]),
        (lambda: backend.release(led), ["Delete"]),
        (lambda: backend.campaign(first), ["SetData", "GetChildren"]),  # after its wake
        # An election that is new; and then one of which that is expected.
        (
            lambda: backend.campaign(new_attempt()),
            ["Create2", "GetChildren", "Create", "Create2", "GetChildren"],
        ),
        (lambda: backend.campaign(new_attempt()), ["Create", "Create2", "GetChildren"]),
    ):
        with asked(backend) as requests:
            verb()
        assert requests == expected


def test_all_nodes_are_proved_by_one_request(make: MakeBackend) -> None:
    backend = make()
    attempts = [new_attempt() for _ in range(20)]
    for attempt in attempts:
        win(backend, attempt)
    for _ in range(2):
        with asked(backend) as requests:
            backend.renew(attempts)
        assert requests == ["Checks"]


def test_the_first_heartbeat_of_many_fits_into_requests_that_servers_take(
    make: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes the nodes, with their values: a server hangs up on more than 1 MB."""
    backend = make()
    attempts = [
        Attempt(uuid.uuid4().hex, uuid.uuid4().hex, b"x" * 20_000, lambda: None) for _ in range(60)
    ]
    for attempt in attempts:
        win(backend, attempt)
    for _ in range(2):
        assert set(backend.renew(attempts).outcomes.values()) == {Renewal.RENEWED}
    assert len(backend.renew(attempts).outcomes) == len(attempts)


def test_one_deleted_node_costs_the_others_nothing(
    server: ZooKeeperServer, make: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction fails as a whole, and tells of the first failure only."""
    monkeypatch.setattr(nodes, "_MOST_CHECKS", 5)
    backend = make()
    attempts = [new_attempt() for _ in range(13)]
    for attempt in attempts:
        win(backend, attempt)
    assert set(backend.renew(attempts).outcomes.values()) == {Renewal.RENEWED}
    deleted = [attempts[1], attempts[3], attempts[12]]
    for attempt in deleted:
        path = node_of(backend, attempt)
        operate(server.port, lambda c: c.delete(path))  # noqa: B023
    outcomes = backend.renew(attempts).outcomes
    for attempt in attempts:
        expected = Renewal.TAKEN if attempt in deleted else Renewal.RENEWED
        assert outcomes[attempt.attempt_id] is expected


def test_a_node_that_somebody_deleted_and_made_again_is_not_ours(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """What a backup that is played back does; meanwhile another one may have been elected."""
    backend, attempt = make(), new_attempt()
    win(backend, attempt)
    path = node_of(backend, attempt)

    def restore(client: KazooClient) -> None:
        value, _ = client.get(path)
        client.delete(path)
        client.create(path, value)

    operate(server.port, restore)
    assert renewal(backend, attempt) is Renewal.TAKEN
    reading = backend.leader(attempt.election)
    assert reading.payload is None, "a persistent copy is nobody"
    heir = new_attempt(attempt.election)
    win(backend, heir)
    operate(server.port, lambda c: c.delete(path))
    assert renewal(backend, heir) is Renewal.RENEWED


def test_a_foreign_write_takes_nothing_and_is_put_right(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    backend, attempt = make(), new_attempt()
    token = win(backend, attempt).token
    for value in (b"", b"somebody was here"):
        operate(server.port, lambda c: c.set(node_of(backend, attempt), value))  # noqa: B023
        with pytest.raises(BackendUnavailable, match="something else has written"):
            backend.leader(attempt.election)
        assert renewal(backend, attempt) is Renewal.RENEWED
        reading = backend.leader(attempt.election)
        assert (reading.payload, reading.token) == (b"payload", token)
    assert isinstance(backend.campaign(new_attempt(attempt.election)), Waiting)


# The queue


def test_only_the_next_one_is_woken(make: MakeBackend) -> None:
    """No herd: the others watch somebody else."""
    leader, others = make(), make()
    led = new_attempt()
    win(leader, led)
    waiting = [Woken(led.election) for _ in range(5)]
    for one in waiting:
        assert isinstance(others.campaign(one.attempt), Waiting)
    leader.release(led)
    until(lambda: waiting[0].count > 0, SOON, "the next one was not woken")
    assert [one.count for one in waiting[1:]] == [0] * 4
    win(others, waiting[0].attempt)


def test_numbers_that_have_overflown_are_refused(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """After 2**31 candidates they turn negative, and the newest would lead."""
    backend, attempt = make(), new_attempt()
    win(backend, attempt)
    newest = f"/{NAMESPACE}/{attempt.election}/{'0' * 32}-n_-2147483648"
    operate(server.port, lambda c: c.create(newest))
    with pytest.raises(BackendRefused, match="used up"):
        backend.campaign(new_attempt(attempt.election))
    with pytest.raises(BackendRefused, match="used up"):
        backend.leader(attempt.election)
    assert renewal(backend, attempt) is Renewal.RENEWED


def test_foreign_children_are_nobody(server: ZooKeeperServer, make: MakeBackend) -> None:
    backend, attempt = make(), new_attempt()
    win(backend, attempt)
    backend.release(attempt)
    parent = f"/{NAMESPACE}/{attempt.election}"
    operate(server.port, lambda c: [c.create(f"{parent}/{n}") for n in ("x", "a-n_", "0000000000")])
    assert backend.leader(attempt.election).payload is None
    win(backend, new_attempt(attempt.election))


def test_tokens_rise_and_the_source_stays_when_all_nodes_are_deleted(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """The numbers of the nodes begin anew then; transactions do not."""
    backend, election = make(), uuid.uuid4().hex
    grants = []
    for _ in range(3):
        attempt = new_attempt(election)
        grants.append(win(backend, attempt))
        assert node_of(backend, attempt).endswith("0000000000")
        operate(server.port, lambda c: c.delete(f"/{NAMESPACE}", recursive=True))
        assert renewal(backend, attempt) is Renewal.TAKEN
        backend.release(attempt)
    tokens = [granted.token for granted in grants]
    assert tokens == sorted(set(tokens))
    win(backend, new_attempt(election))
    assert {granted.source for granted in grants} == {make().leader(election).source}


def test_who_waits_knows_the_source_too(server: ZooKeeperServer, make: MakeBackend) -> None:
    """It may be the first to make the nodes again."""
    leader, waiter, led = make(), make(), new_attempt()
    waiting = new_attempt(led.election)
    source = win(leader, led).source
    assert isinstance(waiter.campaign(waiting), Waiting)
    operate(server.port, lambda c: c.delete(f"/{NAMESPACE}", recursive=True))
    assert win(waiter, waiting).source == source
    assert make().leader(led.election).source == source


def test_an_observer_outlives_the_deletion_of_all_nodes(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    candidate, observer, election = make(), make(), uuid.uuid4().hex
    woken = threading.Event()
    forget = observer.watch(election, woken.set)

    def must_see(change: Callable[[], object], payload: bytes | None) -> None:
        woken.clear()
        change()
        while not (observer.leader(election).payload == payload and woken.is_set()):
            assert woken.wait(SOON), "not woken"

    for _ in range(2):
        attempt = new_attempt(election)
        assert observer.leader(election).payload is None
        must_see(lambda: win(candidate, attempt), b"payload")  # noqa: B023
        must_see(
            lambda: operate(server.port, lambda c: c.delete(f"/{NAMESPACE}", recursive=True)), None
        )
        candidate.release(attempt)
    forget()


# Creations whose answer was not heard


def test_what_an_ended_attempt_left_in_the_queue_is_removed_by_the_next_one(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """The session of both would keep it there for ever."""
    backend, attempt = make(), new_attempt()
    make_election(backend, attempt)
    stem = f"/{NAMESPACE}/{attempt.election}/{uuid.uuid4().hex}-n_"
    left = session_of(backend).client.create(stem, b"", ephemeral=True, sequence=True)
    win(backend, attempt)
    assert not operate(server.port, lambda c: c.exists(left))


def test_creations_that_were_cut_off_are_not_looked_for_for_ever(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    harness = ZooKeeperHarness(server)
    with Proxy(server.port) as proxy:
        backend, kept = make(request_timeout=0.5, port=proxy.port), new_attempt()
        until_answered(harness, lambda: backend.campaign(kept))
        for _ in range(3):
            given_up = new_attempt()
            make_election(backend, given_up)
            proxy.drop_replies(after=given_up.attempt_id.encode())
            with pytest.raises(BackendUnavailable):
                backend.campaign(given_up)
            proxy.pass_on()
            until_answered(harness, lambda: backend.release(given_up))  # noqa: B023

        def is_swept() -> bool:
            assert until_answered(harness, lambda: renewal(backend, kept)) is Renewal.RENEWED
            return list(backend._places.held) == [kept.attempt_id]

        until(is_swept, SOON, "they are kept")


def test_a_creation_that_was_not_heard_of_is_found(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    with Proxy(server.port) as proxy:
        backend, attempt = make(request_timeout=0.5, port=proxy.port), new_attempt()
        make_election(backend, attempt)
        proxy.drop_replies(after=attempt.attempt_id.encode())
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt)
        assert len(children(server, attempt)) == 1
        proxy.pass_on()
        granted = until_answered(ZooKeeperHarness(server), lambda: backend.campaign(attempt))
        assert isinstance(granted, Granted)
        assert len(children(server, attempt)) == 1, "a second place: it would wait for itself"
        waiting = new_attempt(attempt.election)
        assert isinstance(backend.campaign(waiting), Waiting)
        first, second = (int(node_of(backend, one)[-10:]) for one in (attempt, waiting))
        assert second == first + 1, "it was created twice"
        backend.release(waiting)
        assert renewal(backend, attempt) is Renewal.RENEWED
        until_answered(ZooKeeperHarness(server), lambda: backend.release(attempt))
        assert not children(server, attempt)


def test_a_second_creation_is_left_with_the_first(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """The first one arrives after it has been looked for, but before the second."""
    backend, attempt = make(), new_attempt()
    win(backend, attempt)
    place = backend._places.held[attempt.attempt_id]
    spare = session_of(backend).client.create(place.stem, b"", ephemeral=True, sequence=True)
    place.node = None
    granted = win(backend, attempt)
    assert not operate(server.port, lambda c: c.exists(spare))
    reading = backend.leader(attempt.election)
    assert (reading.token, len(children(server, attempt))) == (granted.token, 1)


def test_a_node_of_a_session_that_was_given_up_is_not_taken_over(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """It would vanish under the leader's feet."""
    backend, attempt = make(), new_attempt()
    make_election(backend, attempt)
    old = KazooClient(f"127.0.0.1:{server.port}")
    old.start()
    try:
        path = f"/{NAMESPACE}/{attempt.election}/{attempt.attempt_id}-n_"
        before = old.create(path, b"", ephemeral=True, sequence=True)
        win(backend, attempt)
        assert node_of(backend, attempt) != before
        assert not old.exists(before), "it would stand in the way"
    finally:
        old.stop()
        old.close()


def test_a_late_creation_dies_with_the_session_that_nobody_needs(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """The server stands still; the client gives up; the server goes on."""
    backend, attempt = make(request_timeout=0.4), new_attempt()
    backend.leader(attempt.election)  # connects
    before = session_of(backend).id
    server.freeze()
    with pytest.raises(BackendUnavailable):
        backend.campaign(attempt)
    began = time.monotonic()
    with pytest.raises(BackendUnavailable):
        backend.release(attempt)
    assert time.monotonic() - began < 3
    server.thaw()
    until(lambda: f"0x{before:x}" not in server.ask("dump"), SOON, "the session was not ended")
    until_answered(ZooKeeperHarness(server), lambda: backend.campaign(new_attempt()))
    assert session_of(backend).id != before
    assert not children(server, attempt)


@pytest.mark.parametrize("cut", [False, True], ids=["connected", "cut off"])
def test_a_late_creation_is_deleted_where_others_need_the_session(
    server: ZooKeeperServer, make: MakeBackend, cut: bool
) -> None:
    """The same, and meanwhile the connection is lost, or it is not."""
    harness, backend = ZooKeeperHarness(server), make(request_timeout=0.4)
    kept, given_up = new_attempt(), new_attempt()
    until_answered(harness, lambda: backend.campaign(kept))
    make_election(backend, given_up)
    session = session_of(backend)
    server.freeze()
    with pytest.raises(BackendUnavailable):
        backend.campaign(given_up)
    if cut:
        session._cut()
    with pytest.raises(BackendUnavailable):
        backend.release(given_up)
    server.thaw()

    def is_swept() -> bool:  # by one heartbeat, and seen to be gone by a later one
        assert until_answered(harness, lambda: renewal(backend, kept)) is Renewal.RENEWED
        return list(backend._places.held) == [kept.attempt_id]

    until(is_swept, SOON, "it is kept")
    assert not children(server, given_up), "an orphan blocks the election"
    assert session_of(backend) is session


def test_a_release_that_was_not_heard_is_made_good_without_being_asked(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """The core gives up when the lease has run out; sessions outlive any outage of the ensemble."""
    backend, attempt, unneeded = make(request_timeout=0.5), new_attempt(), new_attempt()
    win(backend, attempt)
    win(backend, unneeded)
    server.kill()
    with pytest.raises(BackendUnavailable):
        backend.release(attempt)
    server.start()
    until(lambda: not children(server, attempt), SOON, "an orphan blocks the election")
    for _ in range(2):
        outcome = until_answered(ZooKeeperHarness(server), lambda: renewal(backend, unneeded))
        assert outcome is Renewal.RENEWED
    until(lambda: attempt.attempt_id not in backend._places.held, SOON, "looked for all the time")


def test_nothing_is_asked_for_without_a_connection(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """kazoo keeps requests until it is connected again, when nobody waits for them any more."""
    backend, kept, attempt = make(request_timeout=1.0), new_attempt(), new_attempt()
    win(backend, kept)
    server.kill()
    until(lambda: has_lost_connection(backend), SOON, "kazoo does not notice")
    for ask in (lambda: backend.campaign(attempt), lambda: renewal(backend, kept)):
        with pytest.raises(BackendUnavailable, match="no connection"):
            ask()
    assert not session_of(backend).client._queue
    server.start()
    outcome = until_answered(ZooKeeperHarness(server), lambda: renewal(backend, kept))
    assert outcome is Renewal.RENEWED, "the session outlives a restart"
    assert not children(server, attempt)


def test_a_reconnect_with_hundreds_of_attempts_to_take_back_is_answered(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """kazoo's thread takes 278 requests at most from itself: at the next one it waits for ever."""
    with Proxy(server.port) as proxy:
        backend, kept = make(request_timeout=1.0, port=proxy.port), new_attempt()
        win(backend, kept)
        given_up = [new_attempt() for _ in range(200)]
        for attempt in given_up:
            win(backend, attempt)
        for attempt in given_up:  # as if the server had been silent to their release
            backend._places.held[attempt.attempt_id].is_leaving = True
        proxy.reset()
        until(lambda: has_lost_connection(backend), SOON, "kazoo does not notice")
        proxy.pass_on()
        outcome = until_answered(ZooKeeperHarness(server), lambda: renewal(backend, kept))
        assert outcome is Renewal.RENEWED
        until(lambda: list(backend._places.held) == [kept.attempt_id], SOON, "they are kept")
        assert not children(server, given_up[-1])


# The session


def kill_session(server: ZooKeeperServer, backend: ZooKeeperBackend) -> None:
    """Close it behind the client's back."""
    operate(server.port, lambda _: None, client_id=session_of(backend).client.client_id)


def test_a_killed_session_is_told_and_replaced(server: ZooKeeperServer, make: MakeBackend) -> None:
    backend, harness = make(), ZooKeeperHarness(server)
    led, waiting = new_attempt(), new_attempt()
    rival = make()
    other = new_attempt(waiting.election)
    token = win(backend, led).token
    win(rival, other)
    assert isinstance(backend.campaign(waiting), Waiting)
    kill_session(server, backend)
    outcomes: dict[str, Renewal] = {}
    until(
        lambda: (
            outcomes.update(until_answered(harness, lambda: backend.renew([led, waiting])).outcomes)
            or set(outcomes.values()) == {Renewal.SESSION_LOST}
        ),
        SOON,
        f"not told: {outcomes}",
    )
    # A waiting one takes a new place, and does not stand in its own way.
    assert isinstance(backend.campaign(waiting), Waiting)
    assert len(children(server, waiting)) == 2
    rival.release(other)
    win(backend, waiting)
    backend.release(led)
    assert win(backend, new_attempt(led.election)).token > token


def test_a_session_that_is_over_is_not_replaced_unasked(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """kazoo would make another one, silently, with nothing of ours in it."""
    backend = make()
    win(backend, new_attempt())
    before = number(server, "global_sessions")
    kill_session(server, backend)
    until(lambda: session_of(backend).over, SOON, "not noticed")
    time.sleep(0.5)
    assert number(server, "global_sessions") == before - 1


def test_a_lost_connection_alone_ends_nothing(server: ZooKeeperServer, make: MakeBackend) -> None:
    with Proxy(server.port) as proxy:
        backend, attempt = make(request_timeout=1.0, port=proxy.port), new_attempt()
        token = win(backend, attempt).token
        session = session_of(backend)
        for _ in range(3):
            proxy.reset()
            until(lambda: has_lost_connection(backend), SOON, "kazoo does not notice")
            proxy.pass_on()
            outcome = until_answered(ZooKeeperHarness(server), lambda: renewal(backend, attempt))
            assert outcome is Renewal.RENEWED
        assert session_of(backend) is session
        assert win(backend, attempt).token == token


def test_the_timeout_that_was_granted_is_told() -> None:
    limits = {"minSessionTimeout": "2000", "maxSessionTimeout": "8000"}
    with ZooKeeperServer(settings=limits) as server:
        url = StoreURL.parse(server.url)
        backend = ZooKeeperBackend.from_url(url, Settings(ttl=1.0, request_timeout=5.0))
        attempt = new_attempt()
        assert win(backend, attempt).ttl == 2.0
        assert backend.renew([attempt]).ttl == 2.0
        backend.close()

        backend = ZooKeeperBackend.from_url(url, Settings(ttl=60.0, request_timeout=5.0))
        with pytest.raises(BackendRefused, match="at most 8 s"):
            backend.campaign(new_attempt())
        backend.close()

        # The same session, on a server that keeps it for a shorter time: another may have been
        # let in before the belief of the longer one has ended.
        backend = ZooKeeperBackend.from_url(url, Settings(ttl=8.0, request_timeout=1.0))
        win(backend, attempt)
        server.settings["maxSessionTimeout"] = "6000"
        server.restart()
        outcome = until_answered(ZooKeeperHarness(server), lambda: renewal(backend, attempt))
        assert outcome is Renewal.SESSION_LOST
        until_answered(ZooKeeperHarness(server), lambda: backend.release(attempt))
        assert number(server, "ephemerals_count") == 0
        backend.close()


def test_a_client_that_was_paused_is_believed_only_when_the_servers_know_of_it(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """An answer proves that earlier ones have reached the ensemble, and these are old."""
    backend, attempt = make(ttl=4.0), new_attempt()
    backend.leader(attempt.election)
    with paused(session_of(backend)):
        time.sleep(2.5)
    wait_settled(session_of(backend), SOON)
    answer = backend.campaign(attempt)
    assert answer == Waiting(retry_after=0.5)
    end = time.monotonic() + SOON
    while not isinstance(answer, Granted):
        assert isinstance(answer, Waiting) and time.monotonic() < end
        time.sleep(answer.retry_after or 0)
        answer = backend.campaign(attempt)
    assert answer.sent_at is not None
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - answer.sent_at < 0.4 * 4.0


def test_belief_is_one_answer_behind() -> None:
    proofs, ttl = Proofs(), 10.0
    proofs.restart(100.0)
    assert proofs.since(100.1, ttl) == 100.1, "connecting counts at once"
    assert proofs.since(103.0, ttl) == 101.0, "what was just asked does not"
    proofs.add(102.0, 102.1, ttl)
    assert proofs.since(102.5, ttl) == 101.0, "nor what is younger than half a tick may be"
    assert proofs.since(104.0, ttl) == 103.0  # 102 + 0.1 T, the certain 100 + 0.3 T
    proofs.add(104.0, 104.1, ttl)
    assert proofs.since(106.0, ttl) == 105.0
    assert proofs.since(113.0, ttl) == 105.0, "after a silence"
    proofs.add(104.1, 104.2, ttl)
    assert len(proofs._answered) == 3, "what comes thick and fast is thinned out"
    proofs.restart(113.0)
    assert proofs.since(113.1, ttl) == 113.1
    for second in range(1000):
        proofs.add(200.0 + second, 200.0 + second, ttl)
    assert proofs.since(1200.0, ttl) == 1199.0 and len(proofs._answered) <= 64


def test_belief_is_short_when_answers_were_slow() -> None:
    proofs = Proofs()
    proofs.restart(0.0)
    for beat in range(1, 20):
        proofs.add(2.0 * beat, 2.0 * beat + 1.9, 10.0)
    assert proofs.since(40.0, 10.0) == min(36.0 + 1.0, 34.0 + 3.0)


# What is left behind


def most(state: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Over some moments: kazoo opens a descriptor for each wait."""
    moments = []
    for _ in range(20):
        moments.append(state())
        time.sleep(0.01)
    return tuple(max(counts) for counts in zip(*moments, strict=True))


def grown(before: tuple[int, ...], now: tuple[int, ...]) -> bool:
    return any(new > old for old, new in zip(before, now, strict=True))


def test_two_hundred_terms_leave_nothing(server: ZooKeeperServer, make: MakeBackend) -> None:
    backend, observer = make(), make()
    election = uuid.uuid4().hex
    forget = observer.watch(election, lambda: None)

    def cycle() -> int:
        attempt, waiting = new_attempt(election), new_attempt(election)
        token = win(backend, attempt).token
        assert isinstance(backend.campaign(waiting), Waiting)
        assert observer.leader(election).token == token
        backend.release(waiting)
        backend.release(attempt)
        return token

    def state() -> tuple[int, ...]:
        counters = ("global_sessions", "ephemerals_count", "watch_count", "znode_count")
        return (
            threading.active_count(),
            len(list(Path("/proc/self/fd").iterdir())),
            *(number(server, name) for name in counters),
            len(backend._places.held),
        )

    cycle()
    observer.leader(election)
    before = most(state)
    tokens = [cycle() for _ in range(200)]
    observer.leader(election)
    until(lambda: not grown(before, state()), SOON, f"{before} before, {state()} now")
    assert tokens == sorted(set(tokens))
    assert not backend._wakes.names()
    client = session_of(backend).client
    assert sum(len(watchers) for watchers in client._child_watchers.values()) == 0
    forget()


def test_waiting_ones_that_give_up_leave_one_watch(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    backend, led = make(), new_attempt()
    win(backend, led)
    for _ in range(30):
        waiting = new_attempt(led.election)
        for _ in range(3):
            assert isinstance(backend.campaign(waiting), Waiting)
        assert len(backend._wakes._callbacks[node_of(backend, led)]) == 1
        backend.release(waiting)
    watchers = session_of(backend).client._child_watchers[node_of(backend, led)]
    assert len(watchers) == 1
    assert backend._wakes.names() == Wakes().names()


def test_clients_that_come_and_go_leave_nothing(server: ZooKeeperServer, make: MakeBackend) -> None:
    def state() -> tuple[int, ...]:
        return (
            threading.active_count(),
            len(list(Path("/proc/self/fd").iterdir())),
            number(server, "global_sessions"),
            number(server, "ephemerals_count"),
        )

    def open_and_close() -> None:
        backend = make()
        win(backend, new_attempt())
        backend.leader("another")
        backend.close()

    open_and_close()
    before = most(state)
    for _ in range(30):
        open_and_close()
    until(lambda: not grown(before, state()), SOON, f"{before} before, {state()} now")


def test_a_client_of_a_dead_store_closes_in_time(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """kazoo would wait for ten seconds, or for its session timeout."""
    threads = threading.active_count()
    frozen, never, killed = (make(request_timeout=0.5) for _ in range(3))
    for backend in (frozen, killed):
        win(backend, new_attempt())
    server.freeze()
    with pytest.raises(BackendUnavailable):
        never.leader("x")
    for backend in (frozen, never):
        began = time.monotonic()
        backend.close()
        assert time.monotonic() - began < 2
    left = threads + 3  # those of the third
    until(lambda: threading.active_count() <= left, 5.0, "threads wait for the server")
    server.thaw()
    server.kill()
    began = time.monotonic()
    killed.close()
    assert time.monotonic() - began < 2
    until(lambda: threading.active_count() <= threads, SOON, "threads are left")
    server.start()


def test_reconnecting_does_not_back_off_for_long(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """kazoo's default grows to an hour."""
    backend = make(request_timeout=0.5)
    win(backend, new_attempt())
    server.kill()
    time.sleep(3)
    server.start()
    began = time.monotonic()
    until_answered(ZooKeeperHarness(server), lambda: backend.leader("x"))
    assert time.monotonic() - began < 3
    assert session_of(backend).client._connection.retry_sleeper.max_delay == 1.0


def test_a_server_that_says_nothing_is_passed_over(
    server: ZooKeeperServer, make: MakeBackend
) -> None:
    """kazoo would wait for a share of the session timeout, here 15 s."""
    with Proxy(server.port) as silent:
        silent.hold()
        for _ in range(4):  # their order is random
            backend = make(
                request_timeout=1.5, at=f"{server.url_at(silent.port)},127.0.0.1:{server.port}"
            )
            began = time.monotonic()
            until_answered(ZooKeeperHarness(server), lambda: backend.leader("x"))  # noqa: B023
            assert time.monotonic() - began < 6


def test_kazoo_is_not_heard(
    server: ZooKeeperServer, make: MakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs every lost connection as a warning, and credentials at DEBUG."""
    with caplog.at_level(logging.NOTSET), caplog.at_level(logging.NOTSET, "kazoo"):
        backend = make(request_timeout=0.5)
        attempt = new_attempt()
        win(backend, attempt)
        server.kill()
        with pytest.raises(BackendUnavailable):
            renewal(backend, attempt)
        server.start()
        backend.close()
    assert not caplog.records


def test_a_child_says_nothing_on_the_sessions_connection(make: MakeBackend) -> None:
    """Nor does it end it by leaving, or when the garbage collector comes."""
    backend, attempt = make(), new_attempt()
    win(backend, attempt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            inherited = session_of(backend).client._connection._socket
            backend.abandon()
            assert inherited.fileno() == -1
            other = new_attempt(attempt.election)
            waits = isinstance(backend.campaign(other), Waiting)  # over a session of its own
            backend.close()
            status = 0 if waits else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert renewal(backend, attempt) is Renewal.RENEWED
    assert session_of(backend).client.connected
