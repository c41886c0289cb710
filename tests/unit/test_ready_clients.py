"""A client that the program has made, in place of a URL."""

from __future__ import annotations

import pytest
import redis

from leaderlock import ConfigurationError, LeaderElector, connect


@pytest.fixture
def ready() -> redis.Redis:
    return redis.Redis("store.example", 7000, password="s3cret")


def test_it_names_the_store(ready: redis.Redis) -> None:
    elector = LeaderElector(election="billing", redis_client=ready, ttl=5)
    assert elector.timing.ttl == 5
    assert "redis://" in repr(elector)
    assert "s3cret" not in repr(elector) + repr(connect(redis_client=ready).config)


def test_it_goes_before_the_url_in_the_environment(
    ready: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_URL", "memory://")
    assert connect(redis_client=ready).config.url.scheme == "redis"


def test_it_can_stand_in_a_mapping(ready: redis.Redis) -> None:
    elector = LeaderElector.from_config({"redis_client": ready, "election": "billing"})
    assert "redis://" in repr(elector)


def test_a_url_beside_it_is_refused(ready: redis.Redis) -> None:
    with pytest.raises(ConfigurationError, match="given twice"):
        LeaderElector("redis://elsewhere", "billing", redis_client=ready)


def test_what_it_brings_itself_cannot_be_given_beside_it(ready: redis.Redis) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        connect(redis_client=ready, password="other")


@pytest.mark.parametrize(
    "keyword", ["redis_client", "etcd_client", "consul_client", "kazoo_client"]
)
def test_something_else_in_its_place_is_refused(keyword: str) -> None:
    with pytest.raises(ConfigurationError, match=keyword):
        connect(None, **{keyword: object()})
