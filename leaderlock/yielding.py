"""After a resignation: somebody else is to have the next term, if anybody wants it.

Otherwise the one that resigned would win again before those that are only being woken. Where the
store keeps a queue that cannot happen.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from leaderlock.errors import BackendRefused, BackendUnavailable

if TYPE_CHECKING:
    from leaderlock.runtime import Runtime
    from leaderlock.timing import Timing

POLL = 0.01
_LONGEST = 1.0


class _Resigned(NamedTuple):
    token: int  # of the term that was given up
    until: float  # on time.monotonic: then nobody wants the next one


class Yielding:
    """Whether one candidate has to hold back."""

    __slots__ = ("_election", "_pause", "_resigned")

    def __init__(self, election: str, timing: Timing) -> None:
        self._election = election
        self._pause = min(timing.heartbeat, _LONGEST)
        self._resigned: _Resigned | None = None

    def begin(self, token: int) -> None:
        """The term with this token has been given up."""
        self._resigned = _Resigned(token, time.monotonic() + self._pause)

    def end(self) -> None:
        """It wants to lead as much as anybody."""
        self._resigned = None

    def is_others_turn(self, runtime: Runtime) -> bool:
        """Whether nobody has had the next term yet, and somebody still may want it."""
        resigned = self._resigned
        if resigned is None or runtime.backend.capabilities.fifo:
            return False
        if time.monotonic() < resigned.until:
            try:
                reading = runtime.ask("leader", runtime.backend.leader, self._election)
            except (BackendUnavailable, BackendRefused):
                return True  # told and logged by ask(); not a word on the campaign
            if reading.token <= resigned.token:
                return True
        self.end()
        return False
