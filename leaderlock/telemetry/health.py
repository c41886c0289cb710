"""Is this candidate fit for its job? For readiness and liveness probes."""

from __future__ import annotations

from collections.abc import Iterator
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
        healthy: False for a leader that cannot renew, and for a candidate that does not stand in
            line: the store fails or refuses it, has lost its place, or has not answered for longer
            than it should; the work of its last term does not end, so that it cannot have another
            one; it has given up (TokenRegression); or its own `healthy` said no when it was last
            asked. True for an elector that is not started.
        state: what the candidate is doing, for people.
        problem: what is wrong; empty if healthy.
    """

    healthy: bool
    state: str
    problem: str = ""

    def __bool__(self) -> bool:
        return self.healthy


def examine(candidate: Candidate[Any], now: float) -> Health:
    """The health of one candidate, by what the store has answered lately. No I/O, and no lock.

    Args:
        now: a reading of its clock from before this call: what is due only moves on.
    """
    state = candidate.state
    if state is State.IDLE and not isinstance(candidate.error, TokenRegression):
        return Health(healthy=True, state="not contending")
    problems = dict.fromkeys(_problems(candidate, state, now))  # each once
    return Health(healthy=not problems, state=state.value, problem="; ".join(problems))


def _problems(candidate: Candidate[Any], state: State, now: float) -> Iterator[str]:
    outages = candidate.outages
    failing = outages.failing
    for error in candidate.error, *failing.values():
        if error is not None:
            yield str(error)
    if outages.displaced is not None:
        yield f"it has lost its place in the queue ({outages.displaced.value})"
    if state in (State.CAMPAIGNING, State.LEADING) and now > outages.due and not failing:
        yield f"no answer from the store, overdue for {now - outages.due:.1f} s"
    if candidate.terms.is_overdue(now):
        yield "the work of its last term does not end, and it cannot have another one before"
    if candidate.progress.says_no:
        yield "healthy() says no"
