"""Pytest's fixtures. A missing server is an error, never a skip.

`redis`, `valkey`, `etcd`, `zookeeper` and `consul` last as long as the test process, are shared
by its tests, and may be servers that somebody else started. The others are a test's own, to be
frozen and killed. For one with options, a test writes `with RedisServer(password="x") as server:`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.consul import ConsulCluster, ConsulServer
from leaderlock.testing.servers.etcd import EtcdCluster, EtcdServer
from leaderlock.testing.servers.mariadb import MariaDBServer
from leaderlock.testing.servers.postgresql import PostgreSQLServer
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.redis import RedisServer, ValkeyServer
from leaderlock.testing.servers.zookeeper import ZooKeeperCluster, ZooKeeperServer
from tests.servers.external import Shared, find_external


def _shared(store: str, kind: type[Server]) -> Iterator[Shared]:
    if external := find_external(store):
        yield external
    else:
        with kind() as server:
            yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Shared]:
    yield from _shared("redis", RedisServer)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Shared]:
    yield from _shared("valkey", ValkeyServer)


@pytest.fixture(scope="session")
def etcd() -> Iterator[Shared]:
    yield from _shared("etcd", EtcdServer)


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[Shared]:
    yield from _shared("zookeeper", ZooKeeperServer)


@pytest.fixture(scope="session")
def consul() -> Iterator[Shared]:
    yield from _shared("consul", ConsulServer)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def own_etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.fixture
def own_zookeeper() -> Iterator[ZooKeeperServer]:
    with ZooKeeperServer() as server:
        yield server


@pytest.fixture
def own_consul() -> Iterator[ConsulServer]:
    with ConsulServer() as server:
        yield server


@pytest.fixture
def etcd_cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
def zookeeper_cluster() -> Iterator[ZooKeeperCluster]:
    with ZooKeeperCluster() as cluster:
        yield cluster


@pytest.fixture
def consul_cluster() -> Iterator[ConsulCluster]:
    with ConsulCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of an authority that no server trusts."""
    return Certificates(tmp_path_factory.mktemp("other-certificates"))
