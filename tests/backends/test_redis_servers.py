"""redis:// with several servers: replicas, sentinels, and Redis Cluster."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

import pytest
import redis as redis_py
from redis.crc import key_slot
from redis.sentinel import Sentinel

from leaderlock import BackendRefused, BackendUnavailable, LeaderElector, connect
from leaderlock.backends.base import Granted, Renewal, Waiting
from leaderlock.backends.redis import RedisBackend
from leaderlock.testing.servers.process import wait_until
from leaderlock.testing.servers.redis import RedisCluster, RedisSentinel, RedisServer, ValkeyServer
from tests.backends.redis_tools import TTL, backend_at, elector_at, keys_of, scripts_run
from tests.backends.tools import attempt_at, win
from tests.elector.tools import Record, eventually, lasts_at_most


def replica_of(master: RedisServer, **settings: str) -> RedisServer:
    return RedisServer(settings={"replicaof": f"127.0.0.1 {master.port}", **settings})


def wait_for_link(master: RedisServer, replica: RedisServer) -> None:
    def linked() -> bool:
        up = "master_link_status:up" in str(replica.call("INFO", "replication"))
        return up and "state=online" in str(master.call("INFO", "replication"))

    wait_until(linked, 30, lambda: f"{replica} does not follow {master}")


# Replicas


def test_a_replica_is_refused_at_once(own_redis: RedisServer) -> None:
    """It would answer from the past, and elect nobody."""
    with replica_of(own_redis) as replica:
        wait_for_link(own_redis, replica)
        backend = backend_at(replica.url)
        for request in (
            lambda: backend.campaign(attempt_at()),
            lambda: backend.leader("e"),
        ):
            with pytest.raises(BackendRefused, match="is a replica: name the primary"):
                request()
        backend.close()


def test_a_primary_that_becomes_a_replica_is_refused(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    win(backend, attempt_at())
    with RedisServer() as other:
        own_redis.call("REPLICAOF", "127.0.0.1", str(other.port))
        with pytest.raises(BackendRefused, match="is a replica"):
            backend.campaign(attempt_at("new"))
        backend.close()


def test_replicas_have_to_confirm_when_asked_to(own_redis: RedisServer) -> None:
    with replica_of(own_redis) as replica:
        wait_for_link(own_redis, replica)
        backend = backend_at(own_redis.url, wait=1)
        eventually(lambda: isinstance(_campaign(backend), Granted))  # it is busy at first
        token = win(backend, attempt_at())
        assert replica.call("HGET", "{leaderlock:e}:leader", "token") == str(token)
        assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}

        replica.freeze()
        with lasts_at_most(1.0), pytest.raises(BackendUnavailable, match="0 of wait_replicas=1"):
            backend.renew([attempt_at()])
        with lasts_at_most(1.0), pytest.raises(BackendUnavailable, match="0 of wait_replicas=1"):
            backend.campaign(attempt_at("new"))
        assert "{leaderlock:new}:leader" not in keys_of(own_redis)  # it was taken back
        assert isinstance(backend.campaign(attempt_at(name="b")), Waiting)
        own_redis.call("DEL", "{leaderlock:e}:leader")
        assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.TAKEN}

        replica.thaw()
        eventually(lambda: isinstance(_campaign(backend), Granted))
        backend.close()


def test_with_too_few_replicas_nothing_is_written(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Others once saw leaders that never were, and the log told of each."""
    with connect(own_redis.url, ttl=TTL, quarantine=False, wait_replicas=1) as client:
        electors = [client.elector("e") for _ in range(3)]
        for elector in electors:
            elector.start()
        eventually(lambda: scripts_run(own_redis) >= 12)
        assert keys_of(own_redis) == []
    failing = [r.getMessage() for r in caplog.records if "store_failing" in r.getMessage()]
    assert len(failing) == 1 and "0 of wait_replicas=1" in failing[0]


@contextlib.contextmanager
def frozen_replica_of(master: RedisServer) -> Iterator[None]:
    """It was heard of a moment ago, and confirms nothing."""
    with replica_of(master) as replica:
        wait_for_link(master, replica)
        replica.freeze()
        try:
            yield
        finally:
            replica.thaw()


