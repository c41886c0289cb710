"""Electors over zookeeper://, and what befalls servers and processes."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator

import pytest
from kazoo.exceptions import NotEmptyError

from leaderlock import LeaderElector, LossReason, TokenRegression, connect
from leaderlock.backends.base import Attempt, Granted, Renewal, Settings
from leaderlock.backends.zookeeper import ZooKeeperBackend
from leaderlock.clock import BOOT_CLOCK
from leaderlock.errors import BackendUnavailable
from leaderlock.leadership import Leadership
from leaderlock.testing.conformance.tools import until, until_answered
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.zookeeper import ZooKeeperCluster, ZooKeeperServer
from leaderlock.url import StoreURL
from tests.backends.store_peer import Peer
from tests.conformance.zookeeper_harness import ZooKeeperHarness, operate

TTL = 2.0
PATIENCE = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeperServer]:
    """Not the shared one: it is frozen and killed."""
    with ZooKeeperServer(tick=100) as server:
        yield server


@pytest.fixture
def election() -> str:
    return uuid.uuid4().hex


class Terms:
    """What an elector was told."""

    def __init__(self, url: str, election: str, ttl: float = TTL) -> None:
        self.elected: list[Leadership] = []
        self.lost: list[tuple[float, LossReason]] = []
        self.elector = LeaderElector(
            url,
            election,
            ttl=ttl,
            on_elected=self.elected.append,
            on_lost=lambda _, reason: self.lost.append((time.monotonic(), reason)),
        )

    def __enter__(self) -> Terms:
        self.elector.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.elector.stop()

    def wait_elected(self, count: int) -> Leadership:
        until(
            lambda: len(self.elected) >= count and self.elector.is_leader,
            PATIENCE,
            f"term {count} did not begin: {self.elected}, {self.lost}",
        )
        return self.elected[-1]

    def wait_lost(self, count: int = 1) -> tuple[float, LossReason]:
        until(lambda: len(self.lost) >= count, PATIENCE, f"loss {count} was not told")
        return self.lost[count - 1]


def queue(server: ZooKeeperServer, election: str) -> list[str]:
    path = f"/leaderlock/{election}"
    found = operate(server.port, lambda c: c.get_children(path) if c.exists(path) else [])
    return sorted(map(str, found), key=lambda name: name[-10:])


def must_rise(*terms: Leadership) -> None:
    tokens = [int(term.token) for term in terms]
    assert tokens == sorted(set(tokens)), tokens
    assert len({term.token.source for term in terms}) == 1


# Processes


def test_a_killed_leader_is_succeeded_when_its_session_has_run_out(
    server: ZooKeeperServer, election: str
) -> None:
    with Peer(server.url, election, TTL) as peer:
        token = peer.wait_for("elected")["token"]
        with Terms(server.url, election) as heir:
            until(lambda: len(queue(server, election)) == 2, PATIENCE, "it does not queue")
            peer.kill()
            killed = time.monotonic()
            heir.wait_elected(1)
            took = time.monotonic() - killed
            assert 0.6 * TTL < took < heir.elector.timing.worst_case_failover + 2
            assert int(heir.elected[0].token) > token
            assert len(queue(server, election)) == 1


def test_a_paused_leader_knows_at_once_that_it_is_none(
    server: ZooKeeperServer, election: str
) -> None:
    with Peer(server.url, election, TTL) as peer:
        peer.wait_for("elected")
        with Terms(server.url, election) as heir:
            until(lambda: len(queue(server, election)) == 2, PATIENCE, "it does not queue")
            peer.pause()
            heir.wait_elected(1)
        went_on = BOOT_CLOCK.now()
        peer.go_on()
        peer.wait_for("lost")
        assert peer.wait_for("is_leader", 2)["value"] is False
        assert peer.of("is_leader")[1]["at"] - went_on < 1
        token = peer.wait_for("elected", 2)["token"]
        assert token > int(heir.elected[0].token)
        until(lambda: len(queue(server, election)) == 1, PATIENCE, "an orphan is left")


def test_a_forked_leader_goes_on_to_lead_and_its_child_does_not(
    server: ZooKeeperServer, election: str
) -> None:
    with Peer(server.url, election, TTL) as peer:
        peer.wait_for("elected")
        for _ in range(2):
            answer = peer.tell("fork")
            assert (answer["child"], answer["status"]) == ("does not lead", 0)
        time.sleep(1.5 * TTL)
        assert not peer.of("lost") and len(peer.of("elected")) == 1
        assert peer.tell("stop")["released"]
        assert not queue(server, election)


def test_resigning_hands_over_at_once(server: ZooKeeperServer, election: str) -> None:
    with Terms(server.url, election, 20.0) as first:
        first.wait_elected(1)
        with Terms(server.url, election, 20.0) as second:
            until(lambda: len(queue(server, election)) == 2, PATIENCE, "it does not queue")
            began = time.monotonic()
            assert first.elector.resign()
            second.wait_elected(1)
            assert time.monotonic() - began < 2
            must_rise(first.elected[0], second.elected[0])
            until(lambda: len(queue(server, election)) == 2, PATIENCE, "it does not queue again")


# Operators


def test_an_operator_deletes_the_leaders_node(server: ZooKeeperServer, election: str) -> None:
    with Terms(server.url, election) as terms:
        first = terms.wait_elected(1)
        (node,) = queue(server, election)
        operate(server.port, lambda c: c.delete(f"/leaderlock/{election}/{node}"))
        assert terms.wait_lost()[1] is LossReason.TAKEN
        must_rise(first, terms.wait_elected(2))


def test_an_operator_deletes_everything(server: ZooKeeperServer, election: str) -> None:
    with Terms(server.url, election) as terms, Terms(server.url, election) as other:
        until(lambda: bool(terms.elected or other.elected), PATIENCE, "nobody leads")
        until(lambda: len(queue(server, election)) == 2, PATIENCE, "nobody queues")
        with contextlib.suppress(NotEmptyError):  # they were quicker
            operate(server.port, lambda c: c.delete("/leaderlock", recursive=True))
        until(lambda: len(terms.elected + other.elected) >= 2, PATIENCE, "nobody leads any more")
        must_rise(*sorted(terms.elected + other.elected, key=lambda term: int(term.token)))


def test_an_operator_kills_the_session(server: ZooKeeperServer, election: str) -> None:
    with Terms(server.url, election) as terms, Terms(server.url, election) as waiting:
        until(lambda: bool(terms.elected or waiting.elected), PATIENCE, "nobody leads")
        leader, waiter = (terms, waiting) if terms.elected else (waiting, terms)
        until(lambda: len(queue(server, election)) == 2, PATIENCE, "nobody queues")
        for victim in waiter, leader:  # the waiting one comes back by itself, and blocks nobody
            backend = victim.elector._client.runtime().backend
            assert isinstance(backend, ZooKeeperBackend)
            session = backend._connection.session
            assert session is not None
            operate(server.port, lambda _: None, client_id=session.client.client_id)
            until(lambda: session.over, PATIENCE, "not noticed")  # noqa: B023
        assert leader.wait_lost()[1] is LossReason.SESSION_LOST
        must_rise(leader.elected[0], waiter.wait_elected(1))
        until(lambda: len(queue(server, election)) == 2, PATIENCE, "one does not queue")


# A server


def test_a_frozen_server_ends_the_term_in_time(server: ZooKeeperServer, election: str) -> None:
    with Terms(server.url, election) as terms:
        first = terms.wait_elected(1)
        server.freeze()
        frozen = time.monotonic()
        try:
            lost_at, reason = terms.wait_lost()
            time.sleep(max(0.0, frozen + 1.5 * TTL - time.monotonic()))
            assert terms.elector.stop(timeout=0.5) in (True, False)
            assert time.monotonic() - frozen < 1.5 * TTL + 3
        finally:
            server.thaw()
        assert reason is LossReason.EXPIRED
        assert lost_at - frozen < terms.elector.timing.belief_window + 0.5
        until(lambda: not queue(server, election), PATIENCE, "something was left behind")
        terms.elector.start()
        must_rise(first, terms.wait_elected(2))


def test_a_restarted_server_brings_the_term_back_or_a_higher_one(
    server: ZooKeeperServer, election: str
) -> None:
    with Terms(server.url, election) as terms:
        first = terms.wait_elected(1)
        server.kill()
        time.sleep(TTL)
        server.start()
        terms.wait_lost()
        must_rise(first, terms.wait_elected(2))
        assert len(queue(server, election)) == 1


def test_who_led_before_the_data_were_lost_learns_of_it(election: str) -> None:
    """The server hangs up on clients that have seen more than it knows."""
    with ZooKeeperServer(tick=100) as server, connect(server.url, ttl=TTL) as client:
        # Transactions are numbered from 1 again: what is to be lower has to have been high.
        operate(server.port, lambda c: [c.set("/", b"") for _ in range(200)])
        with Terms(server.url, election) as terms:
            terms.wait_elected(1)
            follower = client.elector(election)
            follower.start()
            until(lambda: len(queue(server, election)) == 2, PATIENCE, "it does not queue")
            server.restart(keep_data=False)
            terms.wait_lost()
            assert follower.wait_elected(timeout=PATIENCE), "it has led nowhere, and may here"
            follower.stop()
            with pytest.raises(TokenRegression):
                terms.elector.wait_elected(timeout=PATIENCE)
            until(lambda: not queue(server, election), PATIENCE, "something was left behind")


def test_stop_over_a_dead_server_returns_in_time(server: ZooKeeperServer, election: str) -> None:
    with connect(server.url, ttl=TTL) as client:
        elector = client.elector(election)
        elector.start()
        assert elector.wait_elected(timeout=PATIENCE)
        server.kill()
        try:
            began = time.monotonic()
            assert not elector.stop()
            assert time.monotonic() - began < elector.timing.stop_timeout + 2
            began = time.monotonic()
            client.close()
            assert time.monotonic() - began < elector.timing.stop_timeout + 2
        finally:
            server.start()
    until(lambda: not queue(server, election), PATIENCE, "its node was not given up")


def test_the_reply_to_the_winning_creation_is_lost(server: ZooKeeperServer, election: str) -> None:
    with Terms(server.url, election) as first:  # makes the persistent nodes
        first.wait_elected(1)
    with Proxy(server.port) as proxy:
        proxy.drop_replies(after=b"-n_")
        with Terms(server.url_at(proxy.port), election) as terms:
            until(lambda: len(queue(server, election)) == 1, PATIENCE, "it was not created")
            time.sleep(0.5)
            assert not terms.elected
            proxy.pass_on()
            must_rise(first.elected[0], terms.wait_elected(1))
            until(lambda: len(queue(server, election)) == 1, PATIENCE, "it left another node")
            with Terms(server.url, election) as heir:
                until(lambda: len(queue(server, election)) == 2, PATIENCE, "it does not queue")
                terms.elector.stop()
                heir.wait_elected(1)
                assert len(queue(server, election)) == 1


def test_a_creation_that_is_carried_out_after_a_stop_leaves_nothing(
    server: ZooKeeperServer, election: str
) -> None:
    with connect(server.url, ttl=TTL) as client:
        kept, given_up = client.elector(f"{election}-kept"), client.elector(election)
        kept.start()
        assert kept.wait_elected(timeout=PATIENCE)
        server.freeze()
        given_up.start()
        time.sleep(0.3)
        given_up.stop(timeout=0.5)
        server.thaw()
        with Terms(server.url, election) as heir:
            heir.wait_elected(1)
            until(lambda: len(queue(server, election)) == 1, PATIENCE, "an orphan is left")


# An ensemble


def renewal(backend: ZooKeeperBackend, attempt: Attempt) -> Renewal | None:
    return backend.renew([attempt]).outcomes.get(attempt.attempt_id)


def test_a_silent_server_of_an_ensemble_is_left(election: str) -> None:
    """kazoo would stay for a third to two thirds of the session timeout, here 20 s."""
    with ZooKeeperCluster() as cluster:
        followers = cluster.followers()
        backend = ZooKeeperBackend.from_url(
            StoreURL.parse(cluster.url_at(node.port for node in followers)),
            Settings(ttl=20.0, request_timeout=1.0),
        )
        attempt = Attempt(election, uuid.uuid4().hex, b"", lambda: None)
        harness = ZooKeeperHarness(followers[0])
        assert isinstance(until_answered(harness, lambda: backend.campaign(attempt)), Granted)
        assert backend._connection.session is not None
        port = backend._connection.session.client._connection._socket.getpeername()[1]
        (silent,) = (node for node in followers if node.port == port)
        silent.freeze()
        began = time.monotonic()
        outcome = until_answered(harness, lambda: renewal(backend, attempt))
        assert outcome is Renewal.RENEWED
        assert time.monotonic() - began < 6
        backend.close()


def test_an_ensemble_loses_its_leader_its_majority_and_everything(election: str) -> None:
    with ZooKeeperCluster() as cluster, Terms(cluster.url, election, 4.0) as terms:
        last = terms.wait_elected(1)

        # Killed: the session moves, or ends; tokens rise in either case.
        killed = cluster.leader()
        killed.kill()
        cluster.leader()
        until(lambda: terms.elector.is_leader, PATIENCE, "nobody leads after a fail-over")
        if len(terms.elected) > 1:
            must_rise(last, terms.elected[-1])
        last = terms.elected[-1]
        killed.start()

        # A server that is cut off from the others still answers readings and pings for a while,
        # as if nothing had happened. What proves a term has to fail.
        follower = cluster.followers()[0]
        backend = ZooKeeperBackend.from_url(
            StoreURL.parse(follower.url), Settings(ttl=4.0, request_timeout=0.5)
        )
        attempt = Attempt(f"{election}-2", uuid.uuid4().hex, b"", lambda: None)
        harness = ZooKeeperHarness(follower)
        assert isinstance(until_answered(harness, lambda: backend.campaign(attempt)), Granted)
        assert renewal(backend, attempt) is Renewal.RENEWED
        place = backend._places.held[attempt.attempt_id]
        assert place.node is not None
        count = len(terms.elected)
        for node in cluster.nodes:
            if node is not follower:
                node.freeze()
        assert place.session.client.exists_async(place.node.path).get(timeout=2.0), (
            "the trap is not set: this follower answers no readings"
        )
        with pytest.raises(BackendUnavailable):
            renewal(backend, attempt)
        terms.wait_lost(count)
        assert not terms.elector.is_leader
        cluster.thaw()
        backend.close()
        must_rise(last, terms.wait_elected(count + 1))
        last = terms.elected[-1]

        # Restarted as a whole, from what lies on disk.
        count = len(terms.elected)
        cluster.kill()
        terms.wait_lost(count)
        cluster.start()
        must_rise(last, terms.wait_elected(count + 1))
        fresh = ZooKeeperBackend.from_url(
            StoreURL.parse(cluster.nodes[0].url), Settings(ttl=4.0, request_timeout=5.0)
        )
        reading = until_answered(ZooKeeperHarness(cluster.nodes[0]), lambda: fresh.leader(election))
        assert reading.source == last.token.source
        fresh.close()
