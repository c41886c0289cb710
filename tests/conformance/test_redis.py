"""redis:// keeps the contract, on Redis, on Valkey and on a Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from leaderlock.testing.servers.redis import RedisCluster, RedisServer, ValkeyServer
from tests.conformance.redis_harness import RedisHarness


@pytest.fixture(scope="module", params=[RedisServer, ValkeyServer, RedisCluster])
def store(request: pytest.FixtureRequest) -> Iterator[RedisServer | RedisCluster]:
    with request.param() as store:
        yield store


class TestRedis(BackendConformance):
    @pytest.fixture
    def harness(self, store: RedisServer | RedisCluster) -> Iterator[BackendHarness]:
        with RedisHarness(store) as harness:
            yield harness
