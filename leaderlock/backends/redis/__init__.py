"""redis:// and its relatives: see `leaderlock.backends.redis.backend`."""

from leaderlock.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
