"""The lease store of the simulation: linearizable, with a clock of its own.

It does what the `Backend` contract asks of a store: an attempt owns the lease, a campaign is
idempotent for one attempt, a renewal and a release compare the owner, tokens count up. Within its
capabilities it is as unkind as allowed: a lease ends somewhere between the ttl and the latest end
that was promised.
"""

from __future__ import annotations

import enum
from random import Random
from typing import NamedTuple

from leaderlock.timing import Timing


class Ask(enum.Enum):
    CAMPAIGN = "campaign"
    RENEW = "renew"
    RELEASE = "release"


class Said(enum.Enum):
    GRANTED = "granted"
    WAITING = "waiting"
    RENEWED = "renewed"
    TAKEN = "taken"
    RELEASED = "released"


class Answer(NamedTuple):
    said: Said
    attempt_id: str
    token: int = 0
    source: str = ""
    retry_after: float = 0.0


class Store:
    """All times are readings of the store's own clock."""

    def __init__(self, timing: Timing, rng: Random) -> None:
        self.timing = timing
        self.rng = rng
        self.source = "sim:1"
        self.token = 0
        self.holder = ""
        self.expires_at = 0.0
        self.regrants = 0  # grants repeated to the attempt that holds the lease already

    def execute(self, ask: Ask, attempt_id: str, now: float) -> Answer:
        if ask is Ask.CAMPAIGN:
            return self.campaign(attempt_id, now)
        if ask is Ask.RENEW:
            return self.renew(attempt_id, now)
        return self.release(attempt_id, now)

    def campaign(self, attempt_id: str, now: float) -> Answer:
        if self.owns(attempt_id, now):
            self.regrants += 1
            self._extend(now)
        elif self._is_free(now):
            self.token = self._next_token(attempt_id)
            self.holder = attempt_id
            self._extend(now)
        else:
            free_at = self.expires_at + self.timing.capabilities.hold_off
            return Answer(Said.WAITING, attempt_id, retry_after=free_at - now)
        return Answer(Said.GRANTED, attempt_id, self.token, self.source)

    def renew(self, attempt_id: str, now: float) -> Answer:
        if not self.owns(attempt_id, now):
            return Answer(Said.TAKEN, attempt_id)
        self._extend(now)
        return Answer(Said.RENEWED, attempt_id)

    def release(self, attempt_id: str, now: float) -> Answer:
        if self.holder == attempt_id:
            self.delete()
        return Answer(Said.RELEASED, attempt_id)

    def owns(self, attempt_id: str, now: float) -> bool:
        return self.holder == attempt_id and now < self.expires_at

    # What an operator may do

    def delete(self) -> str:
        """Take the lease away from its holder, who is returned."""
        holder, self.holder, self.expires_at = self.holder, "", 0.0
        return holder

    def wipe(self) -> str:
        """Lose everything: lease and token counter, as after a restore from an old backup."""
        self.token = 0
        return self.delete()

    def _is_free(self, now: float) -> bool:
        # The hold-off is served after an expiry only: a release leaves no holder behind.
        hold_off = self.timing.capabilities.hold_off
        return not self.holder or now >= self.expires_at + hold_off

    def _next_token(self, attempt_id: str) -> int:
        return self.token + 1

    def _extend(self, now: float) -> None:
        limits = self.timing.capabilities
        ttl = self.timing.ttl * self.rng.uniform(1.0, limits.expiry_factor)
        self.expires_at = now + ttl + self.rng.uniform(0.0, limits.expiry_slack)
