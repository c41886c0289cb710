"""consul://: elections while servers, leaders and keys are killed, frozen and cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderElector, LossReason, connect
from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.servers.consul import ConsulCluster, ConsulServer
from leaderlock.testing.servers.proxy import Proxy
from tests.backends.consul_tools import Operator, new_election
from tests.backends.store_peer import Peer
from tests.elector.tools import Record, eventually


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    with ConsulServer() as server:
        yield server


@pytest.fixture
def operator(server: ConsulServer) -> Operator:
    return Operator(server)


Contend = Callable[..., tuple[LeaderElector, Record]]


@pytest.fixture
def contend(server: ConsulServer) -> Iterator[Contend]:
    made: list[LeaderElector] = []

    def start(
        election: str, url: str = server.url, ttl: float = 3.0
    ) -> tuple[LeaderElector, Record]:
        record = Record()
        elector = LeaderElector(
            url, election, ttl=ttl, on_elected=record.elected, on_lost=record.lost
        )
        made.append(elector)
        elector.start()
        return elector, record

    yield start
    for elector in made:
        elector.stop(1.0)


def tokens(*records: Record) -> list[object]:
    return [token for record in records for token in record.of("elected")]


def must_rise(found: list[object]) -> None:
    assert found == sorted(set(found)), f"tokens {found}"  # type: ignore[type-var]


def must_not_overlap(*peers: Peer) -> None:
    """By what threads saw that do nothing but look at is_leader."""
    spans = []
    for peer in peers:
        begin = None
        for event in peer.of("is_leader"):
            if event["value"]:
                begin = event["at"]
            elif begin is not None:
                spans.append((begin, event["at"]))
                begin = None
        if begin is not None:
            spans.append((begin, float("inf")))
    spans.sort()
    for (_, end), (begin, _) in zip(spans, spans[1:], strict=False):
        assert end <= begin, f"two leaders at one time: {spans}"


# Processes of candidates


def test_a_killed_leader_is_succeeded_within_the_stated_bound(server: ConsulServer) -> None:
    election, ttl = new_election(), 1.5
    with Peer(server.url, election, ttl) as first:
        first.wait_for("elected")
        with Peer(server.url, election, ttl) as second:
            second.wait_for("ready")
            time.sleep(0.3)
            killed_at = BOOT_CLOCK.now()
            first.kill()
            elected = second.wait_for("elected")
            bound = LeaderElector(server.url, election, ttl=ttl).timing.worst_case_failover
            assert elected["at"] - killed_at < bound + 1.5
            assert elected["token"] > first.of("elected")[0]["token"]


def test_a_paused_leader_wakes_up_deposed(server: ConsulServer, operator: Operator) -> None:
    election = new_election()
    with Peer(server.url, election, 1.5) as first:
        first.wait_for("elected")
        with Peer(server.url, election, 1.5) as second:
            second.wait_for("ready")
            first.pause()
            second.wait_for("elected")
            first.go_on()
            assert first.wait_for("lost")["reason"] in ("expired", "session lost", "taken")
            assert second.tell("stop")["released"]
            # It contends again, in a new session and under a higher token.
            again = first.wait_for("elected", 2)
            found = [first.of("elected")[0], second.of("elected")[0], again]
            must_rise([event["token"] for event in found])
            assert first.tell("stop")["released"]
            assert [event["value"] for event in first.of("is_leader")][:2] == [True, False]
    assert not operator.holder(election)


def test_a_forked_child_never_leads_and_harms_nobody(server: ConsulServer) -> None:
    election = new_election()
    with Peer(server.url, election, 3.0) as peer:
        peer.wait_for("elected")
        for _ in range(3):
            told = peer.tell("fork")
            assert (told["child"], told["status"]) == ("does not lead", 0)
        time.sleep(2.5)  # longer than the belief window: it has been renewed
        assert not peer.of("lost")
        assert peer.tell("stop")["released"]


def test_a_resigning_leader_hands_over_in_well_under_a_second(server: ConsulServer) -> None:
    election = new_election()
    with Peer(server.url, election, 10) as first:
        first.wait_for("elected")
        with Peer(server.url, election, 10) as second:
            second.wait_for("ready")
            peers = [first, second]
            time.sleep(0.5)
            for turn in range(4):
                giver, taker = peers[turn % 2], peers[(turn + 1) % 2]
                begin = BOOT_CLOCK.now()
                count = len(taker.of("elected")) + 1
                assert giver.tell("resign")["released"]
                assert taker.wait_for("elected", count)["at"] - begin < 1.0
            must_not_overlap(first, second)


# The server


def test_a_frozen_server_costs_the_term_in_time_and_nothing_else(
    own_consul: ConsulServer, contend: Contend
) -> None:
    election = new_election()
    elector, record = contend(election, own_consul.url, ttl=1.5)
    record.wait("elected")
    window = elector.timing.belief_window
    own_consul.freeze()
    begin = time.monotonic()
    record.wait("lost")
    assert time.monotonic() - begin < window + 0.5
    assert not elector.is_leader and record.of("lost") == [LossReason.EXPIRED]
    time.sleep(3.0)  # until the session is due to end
    own_consul.thaw()
    record.wait("elected", 2)
    must_rise(tokens(record))
    assert elector.stop()
    assert not Operator(own_consul).holder(election)


def test_a_restarted_server_goes_on_with_higher_tokens(
    own_consul: ConsulServer, contend: Contend
) -> None:
    election, operator = new_election(), Operator(own_consul)
    elector, record = contend(election, own_consul.url)
    record.wait("elected")
    own_consul.kill()
    own_consul.start()
    eventually(lambda: elector.is_leader, "leads, still or again")
    other, others = contend(election, own_consul.url)
    assert elector.stop(5)
    others.wait("elected")
    must_rise(tokens(record, others))
    assert other.stop()
    assert not operator.holder(election)


def test_stop_returns_in_time_when_the_server_is_gone(
    own_consul: ConsulServer, contend: Contend
) -> None:
    for silence in (own_consul.freeze, own_consul.kill):
        leader, record = contend(new_election(), own_consul.url)
        record.wait("elected")
        waiter, _ = contend(leader.election, own_consul.url)
        silence()
        for elector in (leader, waiter):
            begin = time.monotonic()
            elector.stop(0.5)
            assert time.monotonic() - begin < 2.5
        if own_consul.frozen:
            own_consul.thaw()


def test_waiting_candidates_outlive_an_outage_longer_than_a_session(
    own_consul: ConsulServer, contend: Contend
) -> None:
    election = new_election()
    leader, record = contend(election, own_consul.url, ttl=1.5)
    record.wait("elected")
    _, waiting = contend(election, own_consul.url, ttl=1.5)
    time.sleep(0.5)
    own_consul.kill()
    time.sleep(2.0)
    own_consul.start()
    eventually(lambda: len(tokens(record, waiting)) >= 1)
    eventually(lambda: leader.is_leader or waiting.of("elected"), "somebody leads again")
    leader.stop(5)
    waiting.wait("elected")


def test_a_cluster_loses_its_leader_then_every_server(
    consul_cluster: ConsulCluster, contend: Contend
) -> None:
    election = new_election()
    first, one = contend(election, consul_cluster.url)
    one.wait("elected")
    second, other = contend(election, consul_cluster.url)
    killed = consul_cluster.leader()
    killed.kill()
    consul_cluster.leader(other_than=killed)
    eventually(lambda: first.is_leader or second.is_leader, "one leads after the fail-over")
    killed.start()
    consul_cluster.restart()
    eventually(lambda: first.is_leader or second.is_leader, "one leads after the restart")
    leader, waiter = (first, second) if first.is_leader else (second, first)
    leader.stop(5)
    eventually(lambda: waiter.is_leader, "the other one has its turn")
    assert waiter.leadership is not None
    last = waiter.leadership.token.value
    eventually(lambda: last in tokens(one, other), "its callback comes a moment later")
    ordered = sorted(tokens(one, other))  # type: ignore[type-var]
    assert len(set(ordered)) == len(ordered) >= 2
    must_rise(tokens(one))
    must_rise(tokens(other))
    assert last == ordered[-1]
    assert waiter.stop(5)
    assert not Operator(consul_cluster.leader()).holder(election)


def test_a_frozen_leader_of_the_cluster_makes_no_two_leaders(
    consul_cluster: ConsulCluster,
) -> None:
    """It still renews sessions for a moment when it is thawed; it confirms no key."""
    election, url = new_election(), consul_cluster.url
    with Peer(url, election, 3.0) as first, Peer(url, election, 3.0) as second:
        eventually(lambda: first.of("elected") or second.of("elected"))
        frozen = consul_cluster.leader()
        frozen.freeze()
        consul_cluster.leader(other_than=frozen)
        eventually(lambda: sum(_leads(peer) for peer in (first, second)) == 1, "one leads")
        frozen.thaw()
        time.sleep(1.0)
        eventually(lambda: sum(_leads(peer) for peer in (first, second)) == 1, "one leads")
        leader, other = (first, second) if _leads(first) else (second, first)
        count = len(other.of("elected")) + 1
        leader.tell("resign")
        other.wait_for("elected", count)
        must_not_overlap(first, second)
        elected = sorted(first.of("elected") + second.of("elected"), key=lambda e: e["at"])
        must_rise([event["token"] for event in elected])


def _leads(peer: Peer) -> bool:
    told = peer.of("is_leader")
    return bool(told and told[-1]["value"])


# The network


def test_a_lost_reply_to_the_winning_request_elects_once(
    server: ConsulServer, operator: Operator, contend: Contend
) -> None:
    election = new_election()
    with Proxy(server.port) as proxy:
        proxy.drop_replies(after=b'"lock"')
        elector, record = contend(election, server.url_at(proxy.port))
        eventually(lambda: operator.holder(election), "the lock is carried out")
        assert not elector.is_leader
        proxy.pass_on()
        record.wait("elected")
        entry = operator.entry(election)
        assert entry and entry["LockIndex"] == 1 and tokens(record) == [entry["ModifyIndex"]]
        _, other = contend(election)
        assert elector.stop()
        other.wait("elected")
        must_rise(tokens(record, other))


def test_a_candidate_stopped_in_a_silence_blocks_nobody(
    server: ConsulServer, operator: Operator, contend: Contend
) -> None:
    """Its client leads another election, and so keeps the session alive that locks too late."""
    election, kept, record = new_election(), new_election(), Record()
    with Proxy(server.port) as proxy, connect(server.url_at(proxy.port), ttl=6) as client:
        leader = client.elector(kept, on_elected=record.elected, on_lost=record.lost)
        leader.start()
        record.wait("elected")
        proxy.drop_replies(after=b'"lock"')
        given_up = client.elector(election)
        given_up.start()
        eventually(lambda: operator.holder(election), "the lock is carried out")
        given_up.stop(0.0)
        proxy.pass_on()
        eventually(lambda: not operator.holder(election), "it is given back")
        _, other = contend(election)
        other.wait("elected")
        assert leader.is_leader and record.kinds() == ["elected"]


# Operators


def test_a_session_destroyed_under_a_leader_is_followed_by_another_term(
    operator: Operator, contend: Contend
) -> None:
    election = new_election()
    elector, record = contend(election, ttl=2.0)
    record.wait("elected")
    _, waiting = contend(election, ttl=2.0)
    time.sleep(0.3)
    destroyed_at = time.monotonic()
    operator.destroy(operator.holder(election))
    record.wait("lost")
    # A renewal that has just renewed the session, and now reads the key, finds it without one.
    assert record.of("lost") in ([LossReason.SESSION_LOST], [LossReason.TAKEN])
    eventually(lambda: len(tokens(record, waiting)) == 2, "the next term")
    assert time.monotonic() - destroyed_at > elector.timing.belief_window
    must_rise(sorted(tokens(record, waiting)))  # type: ignore[type-var]


@pytest.mark.parametrize("deed", ["delete", "put", "release"])
def test_a_key_changed_under_a_leader_ends_the_term_and_another_one_begins(
    operator: Operator, contend: Contend, deed: str
) -> None:
    election = new_election()
    elector, record = contend(election)
    record.wait("elected")
    match deed:
        case "delete":
            operator.delete(operator.path(election))
        case "put":
            operator.put(election)
        case "release":
            operator.put(election, "x", f"?release={operator.holder(election)}")
    record.wait("lost")
    assert record.of("lost") == [LossReason.TAKEN]
    record.wait("elected", 2)
    must_rise(tokens(record))
    info = elector.leader()
    assert info is not None and info.token.value == tokens(record)[-1]


def test_electing_and_resigning_leaves_nothing_behind(
    server: ConsulServer, operator: Operator
) -> None:
    def left() -> tuple[int, int, int]:
        files = len(list(Path("/proc/self/fd").iterdir()))
        return threading.active_count(), files, len(operator.sessions())

    before = left()
    with connect(server.url, ttl=10) as client:
        electors = [client.elector(name) for name in ("cycles-1", "cycles-2")]

        def cycle() -> None:
            for elector in electors:
                with elector.lead(timeout=10):
                    pass

        cycle()
        during = left()
        for _ in range(100):
            cycle()
        # A pool may have grown, and a session have been lost on a busy machine: not 200 times.
        eventually(
            lambda: all(now <= then + 8 for now, then in zip(left(), during, strict=True)),
            f"threads, files, sessions: {during}",
        )
    eventually(
        lambda: all(now <= then for now, then in zip(left(), before, strict=True)),
        f"threads, files, sessions: {before}",
    )
