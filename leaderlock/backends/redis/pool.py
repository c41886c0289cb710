"""The connections to Redis that are not in use, and how new ones are opened and looked over."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from leaderlock.backends.network import Host
from leaderlock.backends.redis.connection import Line, new_line, show, translated
from leaderlock.backends.redis.target import Kind, Target
from leaderlock.errors import BackendRefused, BackendUnavailable

log = logging.getLogger("leaderlock")

_MOST_IDLE = 4  # to one server


class Pool:
    """Lends connections: each one to one call at a time, so that none waits for another.

    Safe to use from any thread.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._warned = False
        self._lock = threading.Lock()
        self._idle: dict[Host, list[Line]] = {}
        self.closed = False

    @contextlib.contextmanager
    def lend(self, host: Host, deadline: float) -> Iterator[Line]:
        """A connection for one exchange; closed after an error: it may still owe an answer."""
        line = self._take(host) or self.open(host, deadline)
        try:
            with translated(host):
                line.until(deadline)
                yield line
        except BaseException:
            line.disconnect()
            raise
        self._take_back(host, line)

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
