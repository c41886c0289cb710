"""RedisFence on real servers: one script, one slot, one step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis as redis_py
import redis.asyncio
import redis.exceptions

from leaderlock import ConfigurationError, FencingToken, StaleToken
from leaderlock.fencing import RedisFence
from leaderlock.testing.servers.redis import RedisCluster, RedisServer
from tests.elector.tools import in_thread
from tests.fencing.databases import token
from tests.servers.external import Shared

OLD, NEW = token(5), token(6)


@pytest.fixture(params=["redis", "valkey"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    server: Shared = request.getfixturevalue(request.param)
    with redis_py.Redis.from_url(server.url, decode_responses=True) as made:
        yield made


@pytest.fixture
def fence(client: Any, request: pytest.FixtureRequest) -> RedisFence:
    return RedisFence(client, request.node.name.replace("[", "-").replace("]", ""))


def test_a_write_is_carried_out_with_its_check(client: Any, fence: RedisFence) -> None:
    key = fence.key("balance")
    assert fence.write(OLD, ("SET", key, "12"), ("INCRBY", key, 3), ("GET", fence.key("no"))) == [
        "OK",
        15,
        None,
    ]
    fence.advance(NEW)
    with pytest.raises(StaleToken) as caught:
        fence.write(OLD, ("SET", key, "0"))
    assert (caught.value.presented, caught.value.highest) == (OLD, NEW)
    assert client.get(key) == "15"
    assert fence.write(NEW, ("HSET", fence.key("h"), "f", b"\xff\x00")) == [1]


def test_two_clients_at_once_never_write_a_lower_token_after_a_higher_one(
    client: Any, fence: RedisFence
) -> None:
    log = fence.key("log")
    started = threading.Barrier(2)

    def lead(value: int) -> None:
        started.wait()
        try:
            for number in range(60):
                shown = token(value + 2 * (number // 10))
                fence.write(shown, ("RPUSH", log, str(shown)))
        except StaleToken:
            pass

    with in_thread(partial(lead, 1)), in_thread(partial(lead, 2)):
        pass
    written = client.lrange(log, 0, -1)
    assert written == sorted(written)
    assert len(written) >= 60


def test_a_command_that_fails_raises_and_leaves_the_fence_where_it_was_raised_to(
    client: Any, fence: RedisFence
) -> None:
    key = fence.key("list")
    client.delete(key)
    client.rpush(key, "a")
    with pytest.raises(redis_py.ResponseError, match="WRONGTYPE"):
        fence.write(NEW, ("INCR", key))
    with pytest.raises(StaleToken):
        fence.check(OLD)


def test_the_fence_survives_a_crash_of_the_server() -> None:
    with RedisServer() as server, redis_py.Redis.from_url(server.url) as client:
        RedisFence(client, "billing").advance(NEW)
        server.kill()
        server.start()
        with pytest.raises(StaleToken):
            RedisFence(client, "billing").check(OLD)


def test_in_a_cluster_all_keys_of_a_write_are_in_the_fences_slot() -> None:
    with RedisCluster() as cluster, client_of(cluster) as client:
        for number in range(8):  # on every node
            fence = RedisFence(client, f"shard {number}")
            fence.write(NEW, ("SET", fence.key("a"), 1), ("SET", fence.key("b"), 2))
            with pytest.raises(StaleToken):
                fence.write(OLD, ("SET", fence.key("a"), 3))
            assert (client.get(fence.key("a")), fence.highest()) == (b"1", NEW)
        with pytest.raises(redis.exceptions.RedisClusterException, match="same key slot"):
            fence.write(NEW, ("SET", "elsewhere", 1))


def client_of(cluster: RedisCluster) -> Any:
    return redis_py.RedisCluster("127.0.0.1", cluster.nodes[0].port)


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a client of redis-py"):
        RedisFence("redis://127.0.0.1", "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="for asyncio"):
        RedisFence(redis.asyncio.Redis(), "x")
    with pytest.raises(ConfigurationError, match="without braces"):
        RedisFence(redis_py.Redis(), "{x}")


@pytest.mark.parametrize("command", ["SET a b", ("PING",), b"SET"])
def test_what_is_no_command_with_a_key_is_refused(fence: RedisFence, command: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a command with a key"):
        fence.write(NEW, command)
    assert fence.highest() is None


def test_a_fence_that_somebody_has_written_over_lets_nobody_through(
    client: Any, fence: RedisFence
) -> None:
    for value in ("7", "0", ""):  # higher and lower than any token, as a text
        client.hset(f"leaderlock:fence:{{{fence.resource}}}", "token", value)
        with pytest.raises(ConfigurationError, match="not a fencing token"):
            fence.check(FencingToken(0, 1, "redis:a"))
