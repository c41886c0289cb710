"""What the tests of redis:// share."""

from __future__ import annotations

from leaderlock import LeaderElector
from leaderlock.backends.base import Settings
from leaderlock.backends.redis import RedisBackend
from leaderlock.backends.redis.target import target_of
from leaderlock.url import StoreURL
from tests.elector.tools import Record
from tests.servers.redis import RedisServer

TTL = 2.0


def backend_at(
    url: str, *, ttl: float = 30.0, timeout: float = 1.0, wait: int = 0, quarantine: bool = False
) -> RedisBackend:
    settings = Settings(ttl=ttl, request_timeout=timeout)
    return RedisBackend(target_of(StoreURL.parse(url)), settings, wait, quarantine)


def elector_at(url: str, record: Record | None = None, ttl: float = TTL) -> LeaderElector:
    record = record or Record()
    return LeaderElector(
        url,
        "e",
        ttl=ttl,
        quarantine=False,
        on_elected=record.elected,
        on_lost=record.lost,
    )


def keys_of(server: RedisServer) -> list[str]:
    keys = server.call("KEYS", "*")
    assert isinstance(keys, list)
    return sorted(str(key) for key in keys)
