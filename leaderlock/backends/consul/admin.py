"""Consul in the hands of an administrator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from leaderlock.backends.admin import Admin, Finding, Grade, Standing, is_older
from leaderlock.backends.consul.backend import ConsulBackend
from leaderlock.backends.consul.connection import Outcome
from leaderlock.backends.layout import key_part, name_of_part, unpack
from leaderlock.errors import BackendRefused

_LEADER = "/leader"


class ConsulAdmin(Admin):
    """See `Admin`. An evicted leader's lock is taken off without a lock-delay."""

    backend: ConsulBackend
    knows_waiting = False

    def elections(self) -> Sequence[str]:
        prefix = self.backend._prefix
        with self.backend._store.deadline():
            keys = self.backend._store.read_all(prefix)
        parts = [
            key.removeprefix(prefix).removesuffix(_LEADER) for key in keys if key.endswith(_LEADER)
        ]
        return sorted(map(name_of_part, parts))

    def candidates(self, election: str) -> Sequence[Standing]:
        with self.backend._store.deadline():
            entry = self.backend._store.read(self._key(election))
        record = unpack(entry.value) if entry.session else None
        if record is None:
            return []
        return [Standing(attempt_id=record[0], payload=record[1], token=entry.index)]

    def evict(self, election: str, standing: Standing) -> bool:
        store = self.backend._store
        with store.deadline():
            seen = store.read(self._key(election))
            if not seen.session or seen.attempt_id != standing.attempt_id:
                return False
            # The flags tell those who ask which was the last term.
            written = store.write(
                seen, "unlock", seen.value, session=seen.session, flags=seen.index
            )
        return written.outcome is Outcome.DONE

    def examine(self) -> Iterator[Finding]:
        ttl = self.backend.settings.ttl
        try:
            found = self._ask("/v1/agent/self")
            version = str(found["Config"]["Version"])
            least = found.get("DebugConfig", {}).get("SessionTTLMin", "10s")
        except (BackendRefused, LookupError):
            yield Finding(
                Grade.NOTE, "the token may not read the agent (agent:read): version unknown"
            )
        else:
            yield Finding(Grade.GOOD, f"Consul {version}")
            if is_older(version, "1.4"):
                yield Finding(Grade.BAD, "Consul 1.4 or newer is needed")
            if (shortest := _seconds(least)) > ttl:
                yield Finding(
                    Grade.BAD,
                    f"session_ttl_min is {shortest:g} s: a ttl of {ttl:g} s is refused; raise it",
                )
        if not self._ask("/v1/status/leader"):
            yield Finding(Grade.BAD, "the servers have no leader: no quorum")
        if len(self._ask("/v1/status/peers")) == 1:
            yield Finding(Grade.NOTE, "a single server: while it is down, nobody leads")

    def _key(self, election: str) -> str:
        return f"{self.backend._prefix}{key_part(election)}{_LEADER}"

    def _ask(self, path: str) -> Any:
        with self.backend._store.deadline():
            return self.backend._store._http.get(lambda answer: json.loads(answer.body), path)


def _seconds(duration: str) -> float:
    """Of Go's text for a duration, such as 10s or 1m30s; 0 for anything else."""
    total, number = 0.0, ""
    for letter in duration.replace("ms", "x"):
        if letter in "0123456789.":
            number += letter
        else:
            total += float(number or 0) * {"h": 3600, "m": 60, "s": 1, "x": 0.001}.get(letter, 0)
            number = ""
    return total


def make_admin(backend: ConsulBackend) -> ConsulAdmin:
    return ConsulAdmin(backend)