def test_an_attempt_that_no_replica_confirmed_can_ask_again(own_redis: RedisServer) -> None:
    """It once retired itself for a minute, if a campaign before had stayed without an answer."""
    backend = backend_at(own_redis.url, timeout=0.3, wait=1)
    with frozen_replica_of(own_redis):
        own_redis.freeze()
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        own_redis.thaw()
        with pytest.raises(BackendUnavailable, match="wait_replicas"):
            backend.campaign(attempt_at())
        assert keys_of(own_redis) == ["{leaderlock:e}:fence"]
        backend.release(attempt_at())  # given up, it is retired all the same
        assert "{leaderlock:e}:retired:a" in keys_of(own_redis)
    backend.close()


def test_a_claim_that_no_replica_confirmed_is_taken_back_and_told(own_redis: RedisServer) -> None:
    """Who saw it would wait for the end of its lease otherwise."""
    listener, claimant = backend_at(own_redis.url), backend_at(own_redis.url, wait=1)
    woken = threading.Event()
    win(listener, attempt_at())
    listener.campaign(attempt_at(name="b", wake=woken.set))
    eventually(woken.is_set)  # it listens
    own_redis.call("DEL", "{leaderlock:e}:leader")
    woken.clear()
    with frozen_replica_of(own_redis):
        with pytest.raises(BackendUnavailable, match="0 of wait_replicas=1"):
            claimant.campaign(attempt_at(name="c"))
        left = ["{leaderlock:e}:fence", "{leaderlock:e}:queue"]
        assert keys_of(own_redis) == left, "it was no claim, or is still there"
    eventually(woken.is_set)
    listener.close()
    claimant.close()


def _campaign(backend: RedisBackend, election: str = "e") -> object:
    with contextlib.suppress(BackendUnavailable):
        return backend.campaign(attempt_at(election))
    return None


# Sentinels


@contextlib.contextmanager
def watched_pair() -> Iterator[tuple[RedisServer, RedisServer, RedisSentinel]]:
    with RedisServer() as master, replica_of(master) as replica, RedisSentinel(master) as sentinel:
        wait_for_link(master, replica)
        wait_until(
            lambda: "slaves=1" in str(sentinel.call("INFO", "sentinel")),
            30,
            lambda: "the sentinel does not see the replica",
        )
        yield master, replica, sentinel


def has_role(server: RedisServer, role: str) -> bool:
    """Not yet, while the sentinel gives it another: it cuts all of the server's clients off then.

    https://redis.io/docs/latest/develop/reference/sentinel-clients/ ("failover disconnection")
    """
    with contextlib.suppress(ConnectionError):
        return f"role:{role}" in str(server.call("INFO", "replication"))
    return False


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_the_sentinels_new_primary_is_followed_and_the_token_rises(how: str) -> None:
    with watched_pair() as (master, replica, sentinel):
        record = Record()
        leader = elector_at(sentinel.url, record)
        follower = elector_at(sentinel.url)
        with leader, follower:
            eventually(lambda: leader.is_leader or follower.is_leader)
            first = leader.leadership or follower.leadership
            assert first is not None
            master.kill() if how == "kill" else master.freeze()
            eventually(lambda: sentinel.master_port() == replica.port)
            eventually(lambda: has_role(replica, "master"), timeout=30)
            leader.stop()
            eventually(lambda: follower.is_leader, timeout=30)
            second = follower.leadership
            assert second is not None and (second is first or second.token > first.token)
            if how == "freeze":
                master.thaw()  # and it is made a replica
                eventually(lambda: has_role(master, "slave"))
                time.sleep(1)
                assert follower.is_leader
        assert "{leaderlock:e}:leader" not in keys_of(replica)


