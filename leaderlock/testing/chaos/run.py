"""A run that is over, as the checker leaves it and a report shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.verdicts import Status, Verdict


@dataclass(frozen=True, slots=True)
class Run:
    """What was run, what happened, and what that shows.

    Attributes:
        store: "etcd", "zookeeper", "consul", "redis", or the scheme of the URL that was given.
        nodes: how many servers the store had; 0: it was somebody else's.
        candidates: how many there were at a time; one that is killed is followed by another.
        seconds: how long faults were injected.
        seed: of the schedule of faults.
        ttl: the lease that the candidates asked for, in seconds.
        faults: the kinds that the nemesis chose from.
        notes: for a person, such as "partition by network namespaces".
        events: everything that was logged, in its order; see `leaderlock.testing.chaos.events`.
            `history.History(events)` makes beliefs and faults of it.
        verdicts: one for each invariant, I1 to I10.
    """

    store: str
    nodes: int
    candidates: int
    seconds: float
    seed: int
    ttl: float
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    events: tuple[Event, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How often there was what a reader wants to know of: terms, writes, faults."""
        counts = Counter(event.what for event in self.events)
        names = {"terms": "elected", "accepted": "accepted", "refused": "refused"}
        faults = sum(event.what == "fault" and event.who == "nemesis" for event in self.events)
        return {name: counts[what] for name, what in names.items()} | {"faults": faults}

    @property
    def violations(self) -> tuple[Verdict, ...]:
        return tuple(v for v in self.verdicts if v.status is Status.VIOLATED)
