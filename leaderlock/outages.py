"""What the store does not answer to one candidate, told once per streak."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from leaderlock.callbacks import Callbacks
from leaderlock.errors import LeaderLockError
from leaderlock.telemetry.events import StoreFailing, StoreRecovered

_NONE: Mapping[str, LeaderLockError] = MappingProxyType({})


class Outages:
    """Called under the lock of its owner.

    Attributes:
        failing: the operations that get no answer at present, with the first error.
    """

    __slots__ = ("_callbacks", "_election", "failing")

    def __init__(self, election: str, callbacks: Callbacks[Any]) -> None:
        self._election = election
        self._callbacks = callbacks
        self.failing: Mapping[str, LeaderLockError] = _NONE

    def note(self, operation: str, error: LeaderLockError) -> None:
        """The operation has failed."""
        if operation not in self.failing:
            self.failing = {**self.failing, operation: error}
            self._callbacks.emit(
                StoreFailing(
                    self._election, self._callbacks.candidate_id, operation=operation, error=error
                )
            )

    def end(self) -> None:
        """The store has answered: what failed in an earlier state of the machine is over, too."""
        failing, self.failing = self.failing, _NONE
        for operation in failing:
            self._callbacks.emit(
                StoreRecovered(self._election, self._callbacks.candidate_id, operation=operation)
            )

    def forget(self) -> None:
        """The store is not asked any more."""
        self.failing = _NONE
