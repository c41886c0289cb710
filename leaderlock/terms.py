"""The terms of one candidate, and who works under them. Called under the lock of its owner."""

from __future__ import annotations

import math
import sys
import threading
from typing import TYPE_CHECKING, Generic

from leaderlock.callbacks import Callbacks
from leaderlock.clock import Clock
from leaderlock.leadership import LeadershipT
from leaderlock.machine import LossReason
from leaderlock.telemetry.events import TermEnded, TermStarted
from leaderlock.tokens import FencingToken
from leaderlock.workers import Job

if TYPE_CHECKING:
    from leaderlock.config import Config


def _running_loop() -> object:
    """Of this thread. Who does not use asyncio does not have it imported."""
    asyncio = sys.modules.get("asyncio.events")
    return None if asyncio is None else asyncio._get_running_loop()


def _loop_of(owner: object) -> object:
    get_loop = getattr(owner, "get_loop", None)
    return None if get_loop is None else get_loop()


class Hold(Generic[LeadershipT]):
    """Somebody works under a term; its release waits until it is let go.

    Attributes:
        owner: who: the id of a thread, or an asyncio task.
    """

    __slots__ = ("leadership", "owner")

    def __init__(self, leadership: LeadershipT, owner: object) -> None:
        self.leadership = leadership
        self.owner = owner


class Terms(Generic[LeadershipT]):
    """At most one term at a time, from its beginning until it has drained.

    Attributes:
        leadership: of the present term; may be read without the lock.

    Args:
        leadership_class: of the handles on the terms.
        callback_done: called, without the lock, when the callbacks of a beginning or an end have
            returned; has to lead to `callback_done` here.
    """

    __slots__ = (
        "_beat_timeout",
        "_callbacks",
        "_callbacks_due",
        "_clock",
        "_drain_timeout",
        "_drained_by",
        "_election",
        "_epoch",
        "_holds",
        "_leadership_class",
        "_tell_done",
        "candidate_id",
        "is_draining",
        "leadership",
    )

    def __init__(
        self,
        config: Config,
        clock: Clock,
        leadership_class: type[LeadershipT],
        callbacks: Callbacks[LeadershipT],
        callback_done: Job,
        beat_timeout: float,
    ) -> None:
        self.leadership: LeadershipT | None = None
        self._leadership_class = leadership_class
        self._beat_timeout = beat_timeout
        self._election = config.election
        self.candidate_id = config.candidate_id
        self._epoch = config.epoch
        self._drain_timeout = config.timing.drain_timeout
        self._clock = clock
        self._callbacks = callbacks
        self._tell_done = callback_done
        self._forget()

    def _forget(self) -> None:
        self._holds: tuple[Hold[LeadershipT], ...] = ()  # on the present or last term; few or none
        self._callbacks_due = 0
        self.is_draining = False
        self._drained_by = math.inf

    def begin(self, value: int, source: str, valid_until: float) -> TermStarted:
        """The candidate has been elected."""
        token = FencingToken(self._epoch, value, source)
        self.leadership = self._leadership_class(
            token=token,
            leader_id=self.candidate_id,
            election=self._election,
            valid_until=valid_until,
            clock=self._clock,
            beat_timeout=self._beat_timeout,
        )
        self._callbacks_due += self._callbacks.tell_elected(self.leadership, self._tell_done)
        return TermStarted(self._election, self.candidate_id, token=token)

    def extend(self, valid_until: float) -> None:
        """What the machine believes is what the handle says."""
        if self.leadership is not None:
            self.leadership._extend(valid_until)

    def end(self, reason: LossReason) -> TermEnded:
        """The term is over; it still has to drain."""
        leadership, self.leadership = self.leadership, None
        assert leadership is not None, "the machine pairs every Lost with an Elected"
        leadership._end(reason)
        self.is_draining = True
        self._drained_by = self._clock.now() + self._drain_timeout
        self._callbacks_due += self._callbacks.tell_lost(leadership, reason, self._tell_done)
        return TermEnded(self._election, self.candidate_id, token=leadership.token, reason=reason)

    def after_fork(self) -> None:
        """In a forked child: the term stays with the parent, and so do those who work under it."""
        if self.leadership is not None:
            self.leadership._fork()
            self.leadership = None
        self._forget()

    def beat_due(self) -> float:
        """When the present term has to have shown progress."""
        return math.inf if self.leadership is None else self.leadership._beat_until

    # Draining

    def hold(self, leadership: LeadershipT, owner: object) -> Hold[LeadershipT]:
        """Count the owner as working under the present term."""
        hold = Hold(leadership, owner)
        self._holds = (*self._holds, hold)
        return hold

    def let_go(self, hold: Hold[LeadershipT]) -> None:
        """The work has ended; harmless in a child that was forked within it."""
        self._holds = tuple(other for other in self._holds if other is not hold)

    def callback_done(self) -> None:
        """The callbacks of a beginning or an end have returned."""
        self._callbacks_due -= 1

    def take_drained(self) -> bool:
        """Whether the ended term has drained; True once for each."""
        drained = self.is_draining and not self._holds and not self._callbacks_due
        if drained:
            self.is_draining = False
            self._drained_by = math.inf
        return drained

    def is_overdue(self, now: float) -> bool:
        """Whether work or callbacks still go on under a term that ended a drain_timeout ago."""
        return now > self._drained_by

    def waits_for(self, owner: object) -> bool:
        """Whether the owner, or this callback, is what a drain waits for: itself."""
        return self._callbacks.is_caller or any(hold.owner == owner for hold in self._holds)

    def waits_for_caller(self) -> bool:
        """The same for a caller that would block its thread, and with it a loop's other tasks."""
        loop = _running_loop()
        return self.waits_for(threading.get_ident()) or (
            loop is not None and any(_loop_of(hold.owner) is loop for hold in self._holds)
        )
