"""The scripts of a heartbeat: made once, and anew only for what has changed since the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from leaderlock.backends.base import Attempt, Renewal
from leaderlock.backends.redis.scripts import RENEW, Keys
from leaderlock.backends.redis.servers import Request
from leaderlock.backends.redis.wire import packed

_CHUNK = 500  # renewals in one script


class Chunk(NamedTuple):
    """What is renewed by one script."""

    attempts: Sequence[Attempt]
    request: Request

    def outcomes(self, renewed: bytes) -> Mapping[str, Renewal]:
        """By attempt id, from the answer of the script."""
        ids = [attempt.attempt_id for attempt in self.attempts]
        if renewed == b"1" * len(ids):  # as nearly always
            return dict.fromkeys(ids, Renewal.RENEWED)
        held = (Renewal.RENEWED if one == b"1"[0] else Renewal.TAKEN for one in renewed)
        return dict(zip(ids, held, strict=True))


class Renewals:
    """Remembers the scripts of the last heartbeat. Safe to use from any thread.

    Args:
        keys_of: an election.
        alone: each attempt has a script of its own, because its slot may be moving.
    """

    def __init__(self, keys_of: Callable[[str], Keys], ttl_ms: int, *, alone: bool) -> None:
        self._keys_of = keys_of
        self._ttl_ms = ttl_ms
        self._size = 1 if alone else _CHUNK
        self._last: Sequence[Chunk] = ()

    def of(self, attempts: Sequence[Attempt]) -> Sequence[Chunk]:
        """For all of these attempts."""
        size, last = self._size, self._last
        chunks = []
        for number, start in enumerate(range(0, len(attempts), size)):
            wanted = attempts[start : start + size]
            known = number < len(last) and last[number].attempts == wanted
            chunks.append(last[number] if known else self._chunk(wanted))
        self._last = chunks
        return chunks

    def _chunk(self, attempts: Sequence[Attempt]) -> Chunk:
        keys = [self._keys_of(attempt.election) for attempt in attempts]
        ids = [attempt.attempt_id for attempt in attempts]
        command = RENEW.whole([each.leader for each in keys], [self._ttl_ms, *ids])
        return Chunk(attempts, Request(keys[0].slot, packed(command)))