def test_sentinels_that_are_dead_or_silent_are_passed_over(own_redis: RedisServer) -> None:
    with RedisSentinel(own_redis) as dead, RedisSentinel(own_redis) as sentinel:
        dead.freeze()
        hosts = f"127.0.0.1:{dead.port},127.0.0.1:{sentinel.port}"
        backend = backend_at(f"redis+sentinel://{hosts}/mymaster/0", timeout=1.0)
        with lasts_at_most(1.0):
            assert win(backend, attempt_at())
        sentinel.kill()
        assert win(backend, attempt_at()), "the primary is asked, not the sentinels"
        own_redis.kill()
        for _ in range(2):  # the place is known, then it is not
            with lasts_at_most(1.0), pytest.raises(BackendUnavailable):
                backend.campaign(attempt_at())
        backend.close()


def test_the_sentinels_are_asked_again_when_the_primary_has_become_a_replica(
    own_redis: RedisServer,
) -> None:
    """Also when nobody has cut the connections to it."""
    with RedisSentinel(own_redis) as sentinel, RedisServer() as other:
        backend = backend_at(sentinel.url)
        win(backend, attempt_at())
        sentinel.freeze()  # or it makes good what follows
        own_redis.call("REPLICAOF", "127.0.0.1", str(other.port))
        with pytest.raises(BackendUnavailable, match="READONLY|read only"):
            backend.campaign(attempt_at("new"))
        with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{sentinel.port}"):
            backend.campaign(attempt_at("new"))
        sentinel.thaw()
        backend.close()


def test_a_name_that_no_sentinel_knows_is_refused(own_redis: RedisServer) -> None:
    with RedisSentinel(own_redis) as sentinel:
        backend = backend_at(sentinel.url.replace("mymaster", "other"))
        with pytest.raises(BackendRefused, match="no sentinel knows a Redis named 'other'"):
            backend.campaign(attempt_at())
        backend.close()


def test_sentinels_and_redis_have_passwords_of_their_own() -> None:
    with RedisServer(password="of-redis") as master:
        sentinel = RedisSentinel(master)
        sentinel.settings["requirepass"] = sentinel.password = "of-sentinels"
        sentinel.settings[f"sentinel auth-pass {sentinel.name}"] = "of-redis"
        with sentinel:
            url = f"redis+sentinel://:of-redis@127.0.0.1:{sentinel.port}/mymaster"
            right = LeaderElector(
                url, "e", ttl=3, quarantine=False, sentinel_password="of-sentinels"
            )
            none = LeaderElector(url, "e", ttl=3)
            wrong = LeaderElector(url, "e", ttl=3, sentinel_password="wrong")
            with right:
                assert right.wait_elected(20)
                assert "of-" not in repr(right)
            for elector in none, wrong:
                with elector, pytest.raises(BackendRefused, match="refuses the login"):
                    elector.wait_elected(10)


def test_a_ready_client_of_sentinels_is_followed(own_redis: RedisServer) -> None:
    with RedisSentinel(own_redis) as sentinel:
        sentinels = Sentinel([("127.0.0.1", sentinel.port)])  # type: ignore[no-untyped-call]
        client = sentinels.master_for("mymaster", db=3)  # type: ignore[no-untyped-call]
        with connect(redis_client=client, ttl=3, quarantine=False) as ours:
            elector = ours.elector("e")
            with elector:
                assert elector.wait_elected(20)
                assert client.exists("{leaderlock:e}:leader")
        for opened in client, *sentinels.sentinels:
            opened.close()


# Redis Cluster


@pytest.fixture(scope="module", params=[RedisServer, ValkeyServer])
def cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    with RedisCluster(request.param) as cluster:
        yield cluster


def test_elections_are_spread_over_a_cluster(cluster: RedisCluster) -> None:
    names = [f"spread {number}" for number in range(40)]
    attempts = [attempt_at(name, f"a{number}") for number, name in enumerate(names)]
    backend, other = backend_at(cluster.url), backend_at(cluster.url)
    for attempt in attempts:
        win(backend, attempt)
        assert isinstance(other.campaign(attempt_at(attempt.election, "rival")), Waiting)
        assert other.leader(attempt.election).payload == attempt.payload
    outcomes = backend.renew(attempts).outcomes
    assert list(outcomes.values()) == [Renewal.RENEWED] * 40
    assert all(node.call("DBSIZE") for node in cluster.nodes)
    for attempt in attempts:
        backend.release(attempt)
    assert not any("leader" in key.split(":") for node in cluster.nodes for key in keys_of(node))
    backend.close()
    other.close()


