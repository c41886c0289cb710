"""Every safety rule of one candidacy, with no clock, thread, socket or log in it.

The machine is told what happened and when; it answers with what that means (`Elected`, `Lost`,
...), and its state says which request to the store is due next (`take_request`).

                    granted                resign, stop, deadline passed, refused
    IDLE --> CAMPAIGNING --> LEADING ------------------------------------> STEPPING_DOWN
      ^        ^    |                                                       |   work drained,
      |        |    | stop, lost its place, granted too late                |   or too late to wait
      |        |    v                                                       v
      +--------+-- RELEASING <----------------------------------------------+
        released, or the lease has certainly run out

    FORKED: the machine is a copy in a forked child; it never leads unless started there anew.

The rules, each with a test that fails without it:

1. Belief is `now < valid_until`; only a proof whose request was sent at `t` moves it, to at most
   `t + belief window`. Never counted from the reply (a slow reply would stretch it).
2. Silence neither extends nor ends a term.
3. A term that has ended is never revived, whatever arrives late.
4. A grant that arrives after its window does not elect; it is given back.
5. Every `Elected` is followed by exactly one `Lost` before the next `Elected`.
6. An attempt id is used for one term at most: an idempotent retry under an old id could hand out
   an old token again.
7. A term is released only after the work has drained, or when waiting longer protects nothing.
8. No new attempt begins before the work of the last term has drained.
9. A token that is not higher than the last one, or of another store, does not lead.
10. What concerns another attempt than the present one changes nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leaderlock.timing import Timing

NEVER = -math.inf
FOREVER = math.inf


class State(enum.Enum):
    IDLE = "idle"
    CAMPAIGNING = "campaigning"
    LEADING = "leading"
    STEPPING_DOWN = "stepping down"
    RELEASING = "releasing"
    FORKED = "forked"


class LossReason(enum.Enum):
    """Why a term ended."""

    RESIGNED = "resigned"
    """The leader gave the term up: `resign()`, or the end of a `lead()` block or of `work`."""
    EXPIRED = "expired"
    """No proof arrived within the belief window: a pause, a partition, a dead store."""
    TAKEN = "taken"
    """The store says that the term is no longer ours: somebody deleted or took the key."""
    SESSION_LOST = "session lost"
    """The store ended the session that carried the term."""
    STOPPED = "stopped"
    """The elector or its client was stopped."""
    WORK_FAILED = "work failed"
    """`work`, or the body of a `lead()` block, raised."""
    FORKED = "forked"
    """This process is a forked child of the leader; the term stays with the parent."""


@dataclass(frozen=True, slots=True)
class Elected:
    attempt_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Lost:
    attempt_id: str
    reason: LossReason


@dataclass(frozen=True, slots=True)
class Displaced:
    """The store has lost the place of an attempt that waited; the next attempt begins."""

    attempt_id: str
    reason: LossReason


@dataclass(frozen=True, slots=True)
class Regressed:
    """The store issued `token` after `highest`, or is another store; contending has stopped."""

    token: int
    source: str
    highest: int
    known_source: str

    def __str__(self) -> str:
        return (
            f"the store {self.source!r} issued token {self.token} after {self.highest} of "
            f"{self.known_source!r}; it has lost data or was replaced. This candidate has stopped. "
            "Raise 'epoch' for all candidates, then start again"
        )


@dataclass(frozen=True, slots=True)
class Orphaned:
    """The store granted an attempt that has been given up: release it at once."""

    attempt_id: str


Notice = Elected | Lost | Displaced | Regressed | Orphaned


class Verb(enum.Enum):
    CAMPAIGN = "campaign"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Request:
    """What the store is to be asked next."""

    verb: Verb
    attempt_id: str


_NOTHING: Sequence[Notice] = ()


class Candidacy:
    """One candidate of one election. Not thread-safe: its owner holds a lock around every call.

    Args:
        timing: belief window, drain and lease bounds.
        new_attempt_id: makes an id that was never used before.
    """

    __slots__ = (
        "_asked",
        "_attempt_id",
        "_drain_by",
        "_drained",
        "_highest_token",
        "_keeping",
        "_lease_until",
        "_new_attempt_id",
        "_proved_at",
        "_release_by",
        "_released",
        "_timing",
        "_ttl",
        "_wanted",
        "source",
        "state",
        "valid_until",
    )

    def __init__(self, timing: Timing, new_attempt_id: Callable[[], str]) -> None:
        self._timing = timing
        self._new_attempt_id = new_attempt_id
        self.state = State.IDLE
        self.valid_until = NEVER
        self._wanted = False
        self._attempt_id = ""
        self._highest_token = -1
        self.source = ""
        self._asked = False  # a campaign request of this attempt may have reached the store
        self._keeping = False  # renewals go on while the work drains
        self._drained = True
        self._released = True
        self._proved_at = NEVER  # when the newest request that proved the term was sent
        self._ttl = FOREVER  # the smallest lease that the store has granted in this term
        self._lease_until = NEVER
        self._drain_by = FOREVER
        self._release_by = FOREVER

    # What the owner may ask

    def believes(self, now: float) -> bool:
        """Whether this candidate leads at `now`."""
        return self.valid_until > now

    @property
    def attempt_id(self) -> str:
        return self._attempt_id

    @property
    def wanted(self) -> bool:
        """Whether the candidate is to contend (again)."""
        return self._wanted

    @property
    def holds_lease(self) -> bool:
        """Whether a heartbeat has to renew the lease of this attempt."""
        return self.state is State.LEADING or (self.state is State.STEPPING_DOWN and self._keeping)

    @property
    def deadline(self) -> float:
        """The instant at which `tick` has to be called at the latest."""
        if self.state is State.LEADING:
            return self.valid_until
        if self.state is State.STEPPING_DOWN and not self._released:
            return min(self._drain_by, self._lease_until)
        if self.state is State.RELEASING:
            return self._release_by
        return FOREVER

    def take_request(self, now: float) -> Request | None:
        """The request that is due now; None if there is none. The caller sends it.

        It may bring the deadline closer.
        """
        if self.state is State.CAMPAIGNING:
            self._asked = True
            return Request(Verb.CAMPAIGN, self._attempt_id)
        if self.state is State.RELEASING:
            if self._release_by == FOREVER:
                longest_lease = self._timing.longest_lease
                self._release_by = now + longest_lease + self._timing.request_timeout
            return Request(Verb.RELEASE, self._attempt_id)
        return None

    # What the user wants

    def start(self) -> None:
        """Contend from now on, again after every loss."""
        self._wanted = True
        if self.state in (State.IDLE, State.FORKED):
            self._begin_attempt()

    def stop(self, now: float) -> Sequence[Notice]:
        """Give up what is held and contend no more."""
        self._wanted = False
        if self.state is State.CAMPAIGNING:
            self._give_up_attempt()
            return _NOTHING
        return self.resign(now, LossReason.STOPPED)

    def resign(self, now: float, reason: LossReason = LossReason.RESIGNED) -> Sequence[Notice]:
        """End the term now; the lease is kept until the work has drained."""
        if self.state is not State.LEADING:
            return _NOTHING
        if not self.believes(now):
            return self._lose(LossReason.EXPIRED)
        self._drain_by = now + self._timing.drain_timeout
        self._keeping = True
        return self._lose(reason)

    # What the store answered

    def granted(
        self, attempt_id: str, token: int, *, source: str, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        """The store granted the term to `attempt_id`, by a request sent at `sent_at`.

        Args:
            token: the number of the term; has to be higher than that of every earlier term.
            source: which store issued it.
            ttl: the lease that the store really granted.
        """
        if self.state is State.FORKED:
            return _NOTHING  # the parent's attempt, and the parent's to use
        if not self._is_current(attempt_id) or self.state is not State.CAMPAIGNING:
            # Asked for before the attempt was given up, carried out after its release.
            return self._orphan(attempt_id)
        valid_until = self._proved_until(sent_at, ttl, now)
        if now >= valid_until:
            self._give_up_attempt()
            return _NOTHING
        if not self._is_progress(token, source):
            self._wanted = False
            self._give_up_attempt()
            return (Regressed(token, source, self._highest_token, self.source),)
        self._highest_token, self.source = token, source
        self.state = State.LEADING
        self.valid_until = valid_until
        self._proved_at, self._ttl = sent_at, ttl
        self._lease_until = sent_at + ttl
        self._keeping = self._drained = self._released = False
        self._drain_by = FOREVER
        return (Elected(attempt_id, token),)

    def renewed(
        self, attempt_id: str, *, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        """The store confirmed the term of `attempt_id`, by a request sent at `sent_at`."""
        if not self._is_current(attempt_id):
            return _NOTHING
        # Too late for the belief or not: so long the store keeps others out, and the work has time.
        self._lease_until = max(self._lease_until, sent_at + ttl)
        if self.state is State.LEADING:
            if not self.believes(now):
                return self._lose(LossReason.EXPIRED)
            self._proved_at = max(self._proved_at, sent_at)
            self._ttl = min(self._ttl, ttl)  # a store may shorten its leases within a term
            self.valid_until = self._proved_until(self._proved_at, self._ttl, now)
        return _NOTHING

    def refused(self, attempt_id: str, reason: LossReason, now: float) -> Sequence[Notice]:
        """The store says that `attempt_id` has lost its term, or its place among the waiting."""
        if not self._is_current(attempt_id):
            return _NOTHING
        if self.state is State.CAMPAIGNING:
            self._give_up_attempt()
            return (Displaced(attempt_id, reason),)
        self._keeping = False
        self._lease_until = NEVER
        if self.state is State.LEADING:
            lost = self._lose(reason if self.believes(now) else LossReason.EXPIRED)
            self._release()
            return lost
        return self.tick(now)

    def released(self, attempt_id: str) -> None:
        """The store holds nothing of `attempt_id` any more."""
        if self._is_current(attempt_id) and self.state is State.RELEASING:
            self._released = True
            self._finish_attempt()

    # What else happens

    def drained(self, attempt_id: str, now: float) -> None:
        """The work and the callbacks of the term of `attempt_id` have ended."""
        if not self._is_current(attempt_id) or self.state is State.LEADING:
            return
        self._drained = True
        if self.state is State.STEPPING_DOWN:
            if self._released:
                self._finish_attempt()
            else:
                self._release()

    def tick(self, now: float) -> Sequence[Notice]:
        """Time has passed. Harmless at any time, needed at `deadline`."""
        if now < self.deadline:
            return _NOTHING
        if self.state is State.LEADING:
            return self._lose(LossReason.EXPIRED)
        if self.state is State.STEPPING_DOWN:
            self._release()
        elif self.state is State.RELEASING:
            self.released(self._attempt_id)
        return _NOTHING

    def abandon(self) -> None:
        """Stop waiting for the store's word on a release; the lease runs out by itself.

        Only after `stop`: a term that is still believed cannot be abandoned. Work that still runs
        is still waited for before a next attempt (rule 8).
        """
        if self.state in (State.STEPPING_DOWN, State.RELEASING) and not self._wanted:
            self._released = True
            self._finish_attempt()

    def forked(self) -> Sequence[Notice]:
        """This is now a copy in a forked child: the term, if any, belongs to the parent."""
        lost = self._lose(LossReason.FORKED) if self.state is State.LEADING else _NOTHING
        self.state = State.FORKED
        self._wanted = False
        self._attempt_id = ""
        self._drained = self._released = True
        return lost

    # The rules, in one place each

    def _proved_until(self, sent_at: float, ttl: float, now: float) -> float:
        return sent_at + self._timing.window_for(ttl)

    def _is_progress(self, token: int, source: str) -> bool:
        return token > self._highest_token and source == (self.source or source)

    def _is_current(self, attempt_id: str) -> bool:
        return attempt_id == self._attempt_id

    def _orphan(self, attempt_id: str) -> Sequence[Notice]:
        if self._is_current(attempt_id):
            return _NOTHING  # led, or released, under this very id: nobody else's business
        return (Orphaned(attempt_id),)

    def _begin_attempt(self) -> None:
        self.state = State.CAMPAIGNING
        self._attempt_id = self._new_attempt_id()
        self._asked = False

    def _lose(self, reason: LossReason) -> Sequence[Notice]:
        self.valid_until = NEVER
        self.state = State.STEPPING_DOWN
        return (Lost(self._attempt_id, reason),)

    def _give_up_attempt(self) -> None:
        """Leave the campaign. What may have reached the store has to be taken back there."""
        self._drained = True
        self._released = not self._asked
        if self._released:
            self._finish_attempt()
        else:
            self._release()

    def _release(self) -> None:
        self.state = State.RELEASING
        self._keeping = False
        # Not from now on: a backend has to have heard of it, or an attempt that it thinks alive
        # may stand in the way of the next one for as long as their common session lives.
        self._release_by = FOREVER

    def _finish_attempt(self) -> None:
        self._keeping = False
        if not self._drained:
            self.state = State.STEPPING_DOWN
        elif self._wanted:
            self._begin_attempt()
        else:
            self.state = State.IDLE
            self._attempt_id = ""
