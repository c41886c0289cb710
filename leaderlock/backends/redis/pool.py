"""The connections to Redis that are not in use, and how new ones are opened and looked over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from leaderlock.backends.network import Host
from leaderlock.backends.redis.connection import (
    OF_REDIS_PY,
    Line,
    as_ours,
    asks_for_login,
    new_line,
    show,
    translated,
)
from leaderlock.backends.redis.target import Kind, Target
from leaderlock.backends.redis.wire import Command
from leaderlock.errors import BackendRefused, BackendUnavailable

log = logging.getLogger("leaderlock")

_MOST_IDLE = 4  # to one server


class Pool:
    """Uses each connection for one call at a time, so that none waits for another.

    Safe to use from any thread.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._warned = False
        self._lock = threading.Lock()
        self._idle: dict[Host, list[Line]] = {}
        self.closed = False

    def exchange(self, host: Host, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Send them all on one connection, and return the replies. An error is a reply."""
        line = self._take(host) or self.open(host, deadline)
        line.until(deadline)
        try:
            replies = line.exchange(commands)
        except BaseException as error:
            line.disconnect()  # it may still owe a reply
            if isinstance(error, OF_REDIS_PY):
                raise as_ours(error, host) from error
            raise
        self._take_back(host, line)
        return replies

    def open(self, host: Host, deadline: float) -> Line:
        """A new connection, to a server that may be used."""
        line = new_line(self._target.connection_class, host, dict(self._target.arguments))
        try:
            with translated(host):
                line.until(deadline)
                line.connect()
                (info,) = line.exchange([("INFO",)])
            if isinstance(info, bytes):  # otherwise the user has no right to ask
                self._inspect(info.decode(errors="replace"), host)
            elif asks_for_login(info):
                raise as_ours(info, host)
        except BaseException:
            line.disconnect()
            raise
        return line

    def drop(self, host: Host) -> None:
        """Close what is idle: it is likely to be dead, too."""
        with self._lock:
            lines = self._idle.pop(host, [])
        for line in lines:
            line.disconnect()

    def close(self) -> None:
        """Close everything: what is in use, when its call has ended."""
        with self._lock:
            self.closed = True
        self.abandon()

    def abandon(self) -> None:
        """In a forked child: redis-py only closes the descriptors there. Takes no lock."""
        idle, self._idle = self._idle, {}
        for line in [line for lines in idle.values() for line in lines]:
            line.disconnect()

    def _take(self, host: Host) -> Line | None:
        while True:
            with self._lock:
                lines = self._idle.get(host)
                line = lines.pop() if lines else None
            if line is None or line.is_fresh():
                return line
            line.disconnect()

    def _take_back(self, host: Host, line: Line) -> None:
        with self._lock:
            idle = self._idle.setdefault(host, [])
            kept = not self.closed and len(idle) < _MOST_IDLE
            if kept:
                idle.append(line)
        if not kept:
            line.disconnect()

    def _inspect(self, info: str, host: Host) -> None:
        pairs = (line.partition(":") for line in info.splitlines())
        facts = {name: value for name, _, value in pairs}
        if facts.get("role") == "slave" and self._target.kind is Kind.SINGLE:
            raise BackendRefused(f"{show(host)} is a replica: name the primary")
        if facts.get("role") == "slave" and self._target.kind is Kind.SENTINEL:
            raise BackendUnavailable(f"{show(host)} is a replica: the sentinels are out of date")
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and not self._warned:
            self._warned = True
            log.warning(
                "leaderlock.redis_may_evict host=%s maxmemory-policy=%s: a leader's key may "
                "vanish, and with it its term; set noeviction",
                show(host),
                policy,
            )
