"""etcd:// with clusters of servers that fail, and candidates in processes that die."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from leaderlock import BackendUnavailable, LossReason
from leaderlock.backends.base import Renewal
from leaderlock.backends.etcd import EtcdBackend
from leaderlock.backends.etcd.lease import SharedLease
from leaderlock.testing.servers.etcd import EtcdCluster, EtcdServer
from leaderlock.testing.servers.proxy import Proxy
from tests.backends.etcd_tools import TTL, backend_at, elector_at, keys_of, leases_of, queue_of
from tests.backends.store_peer import Peer
from tests.backends.tools import attempt_at, win
from tests.elector.tools import ROOT, Record, eventually, in_child, in_thread, lasts_at_most

LONG = 10.0  # seconds: outlives the election of a new leader of etcd's own


# Clusters


def test_a_frozen_server_costs_no_term(etcd_cluster: EtcdCluster) -> None:
    """Whichever it is: the one that is asked, and the leader of the cluster."""
    record = Record()
    follower, leader = etcd_cluster.followers()[0], etcd_cluster.leader()
    url = etcd_cluster.url_at(n.port for n in [follower, leader, *etcd_cluster.followers()[1:]])
    with elector_at(url, record, ttl=LONG) as elector, elector_at(url, record, ttl=LONG) as waiter:
        eventually(lambda: len(record.kinds()) == 1)
        for node in follower, leader:
            node.freeze()
            end = time.monotonic() + 1.2 * elector.timing.belief_window
            while time.monotonic() < end:
                assert elector.is_leader or waiter.is_leader, f"lost with {node}: {record.told}"
                time.sleep(0.05)
            node.thaw()
        assert record.kinds() == ["elected"]
        (elector if elector.is_leader else waiter).resign()
        record.wait("elected", 2, timeout=5)


def test_tokens_rise_over_the_death_of_clusters_leaders(etcd_cluster: EtcdCluster) -> None:
    record = Record()
    with elector_at(etcd_cluster.url, record, ttl=LONG) as elector:
        record.wait("elected")
        old = etcd_cluster.leader()
        old.kill()
        etcd_cluster.leader(other_than=old)
        time.sleep(elector.timing.heartbeat + 1.0)
        assert elector.is_leader and record.kinds() == ["elected"], "the lease lives on"
        old.start()
        etcd_cluster.restart()
        eventually(lambda: elector.is_leader, "no leader after a restart of the whole cluster")
        elector.resign()
        record.wait("elected", len(record.of("elected")) + 1)
    tokens = record.of("elected")
    assert tokens == sorted(set(tokens)), f"{tokens} do not rise"  # type: ignore[type-var]
    assert keys_of(etcd_cluster.leader()) == []


def test_servers_without_a_majority_are_no_store(etcd_cluster: EtcdCluster) -> None:
    """Streams to the one that is left have to end too: it keeps them open in silence."""
    last, *others = etcd_cluster.nodes
    backend = backend_at(last.url, timeout=1.0)
    other = backend_at(etcd_cluster.url, timeout=2.0)
    woken = threading.Event()
    win(other, attempt_at())
    backend.campaign(attempt_at(name="b", wake=woken.set))
    eventually(lambda: backend._watcher._stream is not None)
    for node in others:
        node.kill()
    with pytest.raises(BackendUnavailable):
        backend.renew([attempt_at(name="b")])
    with pytest.raises(BackendUnavailable):
        backend.leader("e")
    eventually(lambda: backend._watcher._stream is None, "the watch has not noticed")
    for node in others:
        node.start()
    assert woken.wait(20), "nobody was woken after the gap"
    eventually(lambda: _answers(other))
    other.release(attempt_at())
    assert win(backend, attempt_at(name="b"))
    backend.close()
    other.close()


def test_a_server_that_is_down_is_passed_over(etcd_cluster: EtcdCluster) -> None:
    dead = etcd_cluster.followers()[0]
    dead.kill()
    url = etcd_cluster.url_at(n.port for n in [dead, *[n for n in etcd_cluster.nodes if n != dead]])
    backend = backend_at(url, timeout=1.0)
    with lasts_at_most(0.5):
        assert win(backend, attempt_at())
    others = backend_at(etcd_cluster.url_at([etcd_cluster.leader().port]))
    assert others.leader("e").source == backend.leader("e").source, "one cluster, one source"
    others.close()
    backend.close()


def test_one_call_gets_past_a_frozen_server(
    etcd_cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen, last = etcd_cluster.followers()
    url = etcd_cluster.url_at([frozen.port, last.port])
    other, backend = backend_at(last.url), backend_at(url)
    woken = threading.Event()
    win(other, attempt_at())
    backend.campaign(attempt_at(name="b", wake=woken.set))
    win(backend, attempt_at("another", "c"))
    eventually(lambda: backend._watcher._stream is not None)
    time.sleep(0.2)
    frozen.freeze()
    with lasts_at_most(2.0):
        assert backend.renew([attempt_at(name="b")]).outcomes == {"b": Renewal.RENEWED}
    # Its watches went with it, and whoever waits was told to look: it was not the pings, of 13 s.
    assert woken.wait(5)
    # What queues an attempt is sent to one server only: otherwise one would carry it out late,
    # and nobody would remember.
    backend._connection._hosts.rotate(-1)
    lease = backend._lease.alive(other._connection.talk())
    monkeypatch.setattr(SharedLease, "alive", lambda self, talk: lease)
    with pytest.raises(BackendUnavailable):
        backend.campaign(attempt_at(name="d"))
    backend.release(attempt_at(name="d"))
    frozen.thaw()
    assert "leaderlock/~/d" in keys_of(last)
    frozen.probe()
    time.sleep(0.5)
    assert queue_of(last) == ["leaderlock/e/a", "leaderlock/e/b"]
    backend.close()
    other.close()


def test_another_cluster_is_another_source(own_etcd: EtcdServer) -> None:
    ours = backend_at(own_etcd.url)
    source = ours.leader("e").source
    own_etcd.restart()
    eventually(lambda: _answers(ours))
    assert ours.leader("e").source == source, "the source changed by a restart"
    ours.close()
    with EtcdServer() as another:
        theirs = backend_at(another.url)
        assert theirs.leader("e").source != source
        theirs.close()


def _answers(backend: object) -> bool:
    try:
        backend.leader("e")  # type: ignore[attr-defined]
        return True
    except BackendUnavailable:
        return False


# Processes


def test_a_killed_leader_is_succeeded_when_its_lease_has_run_out(own_etcd: EtcdServer) -> None:
    record = Record()
    with Peer(own_etcd.url, "e", TTL) as peer:
        first = peer.wait_for("elected")
        with elector_at(own_etcd.url, record) as heir:
            eventually(lambda: len(queue_of(own_etcd)) == 2)
            peer.kill()
            began = time.monotonic()
            record.wait("elected")
            assert time.monotonic() - began < heir.timing.worst_case_failover + 1.0
        assert record.of("elected")[0] > first["token"]
    eventually(lambda: (keys_of(own_etcd), leases_of(own_etcd)) == ([], []))


def test_a_paused_leader_does_not_lead_when_it_wakes_up(own_etcd: EtcdServer) -> None:
    record = Record()
    with Peer(own_etcd.url, "e", TTL) as peer:
        first = peer.wait_for("elected")
        with elector_at(own_etcd.url, record) as heir:
            eventually(lambda: len(queue_of(own_etcd)) == 2)
            peer.pause()
            record.wait("elected")
            peer.go_on()
            assert peer.wait_for("lost") == {
                **peer.wait_for("lost"),
                "token": first["token"],
                "reason": LossReason.EXPIRED.value,
            }
            eventually(lambda: len(queue_of(own_etcd)) == 2, "it does not contend again")
            assert heir.is_leader and len(peer.of("elected")) == 1
        second = peer.wait_for("elected", 2)
        assert second["token"] > record.of("elected")[0]


def test_a_fork_leaves_the_leader_alone(own_etcd: EtcdServer) -> None:
    with Peer(own_etcd.url, "e", TTL) as peer:
        peer.wait_for("elected")
        for _ in range(3):
            assert peer.tell("fork") == {
                **peer.of("fork")[-1],
                "child": "does not lead",
                "status": 0,
            }
        time.sleep(1.5 * TTL)
        assert not peer.of("lost"), "a child that has ended took the term with it"
        assert len(queue_of(own_etcd)) == 1
        assert peer.tell("stop")["released"]
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_a_child_can_have_a_client_of_its_own(own_etcd: EtcdServer) -> None:
    """On connections of its own: gRPC would have two channels to one server share them."""
    connections: list[int] = []
    with Proxy(own_etcd.port) as proxy:
        backend = backend_at(own_etcd.url_at(proxy.port))
        win(backend, attempt_at())
        backend.watch("e", lambda: None)

        def look() -> None:
            while not ended.wait(0.01):
                connections.append(proxy.open_connections)

        ended = threading.Event()
        with in_thread(look):
            assert in_child(lambda: _work_in_child(backend, proxy.port, own_etcd)) == ""
            ended.set()
        assert connections[0] == 1 and max(connections) >= 2
        assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}
        assert keys_of(own_etcd) == ["leaderlock/e/a"]
        backend.close()


def _work_in_child(backend: EtcdBackend, port: int, server: EtcdServer) -> None:
    backend.abandon()
    with elector_at(server.url_at(port)) as elector:
        assert not elector.wait_elected(0.5), "the parent leads"
        assert queue_of(server)[0] == "leaderlock/e/a" and len(queue_of(server)) == 2
    again = backend_at(server.url_at(port))
    assert win(again, attempt_at("other", "child"))
    again.close()
    assert win(backend, attempt_at("third", "child"))
    backend.close()


def test_nothing_is_written_to_stderr(own_etcd: EtcdServer) -> None:
    """gRPC would, at the fork for instance."""
    program = """
import os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from leaderlock import LeaderElector
elector, waiter = (LeaderElector(sys.argv[1], "e", ttl=6) for _ in range(2))
unreachable = LeaderElector("etcd://127.0.0.1:1", "e", ttl=6)
with elector:
    assert elector.wait_elected(20)
    unreachable.start()
    waiter.start()
    assert not waiter.wait_elected(0.5)
    for _ in range(3):
        if os.fork() == 0:
            sys.exit(0)
        assert os.wait()[1] == 0
    unreachable.stop(0.1)
    waiter.stop()
    print("led")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, own_etcd.url],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "led\n"), done.stderr
    # What leaderlock logs of the store that is not there goes to stderr too.
    noise = [line for line in done.stderr.splitlines() if not line.startswith("leaderlock.")]
    assert noise == []
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])
