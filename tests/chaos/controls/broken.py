"""leaderlock's electors over backends of which one line is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from kazoo.protocol.serialization import Exists

from leaderlock.backends.base import Attempt, Backend, Granted, Renewal, Waiting
from leaderlock.backends.consul.backend import ConsulBackend
from leaderlock.backends.redis import backend as redis_backend
from leaderlock.backends.redis.scripts import Script
from leaderlock.backends.zookeeper.backend import ZooKeeperBackend
from leaderlock.testing.chaos.contender import Elector, Note
from leaderlock.testing.servers.web import call


def heartbeat_by_exists(url: str, election: str, note: Note) -> Elector:
    """ZooKeeper: a read, which any server answers, in place of a proof by the quorum."""

    def prove(talk: Any, claims: Mapping[str, Any]) -> dict[str, Renewal]:
        found = {i: talk.ask(Exists(claim[2].path, None)) for i, claim in claims.items()}
        return {i: Renewal.RENEWED if stat else Renewal.TAKEN for i, stat in found.items()}

    def break_it(backend: Backend) -> Backend:
        assert isinstance(backend, ZooKeeperBackend)
        backend._nodes.prove = prove  # type: ignore[method-assign]
        return backend

    return Elector(url, election, note, break_it)


def lock_index_as_token(url: str, election: str, note: Note) -> Elector:
    """Consul: the lock's own counter, which any write to the key sets back."""

    def break_it(backend: Backend) -> Backend:
        assert isinstance(backend, ConsulBackend)
        campaign = backend.campaign

        def with_lock_index(attempt: Attempt) -> Granted | Waiting:
            answer = campaign(attempt)
            if isinstance(answer, Granted):
                return dataclasses.replace(answer, token=_lock_index(url))
            return answer

        backend.campaign = with_lock_index  # type: ignore[method-assign]
        return backend

    return Elector(url, election, note, break_it)


def _lock_index(url: str) -> int:
    port = urlsplit(url).netloc.split(",")[0].rpartition(":")[2]
    entries = call(int(port), "GET", "/v1/kv/?recurse&consistent")
    return max(int(entry["LockIndex"]) for entry in entries if entry["Key"].endswith("/leader"))


def plain_counter(url: str, election: str, note: Note) -> Elector:
    """Redis: a token that is only counted, and starts anew with the data."""
    with_time = "math.max(last + 1, now)"
    names = vars(redis_backend)
    text = names["CAMPAIGN"]._text
    assert with_time in text
    names["CAMPAIGN"] = Script(text.replace(with_time, "last + 1"))
    return Elector(url, election, note)
