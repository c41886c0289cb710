"""Redis in the hands of an administrator."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from leaderlock.backends.admin import Admin, Finding, Grade, Standing, is_older
from leaderlock.backends.layout import name_of_part
from leaderlock.backends.network import Host
from leaderlock.backends.redis.backend import RedisBackend, token_of
from leaderlock.backends.redis.connection import as_ours, show
from leaderlock.backends.redis.servers import Request
from leaderlock.errors import BackendRefused, BackendUnavailable

_Command = Sequence[str | bytes | int]
_PAGE = 1000
_LIKELY = range(1_000_000_000, 10_000_000_000)  # seconds since 1970: a token made from the clock


class RedisAdmin(Admin):
    """See `Admin`."""

    backend: RedisBackend
    knows_waiting = False

    def elections(self) -> Sequence[str]:
        stem = self.backend._keys("*").fence
        pattern = stem.replace("%2A", "*")
        found: set[str] = set()
        for host in self._primaries():
            cursor = b"0"
            while True:
                cursor, keys = self._at(host, ("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE))
                found |= {key.decode(errors="replace").rpartition("}")[0] for key in keys}
                if cursor == b"0":
                    break
        return sorted(name_of_part(name.partition(":")[2]) for name in found)

    def candidates(self, election: str) -> Sequence[Standing]:
        keys = self.backend._keys(election)
        request = Request(keys.slot, ("HMGET", keys.leader, "id", "token", "meta"))
        (answer,) = self.backend._servers.ask([request])
        attempt_id, token, payload = answer.get()
        if attempt_id is None:
            return []
        value = token_of(token)
        seconds = value / 1e6
        return [
            Standing(
                attempt_id=attempt_id.decode(errors="replace"),
                payload=payload or b"",
                token=value,
                since=seconds if int(seconds) in _LIKELY else None,
            )
        ]

    def examine(self) -> Iterator[Finding]:
        for host in self._primaries():
            facts = _facts(self._at(host, ("INFO",)))
            least = self._setting(host, "min-replicas-to-write")
            sync = self._setting(host, "appendfsync")
            yield from self._examine(show(host), facts, least, sync)

    def _examine(
        self, place: str, facts: Mapping[str, str], least: str | None, sync: str | None
    ) -> Iterator[Finding]:
        if "valkey_version" in facts:
            yield Finding(Grade.GOOD, f"{place} is Valkey {facts['valkey_version']}")
        else:
            version = facts.get("redis_version", "0")
            yield Finding(Grade.GOOD, f"{place} is Redis {version}")
            if is_older(version, "5"):
                yield Finding(Grade.BAD, f"{place}: Redis 5 or newer is needed")
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            yield Finding(
                Grade.BAD,
                f"{place} may evict a leader's key, and with it its term: set maxmemory-policy "
                f"noeviction (it is {policy})",
            )
        if facts.get("aof_enabled") != "1":
            yield self._judge_forgetting(f"{place} keeps no append-only file", "appendonly yes")
        elif sync not in (None, "always"):
            yield self._judge_forgetting(
                f"{place} writes its append-only file later (appendfsync {sync})",
                "appendfsync always",
            )
        replicas = int(facts.get("connected_slaves", "0"))
        confirming = self.backend._wait_replicas
        if replicas and least == "0" and not confirming:
            yield Finding(
                Grade.BAD,
                f"{place} has {replicas} replica(s), and writes without them: a fail-over may let "
                "two lead. Set min-replicas-to-write 1, and min-replicas-max-lag below ttl / 3; or "
                "wait_replicas in the URL",
            )
        if 0 < confirming < replicas:
            yield Finding(
                Grade.NOTE,
                f"{place} has {replicas} replicas, of which {confirming} confirm: a fail-over to "
                "another one may let two lead",
            )
        if facts.get("loading") == "1":
            yield Finding(Grade.BAD, f"{place} is loading its data")
        if int(facts.get("uptime_in_seconds", "1000000")) < self.backend.settings.ttl:
            yield Finding(
                Grade.NOTE, f"{place} was started less than a ttl ago: nobody is elected yet"
            )

    def _judge_forgetting(self, what: str, remedy: str) -> Finding:
        forgets = f"{what}: a crash may forget who leads"
        if self.backend._quarantine_ms:
            return Finding(
                Grade.NOTE,
                f"{forgets}. Nobody is elected for a ttl after one (quarantine); set {remedy}",
            )
        return Finding(
            Grade.BAD, f"{forgets}, and quarantine=false lets the next one lead: set {remedy}"
        )

    def _setting(self, host: Host, name: str) -> str | None:
        """None: managed services do not tell."""
        try:
            answer = self._at(host, ("CONFIG", "GET", name))
        except BackendRefused:
            return None
        return answer[1].decode() if len(answer) == 2 else None

    def _primaries(self) -> Sequence[Host]:
        servers = self.backend._servers
        host = servers._place_of(0, self._end())
        if not servers.is_cluster:
            return [host]
        slots = self._at(host, ("CLUSTER", "SLOTS"))
        return sorted({(primary[0].decode() or host[0], primary[1]) for _, _, primary, *_ in slots})

    def _at(self, host: Host, command: _Command) -> Any:
        servers = self.backend._servers
        (answer,) = servers._exchange(host, [command], self._end(), 0, asking=False)
        if isinstance(answer.value, BackendUnavailable | BackendRefused):
            raise answer.value
        if isinstance(answer.value, ResponseError):
            raise as_ours(answer.value, host)
        return answer.value

    def _end(self) -> float:
        return time.monotonic() + self.backend.settings.request_timeout


def _facts(info: bytes) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, _, value in pairs}


def make_admin(backend: RedisBackend) -> RedisAdmin:
    return RedisAdmin(backend)
