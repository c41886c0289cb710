"""What electors and clients tell, as `LeaderElector.subscribe` and `Client.subscribe` deliver it.

`str(event)` is the line of an event in the log: its stable name, then ``key=value`` pairs. What
has a `log_level` is logged under the logger "leaderlock", whoever listens.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from leaderlock.machine import LossReason
    from leaderlock.observer import LeaderInfo
    from leaderlock.tokens import FencingToken


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. The names do not change from version to version.

    Attributes:
        name: what, for logs and metrics.
        log_level: how it is logged; `logging.NOTSET`: not, or not as this event (a store that does
            not answer is one line for a client, and not one for each of its elections).
        frequent: comes with every heartbeat, and so only to those who name it in `subscribe`.
    """

    name: ClassVar[str] = "leaderlock.event"
    log_level: ClassVar[int] = logging.NOTSET
    frequent: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ElectionEvent(Event):
    """Something happened in the election `election` of the candidate `candidate_id`."""

    election: str
    candidate_id: str

    def __str__(self) -> str:
        return f"{self.name} election={self.election!r} candidate={self.candidate_id!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermStarted(ElectionEvent):
    """This candidate has been elected."""

    name: ClassVar[str] = "leaderlock.elected"
    log_level: ClassVar[int] = logging.INFO

    token: FencingToken

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} token={self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed(ElectionEvent):
    """The store has confirmed this candidate's term, which lasts `remaining` seconds from now."""

    name: ClassVar[str] = "leaderlock.renewed"
    frequent: ClassVar[bool] = True

    token: FencingToken
    remaining: float

    def __str__(self) -> str:
        told = ElectionEvent.__str__(self)
        return f"{told} token={self.token} remaining={self.remaining:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewFailed(ElectionEvent):
    """The store has not answered a heartbeat that this candidate was part of, or has refused.

    Told each time; `StoreFailing` tells the first of a streak.
    """

    name: ClassVar[str] = "leaderlock.renew_failed"
    frequent: ClassVar[bool] = True

    error: Exception

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} error={self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermEnded(ElectionEvent):
    """This candidate's term is over; `reason` says whether it was resigned, or how it was lost."""

    name: ClassVar[str] = "leaderlock.lost"
    log_level: ClassVar[int] = logging.INFO

    token: FencingToken
    reason: LossReason

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} token={self.token} reason={self.reason.value!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoProgress(ElectionEvent):
    """This leader gives its term up: it has shown no progress, or says that it is not healthy."""

    name: ClassVar[str] = "leaderlock.no_progress"
    log_level: ClassVar[int] = logging.WARNING

    token: FencingToken
    why: str

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} token={self.token} why={self.why!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLost(ElectionEvent):
    """The store has lost the place of this candidate, which waited. It queues again, at the end.

    Only with stores that keep a queue.
    """

    name: ClassVar[str] = "leaderlock.place_lost"
    log_level: ClassVar[int] = logging.WARNING

    reason: LossReason

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} reason={self.reason.value!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderChanged(ElectionEvent):
    """Another candidate leads now, or nobody."""

    name: ClassVar[str] = "leaderlock.leader_changed"

    leader: LeaderInfo | None

    def __str__(self) -> str:
        leader = None if self.leader is None else self.leader.candidate_id
        return f"{ElectionEvent.__str__(self)} leader={leader!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailing(ElectionEvent):
    """The store does not answer, or refuses. Told once; `StoreRecovered` ends the streak."""

    name: ClassVar[str] = "leaderlock.store_failing"

    operation: str
    error: Exception

    def __str__(self) -> str:
        told = ElectionEvent.__str__(self)
        return f"{told} operation={self.operation} error={self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecovered(ElectionEvent):
    """The store answers again."""

    name: ClassVar[str] = "leaderlock.store_recovered"

    operation: str

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} operation={self.operation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRegressed(ElectionEvent):
    """The store issued a token that is not higher than an earlier one. Contending has stopped."""

    name: ClassVar[str] = "leaderlock.token_regressed"
    log_level: ClassVar[int] = logging.ERROR

    error: Exception

    def __str__(self) -> str:
        return f"{ElectionEvent.__str__(self)} error={self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFailed(ElectionEvent):
    """A callback, or the work of `run`, raised. The election goes on."""

    name: ClassVar[str] = "leaderlock.callback_failed"

    callback: str
    error: BaseException

    def __str__(self) -> str:
        told = ElectionEvent.__str__(self)
        return f"{told} callback={self.callback} error={self.error!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """A client has renewed everything that it holds, in one round, or has tried to.

    Told by `Client.subscribe` alone, for no election in particular.

    Attributes:
        leases: how many elections the round was for.
        took: seconds until the store answered, or until it was given up.
        error: why some of them, or all, got no answer; None: they did.
    """

    name: ClassVar[str] = "leaderlock.heartbeat"
    frequent: ClassVar[bool] = True

    leases: int
    took: float
    error: Exception | None = None

    def __str__(self) -> str:
        failure = "" if self.error is None else f" error={self.error}"
        return f"{self.name} leases={self.leases} took={self.took:.3f}{failure}"
