"""Servers that somebody else started: in Docker, or wherever a URL says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from leaderlock.testing.servers.programs import ServerError

# The ports that docker/compose.yml publishes. They are not the usual ones, so that no test writes
# into a store that is used for something else.
DOCKER_URLS = {
    "redis": "redis://127.0.0.1:16379",
    "valkey": "redis://127.0.0.1:16380",
    "etcd": "etcd://127.0.0.1:12379",
    "zookeeper": "zookeeper://127.0.0.1:12181",
    "consul": "consul://127.0.0.1:18500",
}


class Shared(Protocol):
    """A server that tests share: they use it and leave it alone."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class External:
    """A server that can be used, but neither frozen nor killed."""

    url: str


def find_external(store: str) -> External | None:
    """The server that LEADERLOCK_<STORE>_URL or LEADERLOCK_SERVERS=docker names, if any."""
    if url := os.environ.get(f"LEADERLOCK_{store.upper()}_URL"):
        return External(url)
    match os.environ.get("LEADERLOCK_SERVERS", ""):
        case "":
            return None
        case "docker":
            return External(DOCKER_URLS[store])
        case other:
            raise ServerError(f"LEADERLOCK_SERVERS={other!r} is neither empty nor 'docker'")
