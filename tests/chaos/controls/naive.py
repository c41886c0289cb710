"""Locks on Redis as people write them, without leaderlock."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos.contender import Note

_PAUSE = 0.05


class Naive(ABC):
    """A loop that asks for the lock, and keeps it. It has no token."""

    token = None
    retries = 0
    timeout = 5.0

    def __init__(self, url: str, election: str, note: Note) -> None:
        parts = urlsplit(url)
        self.ttl = float(parse_qs(parts.query)["ttl"][0])
        self.note = note
        self.key = f"{{leaderlock:{election}}}:leader"
        self.redis = redis.Redis(
            port=parts.port or 0,
            socket_timeout=self.timeout,
            retry=Retry(NoBackoff(), self.retries),
            decode_responses=True,
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    @abstractmethod
    def is_leader(self) -> bool: ...

    @abstractmethod
    def acquire(self) -> None: ...

    @abstractmethod
    def keep(self) -> None: ...

    @abstractmethod
    def resign(self) -> None: ...

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        self._stopped.set()
        self._thread.join()
        self.resign()
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self.ttl / 3 if self.is_leader else _PAUSE):
            try:
                if self.is_leader:
                    self.keep()
                else:
                    self.acquire()
            except redis.RedisError:
                continue


class CountsFromReply(Naive):
    """Believes for a ttl from the reply on; the server counts from the request."""

    def __init__(self, url: str, election: str, note: Note) -> None:
        super().__init__(url, election, note)
        self.key = f"lock of {election}"
        self._id = os.urandom(8).hex()
        self._until = 0.0

    @property
    def is_leader(self) -> bool:
        return BOOT_CLOCK.now() < self._until

    def acquire(self) -> None:
        if self.redis.set(self.key, self._id, nx=True, px=int(self.ttl * 1000)):
            self._until = BOOT_CLOCK.now() + self.ttl

    def keep(self) -> None:
        renew = (
            "return redis.call('GET', KEYS[1]) == ARGV[1] and "
            "redis.call('PEXPIRE', KEYS[1], ARGV[2])"
        )
        if self.redis.eval(renew, 1, self.key, self._id, int(self.ttl * 1000)):
            self._until = BOOT_CLOCK.now() + self.ttl
        else:
            self._until = 0.0

    def resign(self) -> None:
        if self.is_leader:
            self._until = 0.0
            self.redis.delete(self.key)


class RetriesNX(Naive):
    """A lost reply is repeated by the client library, and the second answer is no.

    Without an expiry, as redis-py's own Lock by default. The key is the hash that leaderlock has.
    """

    retries = 1
    timeout = 0.3

    def __init__(self, url: str, election: str, note: Note) -> None:
        super().__init__(url, election, note)
        self._leads = False

    @property
    def is_leader(self) -> bool:
        return self._leads

    def acquire(self) -> None:
        attempt = os.urandom(8).hex()
        self.note("attempt", attempt=attempt)
        self._leads = bool(self.redis.hsetnx(self.key, "id", attempt))

    def keep(self) -> None:
        """Nothing ends it."""

    def resign(self) -> None:
        if self._leads:
            self._leads = False
            self.redis.delete(self.key)


class RemembersLeading(RetriesNX):
    """Whether it leads is remembered, not computed: a forked child remembers it, too."""

    retries = 0
    timeout = 5.0
