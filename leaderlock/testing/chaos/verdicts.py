"""What a run has shown of one invariant."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from leaderlock.testing.chaos.events import Event


class Status(enum.StrEnum):
    HELD = "held"
    VIOLATED = "violated"
    REPORTED = "reported"
    """Broken where this store does not promise to keep it."""
    NOT_APPLICABLE = "not applicable"
    """The store does not promise it, or nothing happened that it speaks of."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run has shown of one invariant.

    Attributes:
        invariant: "I1" to "I10".
        title: the invariant in a few words.
        text: what was looked at, or what broke it.
        counter_example: the few events that break it, in their order; empty when it has held.
    """

    invariant: str
    title: str
    status: Status
    text: str
    counter_example: tuple[Event, ...] = ()
