"""Is this candidate fit for its job? For readiness and liveness probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leaderlock.errors import TokenRegression
from leaderlock.machine import State

if TYPE_CHECKING:
    from leaderlock.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to a probe. Its truth value is `healthy`.

    Attributes:
        healthy: False for a leader that cannot renew, a candidate that cannot campaign, one that
            has given up, and one whose own `healthy` said no when it was last asked.
        state: what the candidate is doing, for people.
        problem: what is wrong; empty if healthy.
    """

    healthy: bool
    state: str
    problem: str = ""

    def __bool__(self) -> bool:
        return self.healthy


def examine(candidate: Candidate[Any]) -> Health:
    """The health of one candidate, from what the store has answered lately. No I/O."""
    state = candidate.state
    if state is State.IDLE and not isinstance(candidate.error, TokenRegression):
        return Health(healthy=True, state="not contending")
    errors = [candidate.error, *candidate.failing.values()]
    problems = dict.fromkeys(str(error) for error in errors if error is not None)
    if candidate.progress.says_no:
        problems["healthy() says no"] = None
    return Health(healthy=not problems, state=state.value, problem="; ".join(problems))
