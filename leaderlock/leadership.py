"""The holder's handle on its term."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from os import getpid
from typing import NoReturn, TypeVar

from leaderlock.clock import Clock
from leaderlock.errors import ConfigurationError, LeadershipLost
from leaderlock.interrupt import wait_in_steps
from leaderlock.listeners import Listeners, Wake
from leaderlock.machine import LossReason
from leaderlock.timing import wait_time
from leaderlock.tokens import FencingToken

__all__ = ["AnyLeadership", "Leadership", "LeadershipT", "LossReason"]


class AnyLeadership:
    """What the handles of both APIs, threads and asyncio, have in common.

    One term, from election to loss. A new term is a new object with a higher token.

    `is_valid`, `check()` and `remaining()` are computed from process id, state and clock on every
    call, with no I/O: they are right at once after a pause, before any thread of leaderlock has
    had its turn. They do NOT cover what happens after they return: a process can be paused
    between the check and the write. For that, hand `token` to a resource that refuses lower ones.

    Attributes:
        token: the fencing token of the term.
        leader_id: the candidate id of the leader, that is, of this candidate.
        election: the election's name.
    """

    __slots__ = (
        "__weakref__",
        "_beat_timeout",
        "_beat_until",
        "_listeners",
        "_now",
        "_pid",
        "_reason",
        "_valid_until",
        "election",
        "leader_id",
        "token",
    )

    def __init__(
        self,
        *,
        token: FencingToken,
        leader_id: str,
        election: str,
        valid_until: float,
        clock: Clock,
        beat_timeout: float = math.inf,
    ) -> None:
        self.token = token
        self.leader_id = leader_id
        self.election = election
        self._valid_until = valid_until
        self._now = clock.now
        self._pid = getpid()
        self._reason: LossReason | None = None
        self._beat_timeout = beat_timeout
        self._beat_until = clock.now() + beat_timeout
        self._listeners = Listeners()

    @property
    def is_valid(self) -> bool:
        """Whether the term is still believed now."""
        # _valid_until is read before the clock: a pause in between can only turn True into False.
        return self._valid_until > self._now() and self._pid == getpid()

    def check(self) -> None:
        """Return if the term is still believed now.

        Raises:
            LeadershipLost: it is over.
        """
        if not self.is_valid:
            raise LeadershipLost(self.reason or LossReason.EXPIRED, self.token, self.election)

    def remaining(self) -> float:
        """Seconds for which the term is believed if no renewal succeeds any more; 0.0 when over."""
        left = self._valid_until - self._now()
        return left if left > 0 and self._pid == getpid() else 0.0

    def beat(self) -> None:
        """A sign of progress: the leader may go on for another `beat_timeout`. No I/O.

        Call it wherever the work gets on. When it is not called for `beat_timeout` seconds, the
        term is resigned (WORK_FAILED). A term that is over stays over.

        Raises:
            ConfigurationError: the elector has no `beat_timeout`, so that nothing would follow.
        """
        if self._beat_timeout == math.inf:
            raise ConfigurationError(
                f"beat() has no effect on election {self.election!r}: give its elector a "
                "'beat_timeout' in seconds"
            )
        self._beat_until = self._now() + self._beat_timeout

    @property
    def reason(self) -> LossReason | None:
        """Why the term ended; None while it lasts."""
        if self._pid != getpid():
            return LossReason.FORKED
        if self._reason is None and not self.is_valid:
            return LossReason.EXPIRED  # the watchdog is about to say the same
        return self._reason

    def __repr__(self) -> str:
        state = (
            "valid" if self.is_valid else f"over ({self.reason.value})" if self.reason else "over"
        )
        return (
            f"<Leadership of {self.election!r} by {self.leader_id!r}, token {self.token}, {state}>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied: it is of this process alone; hand on "
            "str(leadership.token)"
        )

    # For the candidate that owns the term

    def _extend(self, valid_until: float) -> None:
        self._valid_until = valid_until

    def _end(self, reason: LossReason) -> None:
        self._reason = reason
        self._valid_until = -math.inf
        self._listeners.tell()

    def _fork(self) -> None:
        self._listeners = Listeners()  # without what the parent's threads wait for
        self._end(LossReason.FORKED)

    def _on_end(self, wake: Wake) -> Callable[[], object]:
        """Call `wake` when the term ends, on whichever thread; now if it has ended.

        Returns the way to stop. More than one call of `wake` is harmless to it.
        """
        forget = self._listeners.add(wake)
        if not self.is_valid:  # only now: it may have ended in between
            wake()
        return forget


class Leadership(AnyLeadership):
    """One term, from election to loss, as the threaded API hands it out. See `AnyLeadership`."""

    __slots__ = ()

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Block until the term is over, or for `timeout` seconds (default: for ever).

        Returns:
            Whether it is over.
        """
        bound, lost = wait_time(timeout), threading.Event()  # made here: most terms have no waiter
        stop = self._on_end(lost.set)
        try:
            return wait_in_steps(lost.wait, bound) or not self.is_valid
        finally:
            stop()


LeadershipT = TypeVar("LeadershipT", bound=AnyLeadership)