def test_a_message_reaches_those_who_listen_at_another_node(cluster: RedisCluster) -> None:
    backends = [backend_at(f"redis+cluster://127.0.0.1:{node.port}") for node in cluster.nodes]
    woken = [threading.Event() for _ in backends]
    for backend, event in zip(backends, woken, strict=True):
        backend.watch("told", event.set)
    assert all(event.wait(10) for event in woken)
    for event in woken:
        event.clear()
    win(backends[0], attempt_at("told"))
    assert all(event.wait(10) for event in woken)
    for backend in backends:
        backend.close()


def test_a_node_that_is_silent_does_not_hold_up_the_renewals_at_the_others(
    cluster: RedisCluster,
) -> None:
    attempts = [attempt_at(f"silent {number}", f"a{number}") for number in range(30)]
    backend = backend_at(cluster.url, timeout=0.6)
    for attempt in attempts:
        win(backend, attempt)
    backend.renew(attempts)
    silent = cluster.node_of("{leaderlock:silent%200}:leader")
    silent.freeze()
    with lasts_at_most(0.6):
        outcomes = backend.renew(attempts).outcomes
    silent.thaw()
    assert "a0" not in outcomes and len(outcomes) > 10
    assert set(outcomes.values()) == {Renewal.RENEWED}
    cluster.wait_until_whole()
    assert len(backend.renew(attempts).outcomes) == 30
    backend.close()


def test_a_node_that_is_cut_off_from_the_others_is_not_asked_for_ever(
    cluster: RedisCluster,
) -> None:
    """It says so itself; the others may have replaced it."""
    backend = backend_at(cluster.url, timeout=0.6)
    win(backend, attempt_at("cut off"))
    win(backend, attempt_at("cut off"))
    alone = cluster.node_of("{leaderlock:cut%20off}:leader")
    others = [node for node in cluster.nodes if node is not alone]
    for node in others:
        node.freeze()
    wait_until(
        lambda: "cluster_state:fail" in str(alone.call("CLUSTER", "INFO")),
        30,
        lambda: "it does not notice",
    )
    with pytest.raises(BackendUnavailable, match="cluster is down"):
        backend.renew([attempt_at("cut off")])
    with pytest.raises(BackendUnavailable, match="|".join(str(node.port) for node in others)):
        backend.renew([attempt_at("cut off")])
    for node in others:
        node.thaw()
    cluster.wait_until_whole()
    eventually(lambda: isinstance(_campaign(backend, "cut off"), Granted))
    backend.release(attempt_at("cut off"))
    backend.close()


def test_nodes_that_are_gone_are_passed_over(cluster: RedisCluster) -> None:
    with RedisServer() as gone:
        port = gone.port
    backend = backend_at(f"redis+cluster://127.0.0.1:{port},127.0.0.1:{cluster.nodes[2].port}")
    with pytest.raises(BackendUnavailable):
        backend.leader("e")
    assert backend.leader("e").payload is None
    backend.close()


def test_a_term_survives_the_move_of_its_slot(cluster: RedisCluster) -> None:
    backend = backend_at(cluster.url)
    token = win(backend, attempt_at("moving"))
    keys = ["{leaderlock:moving}:leader", "{leaderlock:moving}:fence"]
    slot = str(cluster.nodes[0].call("CLUSTER", "KEYSLOT", keys[0]))
    source = cluster.node_of(keys[0])
    target = next(node for node in cluster.nodes if node is not source)
    ids = {node.port: str(node.call("CLUSTER", "MYID")) for node in (source, target)}

    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    assert backend.renew([attempt_at("moving")]).outcomes == {"a": Renewal.RENEWED}
    source.call("MIGRATE", "127.0.0.1", str(target.port), "", "0", "1000", "KEYS", *keys)
    assert backend.renew([attempt_at("moving")]).outcomes == {"a": Renewal.RENEWED}  # by ASK
    assert backend.leader("moving").token == token
    for node in target, source:
        node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
    assert backend.renew([attempt_at("moving")]).outcomes == {"a": Renewal.RENEWED}  # by MOVED
    assert win(backend, attempt_at("moving")) == token

    for node in target, source:  # as it was
        node.call("CLUSTER", "SETSLOT", slot, "STABLE")
    source.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[target.port])
    target.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[source.port])
    target.call("MIGRATE", "127.0.0.1", str(source.port), "", "0", "1000", "KEYS", *keys)
    for node in source, target:
        node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[source.port])
    backend.release(attempt_at("moving"))
    backend.close()


