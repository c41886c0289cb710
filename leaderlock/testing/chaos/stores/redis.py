"""Redis, as a store of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

from leaderlock.testing.chaos.stores.base import Action, Store
from leaderlock.testing.servers.redis import RedisServer

_HINTS = ("queue", "retired:")


class RedisStore(Store):
    """One server, which writes everything down before it answers."""

    name = "redis"
    may_lose_everything = True
    not_applicable = frozenset({"I9"})

    def __init__(self, nodes: int = 1) -> None:
        if nodes != 1:
            raise ValueError("redis is one server here: --nodes 1")
        self._server = RedisServer()
        self.nodes = [self._server]

    def start(self) -> Self:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop()

    def url_at(self, ports: Sequence[int]) -> str:
        return self._server.url_at(*ports)

    def queue(self) -> list[str]:
        ids = [self._server.call("HGET", key, "id") for key in self._keys("*:leader")]
        return [str(each) for each in ids if each is not None]

    def left(self) -> list[str]:
        # Places of the dead, and the marks of what was given up, expire in their own time.
        keys = [key for key in self._keys("*") if not key.rpartition("}:")[2].startswith(_HINTS)]
        return [f"key {key}" for key in keys if self._server.call("PTTL", key) not in (-1, -2)]

    def actions(self) -> Mapping[str, Action]:
        return {
            "delete the key": Action(self._delete, ("I4",)),
            "flush everything": Action(self._flush, ("I4",)),
            "overwrite the key": Action(self._overwrite, ("I4",)),
            "kill all connections": Action(self._kill_connections),
        }

    def _keys(self, pattern: str) -> list[str]:
        found = self._server.call("KEYS", pattern)
        return [str(key) for key in found] if isinstance(found, list) else []

    def _delete(self) -> None:
        for key in self._keys("*:leader"):
            self._server.call("DEL", key)

    def _flush(self) -> None:
        self._server.call("FLUSHALL")

    def _overwrite(self) -> Callable[[], None]:
        for key in self._keys("*:leader"):
            self._server.call("SET", key, "somebody else's")
        return self._delete

    def _kill_connections(self) -> None:
        self._server.call("CLIENT", "KILL", "TYPE", "normal")
