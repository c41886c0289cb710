"""consul://: who is told of a free lock, when many wait for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from benchmarks.stores import consul_requests
from leaderlock import BackendUnavailable, connect
from leaderlock.backends.base import Attempt, Renewal
from leaderlock.backends.consul import ConsulBackend
from leaderlock.backends.consul.connection import Entry
from leaderlock.backends.consul.heirs import PATIENCE
from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.proxy import Proxy
from tests.backends.consul_tools import (
    Make,
    Operator,
    an_attempt,
    backends,
    make_backend,
    maker,
    must_wait,
    new_election,
    renewal,
    win,
)
from tests.backends.store_peer import Peer
from tests.elector.tools import eventually

TELEMETRY = {"prometheus_retention_time": "1h", "disable_hostname": True}


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    with ConsulServer(settings={"telemetry": TELEMETRY}) as server:
        yield server


@pytest.fixture
def operator(server: ConsulServer) -> Operator:
    return Operator(server)


@pytest.fixture
def make(server: ConsulServer) -> Iterator[Make]:
    with maker(server.url) as make:
        yield make


class Waiter:
    """A client with one attempt, which waits."""

    def __init__(self, backend: ConsulBackend, election: str) -> None:
        self.backend, self.woken = backend, threading.Event()
        self.attempt = an_attempt(election, self.woken.set)
        must_wait(backend, self.attempt)

    @property
    def session(self) -> str:
        return self.backend._session.id

    def beat(self) -> None:
        """A heartbeat of the core, some time after the last one, and what it does when woken."""
        self.woken.clear()
        self.backend._heirs._looked_at = -math.inf
        assert renewal(self.backend, self.attempt) is Renewal.RENEWED
        if self.woken.is_set():
            self.woken.clear()
            must_wait(self.backend, self.attempt)

    def must_be_woken(self, within: float = 5.0) -> None:
        assert self.woken.wait(within), "nobody told it of the free lock"

    def win(self) -> int:
        return win(self.backend, self.attempt).token


def a_crowd(make: Make, size: int, **settings: Any) -> tuple[ConsulBackend, Attempt, list[Waiter]]:
    """A leader, and so many clients that wait."""
    leader, attempt = make(**settings), an_attempt(new_election())
    win(leader, attempt)
    return leader, attempt, [Waiter(make(**settings), attempt.election) for _ in range(size)]


# What it costs


def requests_of_hand_overs(server: ConsulServer, candidates: int, rounds: int) -> float:
    """The store's requests in each of so many hand-overs, among candidates of five clients."""
    election = new_election()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server.url, ttl=60)) for _ in range(5)]
        electors = [clients[number % 5].elector(election) for number in range(candidates)]
        for elector in electors:
            elector.start()
        eventually(lambda: all(elector._candidate.answered for elector in electors), "all wait")
        eventually(lambda: len(Operator(server).heirs(election)) >= 2, "some are heirs")
        before = sum(consul_requests(server).values())
        for _ in range(rounds):
            (leader,) = [elector for elector in electors if elector.is_leader]
            assert leader.stop()
            eventually(lambda: any(elector.is_leader for elector in electors), "the next one")
        return (sum(consul_requests(server).values()) - before) / rounds


def test_a_hand_over_costs_the_same_with_ten_candidates_and_with_a_hundred(
    server: ConsulServer,
) -> None:
    few = requests_of_hand_overs(server, 10, 4)
    many = requests_of_hand_overs(server, 100, 4)
    assert few <= 15 and many <= 15, f"{few} requests with 10 candidates, {many} with 100"


