"""What the store has answered to one candidate lately, and what it owes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from leaderlock.callbacks import Callbacks
from leaderlock.errors import LeaderLockError
from leaderlock.machine import LossReason
from leaderlock.telemetry.events import PlaceLost, StoreFailing, StoreRecovered
from leaderlock.timing import Timing

_NONE: Mapping[str, LeaderLockError] = MappingProxyType({})


class Outages:
    """Called under the lock of its owner; the attributes may be read without it.

    Attributes:
        failing: the operations that get no answer at present, with the first error of each streak.
        displaced: why the store has lost its place in the queue, until it has another one.
        due: the clock reading by which the store has to have answered, again.
    """

    __slots__ = ("_callbacks", "_election", "_patience", "_round", "displaced", "due", "failing")

    def __init__(self, election: str, callbacks: Callbacks[Any], timing: Timing) -> None:
        self._election = election
        self._callbacks = callbacks
        self._round = timing.heartbeat + timing.request_timeout
        # A request may wait for others on the io threads, and for its turn after a resignation.
        self._patience = timing.heartbeat + 2 * timing.request_timeout
        self.failing: Mapping[str, LeaderLockError] = _NONE
        self.displaced: LossReason | None = None
        self.due = math.inf

    def note(self, operation: str, error: LeaderLockError) -> None:
        """The operation has failed. Told once per streak."""
        if operation not in self.failing:
            self.failing = {**self.failing, operation: error}
            self._callbacks.emit(
                StoreFailing(
                    self._election, self._callbacks.candidate_id, operation=operation, error=error
                )
            )

    def end(self, now: float | None = None) -> None:
        """The store has answered: what failed in an earlier state of the machine is over, too.

        Args:
            now: when, if it was a heartbeat: the next one is to be answered in time, too.
        """
        if now is not None:
            self.due = now + self._round
        if not self.failing:
            return
        failing, self.failing = self.failing, _NONE
        for operation in failing:
            self._callbacks.emit(
                StoreRecovered(self._election, self._callbacks.candidate_id, operation=operation)
            )

    def expect(self, now: float, pause: float) -> None:
        """The store is asked, or asked again, in `pause` seconds."""
        self.due = now + pause + self._patience

    def placed(self, now: float, pause: float) -> None:
        """The candidate waits, and asks again in `pause` seconds; `math.inf`: it is granted."""
        self.displaced = None
        if pause == math.inf:
            self.due = now + self._round
        else:
            self.expect(now, pause)

    def displace(self, reason: LossReason) -> PlaceLost:
        """The store has lost its place in the queue."""
        self.displaced = reason
        return PlaceLost(self._election, self._callbacks.candidate_id, reason=reason)

    def forget(self) -> None:
        """The store is not asked any more."""
        self.failing, self.displaced, self.due = _NONE, None, math.inf
