"""redis:// with many who wait: who is told, who has to be passed over, and what it costs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from leaderlock import BackendUnavailable, LeaderElector, connect
from leaderlock.backends.base import Attempt, Granted, Waiting
from leaderlock.backends.redis import RedisBackend
from leaderlock.backends.redis import backend as backend_module
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.redis import RedisCluster, RedisServer, ValkeyServer
from tests.backends.redis_tools import (
    OF_CAMPAIGNS,
    TTL,
    backend_at,
    elector_at,
    keys_of,
    prepare,
    queue_of,
    requests_to,
)
from tests.backends.store_peer import Peer
from tests.backends.tools import attempt_at, win
from tests.elector.tools import Record, eventually

TURN = 0.02
QUEUE = "{leaderlock:e}:queue"


class Candidate:
    """An attempt that does nothing by itself, and knows when it has been woken."""

    def __init__(self, backend: RedisBackend, name: str) -> None:
        self.backend = backend
        self.woken = threading.Event()
        self.attempt: Attempt = attempt_at(name=name, wake=self.woken.set)

    def wait(self) -> float:
        """Ask, and be refused. Returns when to ask again."""
        answer = self.backend.campaign(self.attempt)
        assert isinstance(answer, Waiting) and answer.retry_after is not None, answer
        return answer.retry_after

    def asks_at(self) -> float:
        """The same as a reading of time.monotonic."""
        return self.wait() + time.monotonic()


@contextlib.contextmanager
def backends_at(url: str, count: int, ttl: float = 30.0) -> Iterator[list[RedisBackend]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(backend_at(url, ttl=ttl))) for _ in range(count)
        ]


def in_line(backends: list[RedisBackend], count: int) -> list[Candidate]:
    """Candidates of all the backends in turn, who wait and listen, in the order of their names."""
    line = [Candidate(backends[n % len(backends)], f"waiter-{n}") for n in range(count)]
    for number, candidate in enumerate(line):
        candidate.wait()
        if number < len(backends):
            assert candidate.woken.wait(10), "it was not woken when it could hear of its turn"
            candidate.woken.clear()
    return line


# What it costs


@pytest.fixture(scope="module", params=[RedisServer, ValkeyServer, RedisCluster])
def store(request: pytest.FixtureRequest) -> Iterator[RedisServer | RedisCluster]:
    with request.param() as store:
        yield store


def nodes_of(store: RedisServer | RedisCluster) -> list[RedisServer]:
    return store.nodes if isinstance(store, RedisCluster) else [store]


@pytest.mark.parametrize("many", [8, 120])
def test_a_hand_over_costs_the_same_however_many_wait(
    store: RedisServer | RedisCluster, many: int
) -> None:
    """Once all of them asked at once."""
    election = f"crowd-{many}"
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(connect(store.url, ttl=60, quarantine=False)) for _ in range(4)
        ]
        electors = [clients[n % 4].elector(election) for n in range(many + 1)]
        electors[0].start()
        assert electors[0].wait_elected(20)
        for elector in electors[1:]:
            elector.start()
        until_quiet(store, electors)
        for number in range(3):
            (leader,) = [elector for elector in electors if elector.is_leader]
            before = requests_to(*nodes_of(store))
            electors.remove(leader)
            assert leader.stop()
            until_quiet(store, electors)
            # One release; the first in the queue asks and leads, and two behind it ask as well.
            # The server may not have known the script of a release before.
            assert requests_to(*nodes_of(store)) - before <= 4 + (number == 0)


def until_quiet(store: RedisServer | RedisCluster, electors: list[LeaderElector]) -> None:
    """One of them leads, and nobody has anything to ask any more."""
    eventually(lambda: all(elector._candidate.answered for elector in electors))
    eventually(lambda: sum(elector.is_leader for elector in electors) == 1)
    silence = threading.Event()
    last = -1
    while (now := requests_to(*nodes_of(store))) != last:
        last = now
        silence.wait(0.3)


def test_few_ask_when_a_leader_is_dead(own_redis: RedisServer) -> None:
    """Each one leaves some time to those in front, and the last do not wait for more than a ttl."""
    with backends_at(own_redis.url, 3, ttl=2.0) as backends:
        began = time.monotonic()
        win(backends[0], attempt_at())
        line = [Candidate(backends[n % 3], f"waiter-{n}") for n in range(200)]
        asks = sorted(candidate.asks_at() for candidate in line)
        assert len([ask for ask in asks if ask < asks[0] + 5 * TURN]) <= 6
        assert asks[-1] < began + 2 * 2.0 + 0.2
        assert asks[-1] - asks[-80] > 0.4, "they would all ask at the same time"


# Whose turn it is


def test_those_in_front_are_told_and_one_after_the_other(own_redis: RedisServer) -> None:
    with backends_at(own_redis.url, 3) as backends:
        win(backends[0], attempt_at())
        line = in_line(backends, 6)
        assert queue_of(own_redis) == [f"waiter-{n}" for n in range(6)]
        backends[0].release(attempt_at())
        told_at = []
        for candidate in line[:3]:
            assert candidate.woken.wait(10)
            told_at.append(time.monotonic())
        assert told_at[2] - told_at[0] > TURN
        assert not any(candidate.woken.is_set() for candidate in line[3:])
        for leader in line:
            assert isinstance(leader.backend.campaign(leader.attempt), Granted)
            assert leader.attempt.attempt_id not in queue_of(own_redis)
            leader.backend.release(leader.attempt)
        assert keys_of(own_redis) == ["{leaderlock:e}:fence"]


def test_who_asks_again_keeps_its_place(own_redis: RedisServer) -> None:
    with Proxy(own_redis.port) as proxy, backends_at(own_redis.url, 1) as (other,):
        backend = backend_at(own_redis.url_at(proxy.port), timeout=0.5)
        win(other, attempt_at())
        first, second = Candidate(backend, "first"), Candidate(other, "second")
        prepare(backend)
        proxy.drop_replies(after=OF_CAMPAIGNS)
        with pytest.raises(BackendUnavailable):
            first.wait()
        second.wait()
        with pytest.raises(BackendUnavailable):
            first.wait()
        proxy.pass_on()
        first.wait()
        assert queue_of(own_redis) == ["first", "second"]
        assert own_redis.call("ZCARD", QUEUE) == 4
        backend.release(first.attempt)
        assert queue_of(own_redis) == ["second"]
        backend.close()


def test_a_newcomer_may_be_faster_and_the_first_stays_the_first(own_redis: RedisServer) -> None:
    with backends_at(own_redis.url, 2) as backends:
        win(backends[0], attempt_at())
        line = in_line(backends, 2)
        backends[0].release(attempt_at())
        win(backends[0], attempt_at(name="newcomer"))
        assert line[0].woken.wait(10)
        line[0].wait()
        assert queue_of(own_redis) == ["waiter-0", "waiter-1"]


def test_who_gives_up_makes_room_and_passes_its_turn_on(own_redis: RedisServer) -> None:
    with backends_at(own_redis.url, 2) as backends:
        win(backends[0], attempt_at())
        line = in_line(backends, 5)
        line[1].backend.release(line[1].attempt)
        assert queue_of(own_redis) == ["waiter-0", "waiter-2", "waiter-3", "waiter-4"]
        backends[0].release(attempt_at())
        for candidate in line[0], line[2], line[3]:
            assert candidate.woken.wait(10)
        assert not line[4].woken.is_set()
        line[0].backend.release(line[0].attempt)  # in place of asking
        assert line[4].woken.wait(10)


# Those who are gone


def test_closed_clients_are_passed_over(own_redis: RedisServer) -> None:
    """However many of them stand in front."""
    with backends_at(own_redis.url, 2) as (leader, live):
        win(leader, attempt_at())
        dead = backend_at(own_redis.url)
        in_line([dead], 40)
        waiter = in_line([live], 1)[0]
        dead.close()
        eventually(lambda: len(listening(own_redis)) == 1)
        leader.release(attempt_at())
        assert waiter.woken.wait(10)


def test_a_candidate_in_front_that_is_paused_costs_a_moment(own_redis: RedisServer) -> None:
    """It is told, as far as the server knows."""
    url = own_redis.url + "?quarantine=false"
    with elector_at(own_redis.url, ttl=60) as leader:
        assert leader.wait_elected(20)
        with Peer(url, "e", 60) as first, Peer(url, "e", 60) as second:
            for peer in first, second:
                peer.wait_for("ready")
            eventually(lambda: len(listening(own_redis)) == 2)
            eventually(lambda: len(queue_of(own_redis)) == 2)
            first.pause()
            second.pause()
            with elector_at(own_redis.url, ttl=60) as third:
                eventually(lambda: len(listening(own_redis)) == 3)
                began = time.monotonic()
                leader.stop()
                assert third.wait_elected(20)
                assert time.monotonic() - began < 5, "it waited for the end of the lease"
                for peer in first, second:
                    peer.go_on()


def listening(server: RedisServer) -> list[object]:
    found = server.call("PUBSUB", "CHANNELS", "{leaderlock:}:wake:*")
    assert isinstance(found, list)
    return list(found)


def test_a_dead_leader_with_dead_candidates_behind_it_is_succeeded_in_time(
    own_redis: RedisServer,
) -> None:
    record = Record()
    with backends_at(own_redis.url, 1, ttl=TTL) as (dead,):
        win(dead, attempt_at())
        for number in range(8):
            Candidate(dead, f"dead-{number}").wait()
        dead.close()
        began = time.monotonic()
        with elector_at(own_redis.url, record) as heir:
            record.wait("elected")
            assert time.monotonic() - began < heir.timing.worst_case_failover + 1.0


def test_places_of_the_dead_are_given_up(store: RedisServer | RedisCluster) -> None:
    """By whoever asks; in a cluster, too, where nobody can say who listens."""
    node = store.node_of(QUEUE) if isinstance(store, RedisCluster) else store
    with backends_at(store.url, 2, ttl=0.5) as (dead, live):
        win(live, attempt_at())
        for number in range(5):
            Candidate(dead, f"dead-{number}").wait()
        dead.close()

        def others_are_gone() -> bool:
            live.campaign(attempt_at())  # keeps the term, or wins it again
            if isinstance(live.campaign(attempt_at(name="waiter")), Granted):
                live.release(attempt_at(name="waiter"))
            return queue_of(node) == ["waiter"]

        eventually(others_are_gone)
        eventually(lambda: QUEUE not in keys_of(node), "the queue of nobody does not expire")


def test_a_place_lasts_as_long_as_the_ttl_of_its_client_asks_for(own_redis: RedisServer) -> None:
    with (
        backends_at(own_redis.url, 1, ttl=60) as (patient,),
        backends_at(own_redis.url, 1, ttl=1) as (quick,),
    ):
        win(patient, attempt_at())
        Candidate(patient, "patient").wait()
        own_redis.call("PEXPIRE", "{leaderlock:e}:leader", "500")
        Candidate(quick, "quick").wait()
        assert 100_000 < int(str(own_redis.call("PTTL", QUEUE))) < 200_000


# Keys


def test_a_flushed_queue_fills_again(own_redis: RedisServer) -> None:
    """Those who wait have lost their places, and not their chance."""
    with connect(own_redis.url, ttl=1.0, quarantine=False) as client:
        electors = [client.elector("e") for _ in range(6)]
        for elector in electors:
            elector.start()
        eventually(lambda: len(queue_of(own_redis)) == 5)
        own_redis.call("FLUSHALL")
        eventually(lambda: sum(elector.is_leader for elector in electors) == 1)
        eventually(lambda: len(queue_of(own_redis)) == 5)


@pytest.mark.parametrize("write", [["SET", QUEUE, "x"], ["ZADD", QUEUE, "5", "x", "-5", "y"]])
def test_what_others_write_to_the_queue_blocks_no_election(
    own_redis: RedisServer, write: list[str]
) -> None:
    with backends_at(own_redis.url, 2) as (leader, other):
        own_redis.call(*write)
        heir = Candidate(other, "heir")
        for _ in range(3):
            win(leader, attempt_at())
            assert heir.wait() < 31
            leader.release(attempt_at())
            assert isinstance(other.campaign(heir.attempt), Granted)
            other.release(heir.attempt)
        assert own_redis.call("EXISTS", QUEUE) == 1


def test_a_campaign_carried_out_late_takes_no_place(own_redis: RedisServer) -> None:
    with backends_at(own_redis.url, 1) as (leader,):
        late = backend_at(own_redis.url, timeout=0.3)
        late.leader("e")  # connects
        win(leader, attempt_at())
        given_up = Candidate(late, "late")
        own_redis.freeze()
        with pytest.raises(BackendUnavailable):
            given_up.wait()
        own_redis.thaw()
        late.release(given_up.attempt)
        # The buffers of a test are empty by now: send it once more.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend_module, "_RETIRED_MS", 0)
            given_up.wait()
        assert queue_of(own_redis) == []
        late.close()


def test_who_is_in_quarantine_stands_in_the_queue(own_redis: RedisServer) -> None:
    """So that not all ask at its end."""
    backend = backend_at(own_redis.url, ttl=30, quarantine=True)
    asks = [Candidate(backend, f"waiter-{n}").asks_at() for n in range(50)]
    assert asks[-1] - asks[0] > 45 * TURN
    assert len(queue_of(own_redis)) == 50
    assert keys_of(own_redis) == [QUEUE]
    backend.close()


# Redis Cluster


def test_a_leader_whose_slot_moves_can_release_though_others_wait() -> None:
    """Its script wants the queue, too, which may be at another node."""
    with RedisCluster() as cluster, backends_at(cluster.url, 1) as (backend,):
        key = "{leaderlock:e}:leader"
        source = cluster.node_of(key)
        target = next(node for node in cluster.nodes if node is not source)
        win(backend, attempt_at())
        waiter = Candidate(backend, "waiter")
        waiter.wait()
        ids = {node.port: str(node.call("CLUSTER", "MYID")) for node in (source, target)}
        slot = str(source.call("CLUSTER", "KEYSLOT", key))
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        source.call("MIGRATE", "127.0.0.1", str(target.port), key, "0", "1000")
        backend.release(attempt_at())
        assert backend.leader("e").payload is None
        for node in target, source:
            node.call("CLUSTER", "SETSLOT", slot, "STABLE")
        assert isinstance(backend.campaign(waiter.attempt), Granted)