def counted(backend: ConsulBackend, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the backend asks from now on."""
    asked: list[str] = []
    exchange = backend._store._http._exchange

    def count(method: str, target: str, body: bytes) -> Any:
        asked.append(f"{method} {target.split('?')[0]}")
        return exchange(method, target, body)

    monkeypatch.setattr(backend._store._http, "_exchange", count)
    return asked


def test_who_is_elected_and_resigns_again_and_again_needs_two_requests_for_both(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session was proved alive a moment ago, and nobody else has touched the key."""
    backend, election = make(ttl=60), new_election()
    attempt = an_attempt(election)
    win(backend, attempt)
    backend.release(attempt)
    asked = counted(backend, monkeypatch)
    token = 0
    for _ in range(3):
        attempt = an_attempt(election)
        granted = win(backend, attempt)
        assert granted.token > token
        token = granted.token
        backend.release(attempt)
    assert asked == 6 * ["PUT /v1/txn"]


def test_what_was_noted_of_a_key_that_another_one_has_taken_meanwhile_elects_nobody(
    make: Make,
) -> None:
    backend, rival, election = make(), make(), new_election()
    attempt = an_attempt(election)
    win(backend, attempt)
    backend.release(attempt)
    taken = win(rival, an_attempt(election))
    must_wait(backend, again := an_attempt(election))
    assert backend.leader(election).token == taken.token
    backend.release(again)


def test_a_heartbeat_of_those_who_wait_is_two_requests_however_many_they_are(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, waiter, elections = make(), make(), [new_election() for _ in range(7)]
    for election in elections:
        win(leader, an_attempt(election))
    attempts = [an_attempt(election) for election in elections for _ in range(3)]
    for attempt in attempts:
        must_wait(waiter, attempt)
    asked = counted(waiter, monkeypatch)
    assert set(waiter.renew(attempts).outcomes.values()) == {Renewal.RENEWED}
    renewed = f"PUT /v1/session/renew/{waiter._session.id}"
    assert asked == [renewed, "GET /v1/kv/leaderlock/"]
    waiter.renew(attempts)
    assert asked[2:] == [renewed], "the heirs have just been looked after"


# Who is an heir


def test_two_who_come_are_heirs_at_once_and_one_more_who_has_waited(
    make: Make, operator: Operator
) -> None:
    """Or those who resign and come back would keep the others out."""
    _, attempt, waiters = a_crowd(make, 5)
    assert operator.heirs(attempt.election) == [waiter.session for waiter in waiters[:2]]
    assert not any(waiter.session for waiter in waiters[2:]), "sessions without a use"
    for waiter in reversed(waiters):
        waiter.beat()
    heirs = operator.heirs(attempt.election)
    assert heirs == [waiter.session for waiter in (*waiters[:2], waiters[4])]


def test_the_first_heir_is_woken_at_once_and_the_others_when_it_does_nothing(make: Make) -> None:
    leader, attempt, (first, second, third) = a_crowd(make, 3)
    third.beat()
    leader.release(attempt)
    first.must_be_woken()
    woken_at = time.monotonic()
    assert not second.woken.is_set() and not third.woken.is_set()
    second.must_be_woken()
    assert time.monotonic() - woken_at > 0.8 * PATIENCE
    assert not third.woken.is_set()
    third.must_be_woken()
    assert third.win()


def test_those_behind_an_heir_that_leads_are_not_woken(make: Make) -> None:
    leader, attempt, (first, second) = a_crowd(make, 2)
    leader.release(attempt)
    first.must_be_woken()
    first.win()
    seen = make().watch(attempt.election, changed := threading.Event().set)  # noqa: F841
    assert not second.woken.wait(4 * PATIENCE)
    first.backend.release(first.attempt)
    second.must_be_woken()
    second.win()


def test_who_leads_is_an_heir_no_more(make: Make, operator: Operator) -> None:
    leader, attempt, (first, second) = a_crowd(make, 2)
    leader.release(attempt)
    first.must_be_woken()
    first.win()
    assert operator.heirs(attempt.election) == [second.session]
    assert not first.backend._heirs


def test_who_gives_up_is_an_heir_no_more_and_is_replaced(make: Make, operator: Operator) -> None:
    leader, attempt, (first, second, third) = a_crowd(make, 3)
    for heir in (first, second):
        heir.backend.release(heir.attempt)
    assert not operator.heirs(attempt.election)
    third.beat()
    assert operator.heirs(attempt.election) == [third.session]
    leader.release(attempt)
    third.must_be_woken()
    third.win()


def test_many_of_one_client_are_one_heir_and_woken_one_by_one(
    make: Make, operator: Operator
) -> None:
    leader, election, client = make(), new_election(), make()
    held = an_attempt(election)
    win(leader, held)
    woken: list[int] = []
    attempts = [an_attempt(election, partial(woken.append, number)) for number in range(4)]
    for attempt in attempts:
        must_wait(client, attempt)
    assert len(operator.heirs(election)) == 1
    leader.release(held)
    eventually(lambda: woken == [0], "the first one is woken")
    client.release(attempts[0])  # without a word on the lock
    assert woken == [0, 1], "the lock is free for the next one"
    win(client, attempts[1])
    assert len(operator.heirs(election)) == 1, "others of it wait"
    client.release(attempts[1])
    eventually(lambda: woken[-1] == 2, "the next one")
    win(client, attempts[2])
    client.release(attempts[3])
    assert not operator.heirs(election)


def test_too_many_at_the_same_time_become_three(
    make: Make, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one has looked, and there was room."""
    leader, late, election = make(), make(), new_election()
    win(leader, an_attempt(election))
    lock_beside = late._store.lock_beside

    def after_others(*arguments: Any) -> Any:
        for _ in range(3):
            other = make()
            waiter = Waiter(other, election)
            waiter.beat()
        return lock_beside(*arguments)

    monkeypatch.setattr(late._store, "lock_beside", after_others)
    must_wait(late, an_attempt(election))
    assert len(operator.heirs(election)) == 3 and late._session.id not in operator.heirs(election)
    assert not late._heirs


# What becomes of heirs


def test_an_heir_whose_session_has_ended_is_replaced_and_leaves_nothing(
    make: Make, operator: Operator
) -> None:
    leader, attempt, (first, second, third) = a_crowd(make, 3)
    third.beat()
    for heir in (first, second):
        operator.destroy(heir.session)
    assert operator.heirs(attempt.election) == ["dead", "dead", third.session]
    fourth = Waiter(make(), attempt.election)
    assert operator.heirs(attempt.election) == [third.session, fourth.session]
    leader.release(attempt)
    third.must_be_woken()
    assert third.win()


def test_who_waits_in_a_session_that_was_destroyed_is_woken_and_gets_another_one(
    make: Make, operator: Operator
) -> None:
    leader, attempt, (waiter,) = a_crowd(make, 1)
    operator.destroy(before := waiter.session)
    waiter.beat()
    assert waiter.session != before and operator.heirs(attempt.election) == [waiter.session]
    operator.destroy(waiter.session)
    leader.release(attempt)
    waiter.must_be_woken()
    assert waiter.win()


def test_who_deletes_the_keys_of_heirs_stops_nobody(make: Make, operator: Operator) -> None:
    leader, attempt, (first, second) = a_crowd(make, 2)
    folder = operator.path(attempt.election).removesuffix("leader")
    operator.delete(folder + "heir/?recurse")
    for heir in (first, second):
        heir.beat()
    assert operator.heirs(attempt.election) == [first.session, second.session]
    operator.delete(folder + "heir/?recurse")
    leader.release(attempt)
    first.must_be_woken()
    assert first.win()


def test_a_lock_that_no_heir_takes_is_everybodys_after_a_lock_delay(make: Make) -> None:
    """Three that live, and do nothing."""
    leader, attempt, waiters = a_crowd(make, 4, ttl=1.5)
    *heirs, last = waiters
    heirs[2].beat()
    for heir in heirs:
        heir.backend._watcher.close(1.0)
    leader.release(attempt)
    began = time.monotonic()

    def is_woken() -> bool:
        for heir in heirs:
            renewal(heir.backend, heir.attempt)
        renewal(last.backend, last.attempt)
        return last.woken.is_set()

    eventually(is_woken, "its own heartbeat has woken it")
    assert time.monotonic() - began > 1.0, "that would be a herd in every lock-delay"
    assert last.win()


def test_under_a_lock_delay_only_heirs_ask_again_soon(make: Make, operator: Operator) -> None:
    _, attempt, (*heirs, last) = a_crowd(make, 4)
    heirs[2].beat()
    operator.destroy(operator.holder(attempt.election))
    for waiter in heirs:
        waiter.must_be_woken()
        retry = must_wait(waiter.backend, waiter.attempt).retry_after
        assert retry is not None and retry <= 1.0
    retry = must_wait(last.backend, last.attempt).retry_after
    assert retry is not None and retry > 60


# Requests that are lost, or come late


def test_an_heir_that_does_not_know_it_gives_its_place_up(
    make: Make, server: ConsulServer, operator: Operator
) -> None:
    leader, held = make(), an_attempt(new_election())
    win(leader, held)
    with Proxy(server.port) as proxy:
        client = make(server.url_at(proxy.port), request_timeout=0.5)
        attempt = an_attempt(held.election)
        proxy.drop_replies(after=b'"get-tree"')
        with pytest.raises(BackendUnavailable):
            client.campaign(attempt)
        proxy.pass_on()
        assert operator.heirs(held.election) == [client._session.id]
        client.release(attempt)
        assert not operator.heirs(held.election)
        client.close()


def test_a_place_that_comes_late_is_given_up_with_a_heartbeat(
    make: Make, server: ConsulServer, operator: Operator
) -> None:
    """Our session lives on for a term: three of them, and nobody would look at the lock."""
    leader, held, kept = make(), an_attempt(new_election()), an_attempt(new_election())
    win(leader, held)
    with Proxy(server.port) as proxy:
        both = f"{server.url_at(proxy.port)},127.0.0.1:{server.port}"
        client, attempt = make(both, request_timeout=0.5), an_attempt(held.election)
        win(client, kept)
        lock_beside = client._store.lock_beside

        def held_back(*arguments: Any) -> Any:
            proxy.hold()
            return lock_beside(*arguments)

        vars(client._store)["lock_beside"] = held_back
        with pytest.raises(BackendUnavailable):
            client.campaign(attempt)
        client.release(attempt)  # by the other host
        proxy.pass_on()
        eventually(lambda: operator.heirs(held.election), "it has come late")
        assert renewal(client, kept) is Renewal.RENEWED
        assert not operator.heirs(held.election)
        client.close()


def test_an_old_note_does_not_hide_a_request_that_may_come_late(
    make: Make, server: ConsulServer, operator: Operator
) -> None:
    """The request is bound to a later reading than the note, and so may be carried out yet."""
    election, kept = new_election(), an_attempt(new_election())
    with Proxy(server.port) as proxy:
        backend = make(server.url_at(proxy.port), request_timeout=0.5)
        win(backend, kept)
        attempt = an_attempt(election)
        proxy.drop_replies(after=b'"lock"')
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt)
        proxy.pass_on()
        key = f"leaderlock/{election}/leader"
        backend._locks.note_free(Entry(key, 1))
        assert backend._locks.noted(key, attempt) is None
        backend.release(attempt)
        assert not operator.holder(election)
        backend.close()


# Processes


def has_heirs(server: ConsulServer, election: str, count: int) -> bool:
    return len(Operator(server).heirs(election)) == count


def test_a_hung_heir_costs_a_moment_and_a_killed_one_too(server: ConsulServer) -> None:
    election = new_election()
    with ExitStack() as stack:
        leader = stack.enter_context(Peer(server.url, election, 10))
        leader.wait_for("elected")
        peers: list[Peer] = []
        for _ in range(3):
            peers.append(stack.enter_context(Peer(server.url, election, 10)))
            eventually(partial(has_heirs, server, election, len(peers)), "each one is an heir")
        hung, killed, heir = peers
        hung.pause()
        killed.kill()
        begin = BOOT_CLOCK.now()
        leader.tell("stop")
        assert heir.wait_for("elected")["at"] - begin < 2 * PATIENCE + 2.0
        hung.go_on()


def test_a_client_that_closes_leaves_no_places(make: Make, operator: Operator) -> None:
    leader, waiter, elections = make(), make_backend(operator.server.url), []
    with backends(waiter):
        for _ in range(3):
            elections.append(new_election())
            win(leader, an_attempt(elections[-1]))
            must_wait(waiter, an_attempt(elections[-1]))
        assert all(operator.heirs(election) for election in elections)
    assert not any(operator.heirs(election) for election in elections)
