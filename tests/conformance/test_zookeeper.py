"""zookeeper:// keeps the contract, over a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from tests.conformance.zookeeper_harness import ZooKeeperHarness


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeperServer]:
    """Not the shared one: it is frozen and killed."""
    with ZooKeeperServer(tick=100) as server:
        yield server


class TestZooKeeper(BackendConformance):
    @pytest.fixture
    def harness(self, server: ZooKeeperServer) -> Iterator[BackendHarness]:
        with ZooKeeperHarness(server) as harness:
            yield harness
