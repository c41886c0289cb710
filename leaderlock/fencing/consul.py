"""Writes into Consul that are carried out only for the present leader. See `StoreFence`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from leaderlock.backends.consul.backend import ConsulBackend
from leaderlock.backends.consul.connection import Entry
from leaderlock.errors import BackendRefused
from leaderlock.fencing.store import StoreFence
from leaderlock.tokens import FencingToken

_CHECKS = 2


class ConsulFence(StoreFence[ConsulBackend]):
    """Keys in Consul, written if the leader's key is still locked by its session, since the token.

    Consul carries out at most 64 operations in one transaction, two of which are ours. As
    everything about Consul's locks, this waits for the lock-delay only where the session has ended.
    """

    _schemes = ConsulBackend.schemes

    def read(self, key: str) -> bytes | None:
        store = self._backend._store
        with store.deadline():
            found = store.read(key)
        return found.value if found.index else None

    def _own_prefix(self) -> str:
        return self._backend._prefix

    def _find(self, token: FencingToken) -> Entry | None:
        store = self._backend._store
        with store.deadline():
            found = store.read(self._backend._key(self.resource))
        return found if found.session and found.index == token.value else None

    def _commit(
        self,
        token: FencingToken,
        place: Entry,
        puts: Mapping[str, bytes],
        deletes: tuple[str, ...],
    ) -> bool:
        operations: list[dict[str, Any]] = [
            # The index is the term: one session may hold the key again in a later one.
            {"Verb": "check-index", "Key": place.key, "Index": token.value},
            {"Verb": "check-session", "Key": place.key, "Session": place.session},
        ]
        for key, value in puts.items():
            encoded = base64.b64encode(value).decode()
            operations.append({"Verb": "set", "Key": key, "Value": encoded})
        operations += [{"Verb": "delete", "Key": key} for key in deletes]
        body = json.dumps([{"KV": operation} for operation in operations])
        http = self._backend._store._http
        return bool(http.put(_was_carried_out, "/v1/txn", data=body))


def _was_carried_out(response: Any) -> bool:
    errors = json.loads(response.body)["Errors"] or ()
    if not errors:
        return True
    if any(int(error["OpIndex"]) < _CHECKS for error in errors):
        return False
    said = "; ".join(str(error["What"]) for error in errors)
    raise BackendRefused(f"Consul refuses the write: {said}")
