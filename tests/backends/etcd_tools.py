"""What the tests of etcd:// share."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from leaderlock import LeaderElector
from leaderlock.backends.base import Settings
from leaderlock.backends.etcd import EtcdBackend
from leaderlock.backends.etcd.connection import Talk
from leaderlock.backends.etcd.target import target_of
from leaderlock.testing.servers.etcd import EtcdServer, decode, encode
from leaderlock.url import StoreURL
from tests.elector.tools import Record

TTL = 2.0


def backend_at(url: str, *, ttl: float = 30.0, timeout: float = 2.0) -> EtcdBackend:
    settings = Settings(ttl=ttl, request_timeout=timeout)
    return EtcdBackend(target_of(StoreURL.parse(url)), settings)


def elector_at(url: str, record: Record | None = None, ttl: float = TTL) -> LeaderElector:
    record = record or Record()
    return LeaderElector(url, "e", ttl=ttl, on_elected=record.elected, on_lost=record.lost)


def keys_of(server: EtcdServer) -> list[str]:
    """In the order of their creation."""
    found = server.call(
        "kv/range",
        {
            "key": encode("leaderlock/"),
            "range_end": encode("leaderlock0"),
            "sort_target": "CREATE",
            "sort_order": "ASCEND",
        },
    )
    return [decode(kv["key"]) for kv in found.get("kvs", ())]


def queue_of(server: EtcdServer, election: str = "e") -> list[str]:
    return [key for key in keys_of(server) if key.startswith(f"leaderlock/{election}/")]


def leases_of(server: EtcdServer) -> list[int]:
    return [int(lease["ID"]) for lease in server.call("lease/leases", {}).get("leases", ())]


def delete(server: EtcdServer, key: str) -> None:
    assert server.call("kv/deleterange", {"key": encode(key)})["deleted"] == "1"


def revoke_all(server: EtcdServer) -> None:
    for lease in leases_of(server):
        server.call("lease/revoke", {"ID": lease})


def watchers_of(server: EtcdServer) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
        found = re.search(r"^etcd_debugging_mvcc_watcher_total (\d+)", answer.read().decode(), re.M)
    assert found is not None
    return int(found[1])


@contextmanager
def asked() -> Iterator[list[tuple[str, Any]]]:
    """The requests that were sent during the block, by any backend."""
    seen: list[tuple[str, Any]] = []
    original = Talk.ask

    def ask(self: Talk, verb: str, request: Any, **options: Any) -> Any:
        seen.append((verb, request))
        return original(self, verb, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Talk, "ask", ask)
        yield seen
