"""Elections in Redis or Valkey: one server, behind sentinels, or a cluster.

    redis://user:password@host:6379/0           one server; rediss:// with TLS
    redis+unix:///run/redis.sock?db=0           its socket
    redis+sentinel://host1,host2/mymaster/0     the primary that the sentinels name
    redis+cluster://host1,host2                 any nodes of a cluster

Who has written the leader key of an election leads, until the key expires; every decision is one
script (`leaderlock.backends.redis.scripts`). A renewal proves leadership by finding its own attempt
in the key, and extends it. The token is one more than the last one, or the server's clock in
microseconds if that is more, so that it rises also when the counter was lost.

What it does not promise, because Redis does not:

* One leader during a fail-over. Replication is asynchronous: the new primary may not have heard of
  a leader. `wait_replicas` makes that rarer, not impossible.
* One leader when a key is lost otherwise: evicted, flushed, or deleted. Against a restart that
  loses the data there is a quarantine: nobody is elected on a server younger than a lease.
* Leases on a monotonic clock: a step of the server's wall clock ends or prolongs them, and one
  back, together with a loss of the counter, repeats tokens. The core then reports a regression.

A resource that checks the token is safe in all of these cases but the last one.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import ClassVar, Self

from leaderlock.backends.base import (
    Attempt,
    Backend,
    Granted,
    Reading,
    Renewal,
    Renewed,
    Settings,
    Waiting,
)
from leaderlock.backends.redis.connection import SlotMoves
from leaderlock.backends.redis.renewals import Renewals
from leaderlock.backends.redis.scripts import CAMPAIGN, RELEASE, Keys, client_channels
from leaderlock.backends.redis.servers import Answer, Request, Servers
from leaderlock.backends.redis.target import OPTIONS, Target, target_of
from leaderlock.backends.redis.waiting import TURN, Subscriber
from leaderlock.capabilities import Capabilities
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.url import Option, StoreURL

log = logging.getLogger("leaderlock")

# A request that nobody waits for any more may lie in a buffer of the server for as long as that.
_RETIRED_MS = 60_000
_MOST_KEYS = 128  # elections whose keys are not put together anew for each request
_CAPABILITIES = Capabilities(
    linearizable=False,
    event_driven=True,
    min_ttl=0.1,
    max_ttl=86_400.0,
    notice=10 * TURN,  # with eight dead candidates in front
)


class RedisBackend(Backend):
    """The elections in one Redis."""

    schemes = (
        "redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel", "redis+cluster",
        "rediss+cluster",
    )  # fmt: skip
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(
        self, target: Target, settings: Settings, wait_replicas: int = 0, quarantine: bool = True
    ) -> None:
        super().__init__(settings)
        self._ttl_ms = max(1, round(settings.ttl * 1000))
        self._wait_replicas = wait_replicas
        # A second more than a lease: the script takes the server for up to that much too old.
        self._quarantine_ms = self._ttl_ms + 1000 if quarantine else 0
        self._quarantine_told_until = 0.0
        self._servers = Servers(target, settings.request_timeout)
        self._subscriber = Subscriber(
            self._servers.open_any, settings.request_timeout, client_channels(settings.namespace)
        )
        keys = partial(Keys, settings.namespace, slot_of=self._servers.slot_of)
        self._keys = lru_cache(_MOST_KEYS)(keys)
        self._renewals = Renewals(keys, self._ttl_ms, alone=self._servers.is_cluster)
        # Attempts with a campaign that may still be carried out, and until when that matters.
        self._unanswered: dict[str, float] = {}

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        target_of(url)
        return _CAPABILITIES

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        own = {k: url.options[k] for k in ("wait_replicas", "quarantine") if k in url.options}
        return cls(target_of(url), settings, **own)

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        began = time.monotonic()
        keys = self._keys(attempt.election)
        self._subscriber.expect(attempt)  # first, so that no message is missed
        request = CAMPAIGN.request(
            keys.slot,
            (keys.leader, keys.fence, keys.retired(attempt), keys.queue),
            (
                attempt.attempt_id,
                self._ttl_ms,
                attempt.payload,
                keys.channel,
                self._quarantine_ms,
                self._wait_replicas,
                self._subscriber.place_of(attempt),
            ),
        )
        (answer,) = self._servers.ask([request], self._wait_replicas)
        if isinstance(answer.value, BackendUnavailable):
            self._note_unanswered(attempt)
        status, value, place = answer.get()
        if status != 1:
            self._subscriber.subscribe()
            if status == 2:
                self._tell_quarantine(value)
            return self._wait(value, place)
        try:
            self._require_confirmation(answer)
        except BackendUnavailable:
            # Not for good: the same attempt asks again.
            left = self.settings.request_timeout - (time.monotonic() - began)
            self._release(attempt, left)
            raise
        self._subscriber.forget(attempt)
        return Granted(token=token_of(value), source=self._source)

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        chunks = self._renewals.of(attempts)
        answers = self._servers.ask([chunk.request for chunk in chunks], self._wait_replicas)
        outcomes: dict[str, Renewal] = {}
        failure: BackendUnavailable | BackendRefused | None = None
        for chunk, answer in zip(chunks, answers, strict=True):
            try:
                renewed = answer.get()
                if b"1" in renewed:
                    self._require_confirmation(answer)
            except (BackendUnavailable, BackendRefused) as error:  # the others have their proof
                failure = error
                continue
            outcomes |= chunk.outcomes(renewed)
        if failure is not None and not outcomes:
            raise failure
        return Renewed(outcomes=outcomes)

    def release(self, attempt: Attempt) -> None:
        self._subscriber.forget(attempt)
        # What is carried out late has to find it retired.
        retire = attempt.attempt_id in self._unanswered
        self._release(attempt, self.settings.request_timeout, retire=retire)
        self._unanswered.pop(attempt.attempt_id, None)

    def leader(self, election: str) -> Reading:
        keys = self._keys(election)
        answers = self._servers.ask(
            [
                Request(keys.slot, ("HMGET", keys.leader, "id", "token", "meta")),
                Request(keys.slot, ("PTTL", keys.leader)),
                Request(keys.slot, ("GET", keys.fence)),
            ]
        )
        record, ttl_ms, fence = (answer.get() for answer in answers)
        attempt_id, token, payload = record
        if attempt_id is None:
            return Reading(token=token_of(fence or b"0"), source=self._source)
        return Reading(
            payload=payload or b"",  # somebody leads, if not a candidate of ours
            token=token_of(token),
            source=self._source,
            recheck_after=self._seconds_left(ttl_ms),
        )

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        return self._subscriber.watch(self._keys(election).channel, wake)

    def close(self) -> None:
        self._subscriber.close()
        self._servers.close()

    def abandon(self) -> None:
        self._subscriber.abandon()
        self._servers.abandon()
        self._unanswered = {}

    @property
    def _source(self) -> str:
        # Redis has no identity that outlives a restart or fail-over.
        return f"redis:{self.settings.namespace}"

    def _release(self, attempt: Attempt, within: float, *, retire: bool = False) -> None:
        began = time.monotonic()
        keys = self._keys(attempt.election)
        names = [keys.leader, keys.queue]
        arguments: list[str | int] = [attempt.attempt_id, keys.channel]
        arguments += [self._subscriber.place_of(attempt), self._subscriber.channels]
        arguments.append(int(not self._servers.is_cluster))
        if retire:
            names.append(keys.retired(attempt))
            arguments.append(_RETIRED_MS)
        try:
            self._ask_one(RELEASE.request(keys.slot, names, arguments), within)
        except SlotMoves:
            if retire:
                raise
            left = within - (time.monotonic() - began)
            self._ask_one(RELEASE.request(keys.slot, names[:1], arguments[:2]), left)

    def _ask_one(self, request: Request, within: float) -> None:
        (answer,) = self._servers.ask([request], within=within)
        answer.get()

    def _note_unanswered(self, attempt: Attempt) -> None:
        now = self.settings.clock.now()
        # Its release may never be answered, either; after a ttl nobody asks for it any more.
        for attempt_id, until in list(self._unanswered.items()):
            if until < now:
                self._unanswered.pop(attempt_id, None)
        self._unanswered[attempt.attempt_id] = now + self.settings.ttl + _RETIRED_MS / 1000

    def _wait(self, ms: int, place: int) -> Waiting:
        """Each one leaves a turn to those in front of it. So few ask when a leader is dead."""
        ttl = self.settings.ttl
        turn = min(TURN, ttl / 20)
        pause = min((place + random.random()) * turn, ttl * random.uniform(0.5, 1.0))
        return Waiting(retry_after=self._seconds_left(ms) + max(0.0, pause))

    def _tell_quarantine(self, ms: int) -> None:
        """Once for each quarantine, however many elections it keeps waiting."""
        now = time.monotonic()
        if now < self._quarantine_told_until:
            return
        self._quarantine_told_until = now + self._quarantine_ms / 1000
        log.warning(
            "leaderlock.redis_quarantine seconds=%.1f: nobody is elected until then, because the "
            "server was started lately, and may have forgotten a leader",
            ms / 1000,
        )

    def _seconds_left(self, ttl_ms: int) -> float:
        """Until a key has certainly expired. One without expiry was not left so by us."""
        return self.settings.ttl if ttl_ms < 0 else ttl_ms / 1000 + 0.002

    def _require_confirmation(self, answer: Answer) -> None:
        if answer.replicas < self._wait_replicas:
            raise BackendUnavailable(
                f"{answer.replicas} of wait_replicas={self._wait_replicas} replicas confirmed in "
                "time"
            )


def token_of(value: bytes | None) -> int:
    """The number of a token as a key has it.

    Raises:
        BackendRefused: it is none.
    """
    try:
        return int(value or b"")
    except ValueError:
        raise BackendRefused(
            f"something else has written to a key of leaderlock: {value!r:.40} is no token"
        ) from None
