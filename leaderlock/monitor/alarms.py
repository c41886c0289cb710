"""What is alarming now, and was: raised and resolved by conditions. Pure."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

MOST_PAST = 100


class Kind(enum.Enum):
    """What there are alarms of. The names do not change from version to version."""

    SPLIT_BRAIN = "split_brain"
    """Two candidates have believed to lead at the same time."""
    TOKEN_REGRESSED = "token_regressed"
    """A fencing token that cannot follow those before it: the store has lost data."""
    LEADERLESS = "leaderless"
    """Nobody has led for longer than it should take to elect somebody."""
    LEADER_FAILING = "leader_failing"
    """A leader cannot renew, or says that it is not well: it is about to lose its term."""
    CANDIDATE_FAILING = "candidate_failing"
    """A candidate that waits would not be elected."""
    STORE_UNREACHABLE = "store_unreachable"
    """The monitor gets no answer from the store, and knows nothing about who leads."""


# Seconds that a condition has to last. What is soon over by itself wakes nobody.
GRACE = {
    Kind.LEADER_FAILING: 2.0,
    Kind.CANDIDATE_FAILING: 10.0,
    Kind.STORE_UNREACHABLE: 5.0,
}

Key = tuple[Kind, str]
"""What an alarm is about: its kind, and an election; no election: the store."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm, from when it was raised until it is resolved.

    Attributes:
        number: counts them.
        why: a sentence, as it was last.
        raised: the time.
        resolved: the time; None: not yet.
    """

    number: int
    kind: Kind
    election: str
    why: str
    raised: float
    resolved: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For the page and for programs."""
        return {
            "number": self.number,
            "kind": self.kind.value,
            "election": self.election or None,
            "why": self.why,
            "raised": self.raised,
            "resolved": self.resolved,
        }


class Alarms:
    """The alarms of a monitor.

    Attributes:
        present: those that are not resolved.
        past: the last ones that are, the newest first.
        counts: how many have been raised, by kind.
    """

    def __init__(self) -> None:
        self.present: dict[Key, Alarm] = {}
        self.past: deque[Alarm] = deque(maxlen=MOST_PAST)
        self.counts = dict.fromkeys(Kind, 0)
        self._pending: dict[Key, float] = {}

    def update(self, conditions: Mapping[Key, str], now: float) -> Iterator[Alarm]:
        """Yield what is raised, and what is resolved.

        Args:
            conditions: what is wrong now, with a sentence.
        """
        self._pending = {key: self._pending.get(key, now) for key in conditions}
        for key in self.present.keys() - conditions.keys():
            alarm = replace(self.present.pop(key), resolved=now)
            self.past.appendleft(alarm)
            yield alarm
        for key, why in conditions.items():
            if key in self.present:
                self.present[key] = replace(self.present[key], why=why)
            elif now - self._pending[key] >= GRACE.get(key[0], 0.0):
                self.counts[key[0]] += 1
                alarm = Alarm(sum(self.counts.values()), *key, why, now)
                self.present[key] = alarm
                yield alarm
