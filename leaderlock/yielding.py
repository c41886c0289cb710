"""After a resignation: somebody else is to have the next term, if anybody wants it.

Otherwise the one that resigned would win again before those that are only being woken. Where the
store keeps a queue that cannot happen.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from leaderlock.errors import BackendRefused, BackendUnavailable

if TYPE_CHECKING:
    from leaderlock.runtime import Runtime
    from leaderlock.timing import Timing

POLL = 0.01
_LONGEST = 1.0


class Yielding:
    """Whether one candidate has to hold back."""

    __slots__ = ("_election", "_pause", "_token", "_until")

    def __init__(self, election: str, timing: Timing) -> None:
        self._election = election
        self._pause = min(timing.heartbeat, _LONGEST)
        self._token: int | None = None  # of the term that was given up
        self._until: float | None = None  # on time.monotonic: then nobody wants the next one

    def begin(self, token: int) -> None:
        """The term with this token has been given up."""
        self._token, self._until = token, None

    def end(self) -> None:
        """It wants to lead as much as anybody."""
        self._token = None

    def is_others_turn(self, runtime: Runtime) -> bool:
        """Whether nobody has had the next term yet, and somebody still may want it."""
        token = self._token
        if token is None or runtime.backend.capabilities.fifo:
            return False
        if self._until is None:  # only now it has been released: the work may have taken its time
            self._until = time.monotonic() + self._pause
        if time.monotonic() < self._until:
            try:
                reading = runtime.ask("leader", runtime.backend.leader, self._election)
            except (BackendUnavailable, BackendRefused):
                return True  # told and logged by ask(); not a word on the campaign
            if reading.token <= token:
                return True
        self.end()
        return False
