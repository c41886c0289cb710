"""What elects a leader elects another one when it is gone."""

from __future__ import annotations

import pytest

from leaderlock.testing.servers.consul import ConsulCluster
from leaderlock.testing.servers.etcd import EtcdCluster
from leaderlock.testing.servers.process import NotReady, Server, wait_until
from leaderlock.testing.servers.redis import RedisSentinel, RedisServer
from leaderlock.testing.servers.zookeeper import ZooKeeperCluster
from tests.servers.test_servers import exists, read, write

Kind = type[EtcdCluster] | type[ZooKeeperCluster] | type[ConsulCluster]
each_cluster = pytest.mark.parametrize("kind", [EtcdCluster, ZooKeeperCluster, ConsulCluster])


@each_cluster
def test_a_cluster_replaces_its_leader_and_keeps_its_data(kind: Kind) -> None:
    with kind() as cluster:
        pids = [node.pid for node in cluster.nodes]
        killed = cluster.leader()
        write(killed, "value")
        killed.kill()
        second = cluster.leader()
        assert second is not killed
        killed.start()

        second.freeze()
        third = cluster.leader()
        assert third is not second
        third.wait_until_ready()
        assert read(third) == "value"
        second.thaw()

        leader = cluster.leader()
        for node in cluster.followers():
            node.kill()
        wait_until(lambda: not is_ready(leader), 20, lambda: f"{leader} needs no quorum")

        cluster.restart()
        assert read(cluster.leader()) == "value"
        pids += [node.pid for node in cluster.nodes]
    assert not any(exists(pid) for pid in pids)


@each_cluster
def test_a_node_without_its_data_learns_it_from_the_others(kind: Kind) -> None:
    with kind() as cluster:
        lost, keeps, _ = nodes = [cluster.leader(), *cluster.followers()]
        write(lost, "value")
        cluster.lose_data(lost)
        lost.launch()
        cluster.wait_until_caught_up(lost)
        keeps.kill()  # now both that are left are needed
        cluster.leader()
        nodes.remove(keeps)
        for node in nodes:
            node.wait_until_ready()
            assert read(node) == "value"


def is_ready(node: Server) -> bool:
    try:
        node.probe()
    except (OSError, NotReady):
        return False
    return True


def test_a_sentinel_makes_a_replica_the_master() -> None:
    with (
        RedisServer() as master,
        RedisServer(settings={"replicaof": f"127.0.0.1 {master.port}"}) as replica,
        RedisSentinel(master) as sentinel,
    ):
        assert sentinel.master_port() == master.port
        write(master, "value")
        wait_until(lambda: read(replica) == "value", 20, lambda: "nothing is replicated")
        # A sentinel learns of the replicas from the master.
        wait_until(
            lambda: sentinel.call("SENTINEL", "REPLICAS", sentinel.name),
            20,
            lambda: "the sentinel knows no replica",
        )
        master.kill()
        wait_until(lambda: sentinel.master_port() == replica.port, 20, lambda: "no fail-over")
        write(replica, "another")
