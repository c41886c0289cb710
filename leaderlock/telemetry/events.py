"""The events of one elector, as `LeaderElector.subscribe` delivers them.

`str(event)` is the line that is logged under the logger "leaderlock": a stable name, then
``key=value`` pairs.
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
    """Something happened in the election `election` of the candidate `candidate_id`."""

    name: ClassVar[str] = "leaderlock.event"
    log_level: ClassVar[int] = logging.INFO

    election: str
    candidate_id: str

    def __str__(self) -> str:
        return f"{self.name} election={self.election!r} candidate={self.candidate_id!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermStarted(Event):
    """This candidate has been elected."""

    name: ClassVar[str] = "leaderlock.elected"

    token: FencingToken

    def __str__(self) -> str:
        return f"{Event.__str__(self)} token={self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermEnded(Event):
    """This candidate's term is over."""

    name: ClassVar[str] = "leaderlock.lost"

    token: FencingToken
    reason: LossReason

    def __str__(self) -> str:
        return f"{Event.__str__(self)} token={self.token} reason={self.reason.value!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoProgress(Event):
    """This leader gives its term up: it has shown no progress, or says that it is not healthy."""

    name: ClassVar[str] = "leaderlock.no_progress"
    log_level: ClassVar[int] = logging.WARNING

    token: FencingToken
    why: str

    def __str__(self) -> str:
        return f"{Event.__str__(self)} token={self.token} why={self.why!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderChanged(Event):
    """Another candidate leads now, or nobody."""

    name: ClassVar[str] = "leaderlock.leader_changed"

    leader: LeaderInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailing(Event):
    """The store does not answer, or refuses. Told once; `StoreRecovered` ends the streak."""

    name: ClassVar[str] = "leaderlock.store_failing"

    operation: str
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecovered(Event):
    """The store answers again."""

    name: ClassVar[str] = "leaderlock.store_recovered"

    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRegressed(Event):
    """The store issued a token that is not higher than an earlier one. Contending has stopped."""

    name: ClassVar[str] = "leaderlock.token_regressed"
    log_level: ClassVar[int] = logging.ERROR

    error: Exception

    def __str__(self) -> str:
        return f"{Event.__str__(self)} error={self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFailed(Event):
    """A callback, or the work of `run`, raised. The election goes on."""

    name: ClassVar[str] = "leaderlock.callback_failed"

    callback: str
    error: BaseException
