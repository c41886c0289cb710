"""etcd:// keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from leaderlock.testing.servers.etcd import EtcdServer
from tests.conformance.etcd_harness import EtcdHarness


@pytest.fixture(scope="module")
def server() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


class TestEtcd(BackendConformance):
    @pytest.fixture
    def harness(self, server: EtcdServer) -> Iterator[BackendHarness]:
        with EtcdHarness(server) as harness:
            yield harness
