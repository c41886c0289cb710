"""consul:// keeps the contract, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from leaderlock.testing.servers.consul import ConsulServer
from tests.conformance.consul_harness import ConsulHarness


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    """Not the shared one: it is frozen and killed."""
    with ConsulServer() as server:
        yield server


class TestConsul(BackendConformance):
    @pytest.fixture
    def harness(self, server: ConsulServer) -> Iterator[BackendHarness]:
        with ConsulHarness(server) as harness:
            yield harness
