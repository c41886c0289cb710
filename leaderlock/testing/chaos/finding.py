"""What the rules of the checker are given, and what they answer with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.history import History

SCHEDULING = 0.3
"""Seconds that a thread on a busy machine may be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a store promises, as far as the checker has to know; in seconds.

    Attributes:
        belief_window: how long a candidate may believe after the store has last answered.
        request_timeout: the longest that a request may take.
        lease: the longest that the store may keep what nobody renews any more.
        failover: from the end of all faults until somebody leads.
        handover: from a resignation until somebody leads.
        reported: invariants that the store cannot promise.
        not_applicable: invariants that say nothing about the store or the candidates.
    """

    belief_window: float
    request_timeout: float
    lease: float
    failover: float
    handover: float = 1.0
    reported: frozenset[str] = frozenset()
    not_applicable: frozenset[str] = frozenset()


Break = tuple[str, tuple[Event, ...]]
"""What is wrong, and the events that show it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has found.

    Attributes:
        seen: what it has looked at, in words; empty if there was nothing.
        breaks: what breaks the invariant.
        excused: what would, but for a fault under which the store does not promise to keep it.
    """

    seen: str
    breaks: Sequence[Break] = ()
    excused: Sequence[Break] = ()


Rule = Callable[[History, Traits], Finding]


def in_order(*events: Event) -> tuple[Event, ...]:
    """A counter-example, each event once."""
    return tuple(sorted(set(events)))