def test_terms_go_on_and_end_while_their_slot_moves(cluster: RedisCluster) -> None:
    """Also those of which half has been moved. Nobody is elected meanwhile."""
    source, target = cluster.nodes[:2]
    names_by_slot: dict[int, list[str]] = {}
    for number in itertools.count():
        slot = key_slot(b"{leaderlock:%d}:leader" % number)
        names = names_by_slot.setdefault(slot, [])
        names.append(str(number))
        if len(names) == 2 and cluster.node_of(f"{{leaderlock:{number}}}:leader") is source:
            break
    moved, left = attempt_at(names[0], "moved"), attempt_at(names[1], "left")
    backend = backend_at(cluster.url)
    for attempt in moved, left:
        win(backend, attempt)
    ids = {node.port: str(node.call("CLUSTER", "MYID")) for node in (source, target)}
    target.call("CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[source.port])
    source.call("CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[target.port])
    key = f"{{leaderlock:{moved.election}}}:leader"
    source.call("MIGRATE", "127.0.0.1", str(target.port), key, "0", "1000")

    outcomes = backend.renew([moved, left]).outcomes
    assert outcomes == {"moved": Renewal.RENEWED, "left": Renewal.RENEWED}
    for attempt in moved, left:
        backend.release(attempt)
        assert backend.leader(attempt.election).payload is None
        with pytest.raises(BackendUnavailable, match="cannot do it now"):
            backend.campaign(attempt_at(attempt.election, "next"))

    for node in target, source:
        node.call("CLUSTER", "SETSLOT", str(slot), "STABLE")
    for attempt in moved, left:
        assert win(backend, attempt_at(attempt.election, "next"))
        backend.release(attempt_at(attempt.election, "next"))
    backend.close()


def test_a_node_of_a_cluster_is_refused_as_a_single_server(cluster: RedisCluster) -> None:
    refusals = 0
    for node in cluster.nodes:
        backend = backend_at(node.url)
        try:
            backend.campaign(attempt_at("single"))
            backend.release(attempt_at("single"))
        except BackendRefused as error:
            assert "is of a cluster: use redis+cluster://" in str(error)
            refusals += 1
        backend.close()
    assert refusals == 2  # the third has the slot


def test_a_ready_client_of_a_cluster_is_followed(cluster: RedisCluster) -> None:
    client = redis_py.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    with connect(redis_client=client, ttl=3, quarantine=False) as ours:
        elector = ours.elector("ready")
        with elector:
            assert elector.wait_elected(20)
            assert client.exists("{leaderlock:ready}:leader")
    assert client.ping()
    client.close()


def test_a_killed_node_of_a_cluster_is_replaced_and_the_token_rises() -> None:
    with (
        RedisCluster(with_replicas=True) as cluster,
        connect(cluster.url, ttl=2, quarantine=False) as client,
    ):
        electors = [client.elector(f"e{number}") for number in range(12)]
        for elector in electors:
            elector.start()
        eventually(lambda: all(elector.is_leader for elector in electors))
        before = [elector.leadership for elector in electors]
        victim = cluster.node_of("{leaderlock:e0}:leader")
        victim.kill()
        replica = cluster.replicas[cluster.nodes.index(victim)]
        eventually(lambda: has_role(replica, "master"), timeout=30)
        eventually(lambda: all(elector.is_leader for elector in electors), timeout=30)
        for old, elector in zip(before, electors, strict=True):
            now = elector.leadership
            assert old is not None and now is not None
            assert now is old or now.token > old.token
        for elector in electors:
            assert elector.stop()
