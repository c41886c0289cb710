"""Reads a log as what it tells of: beliefs, faults, and the stretches without any."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from leaderlock.testing.chaos.events import Event

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Belief:
    """A candidate said that it leads, at least from `since` to `until`.

    Attributes:
        token: None for a kind of candidate that has none.
        began: the `leads` that it begins with.
        last: what tells of its end, or the last that was heard of it.
    """

    who: str
    token: int | None
    began: Event
    until: float
    last: Event

    @property
    def since(self) -> float:
        return self.began.at

    @property
    def not_before(self) -> float:
        """It was seen not to lead then."""
        return float(self.began.data["seen"])

    @property
    def ended(self) -> bool:
        """Whether it was seen to end; the candidate has been killed else."""
        return self.last.what == "leads not"


@dataclass(frozen=True, slots=True)
class Fault:
    """What the nemesis did, until it was healed (or the log ends).

    Attributes:
        whom: the candidates that it concerns.
        silences: they hear nothing of the store in the meantime.
        excuses: the invariants that the store does not promise to keep under it.
    """

    name: str
    target: str
    whom: tuple[str, ...]
    silences: bool
    excuses: tuple[str, ...]
    began: Event
    healed: float

    @property
    def since(self) -> float:
        return self.began.at

    def touches(self, since: float, until: float) -> bool:
        return self.since <= until and self.healed >= since


class History:
    """What a log tells of."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = tuple(events)
        self.end = self.events[-1].at if self.events else 0.0

    def of(self, *whats: str, who: str | None = None) -> list[Event]:
        """The events of these names, in their order."""
        return [e for e in self.events if e.what in whats and who in (None, e.who)]

    @cached_property
    def beliefs(self) -> list[Belief]:
        """By their beginning."""
        heard: dict[str, tuple[Event, Event]] = {}  # by candidate: began, last
        found = []

        def close(who: str) -> None:
            began, last = heard.pop(who)
            until = max(began.at, float(last.data["seen"])) if last is not began else began.at
            found.append(Belief(who, began.data["token"], began, until, last))

        for event in self.of("leads", "still leads", "leads not"):
            if event.what == "leads":
                if event.who in heard:
                    close(event.who)
                heard[event.who] = event, event
            elif event.who in heard:
                heard[event.who] = heard[event.who][0], event
                if event.what == "leads not":
                    close(event.who)
        for who in list(heard):
            close(who)
        return sorted(found, key=lambda belief: belief.since)

    @cached_property
    def faults(self) -> list[Fault]:
        healed = {event.data["id"]: event.at for event in self.of("healed")}
        return [
            Fault(
                event.data["name"],
                event.data["target"],
                tuple(event.data["whom"]),
                bool(event.data.get("silences")),
                tuple(event.data.get("excuses", ())),
                event,
                healed.get(event.data["id"], math.inf),
            )
            for event in self.of("fault")
            if event.who == "nemesis"
        ]

    @cached_property
    def killed(self) -> dict[str, Event]:
        """The end of each candidate that was killed."""
        return {f.target: f.began for f in self.faults if f.name == "kill" and f.target in f.whom}

    @cached_property
    def outages(self) -> list[Stretch]:
        """When the store had no quorum, as far as the run knows."""
        found, since = [], math.inf
        for event in self.of("quorum"):
            if not event.data["reachable"]:
                since = min(since, event.at)
            elif since < math.inf:
                found.append((since, event.at))
                since = math.inf
        return [*found, (since, self.end)] if since < math.inf else found

    @cached_property
    def quiet(self) -> list[Stretch]:
        """When no fault was acting, while the candidates ran."""
        marks = self.of("began", "ended", who="run")
        if not marks:
            return []
        over = [event.at for event in marks if event.what == "ended"]
        end = over[0] if over else self.end
        found, since = [], marks[0].at
        for fault in sorted(self.faults, key=lambda fault: fault.since):
            if since < fault.since:
                found.append((since, min(fault.since, end)))
            since = max(since, fault.healed)
        return [*found, (since, end)] if since < end else found

    def elections(self) -> dict[str, list[Event]]:
        """What each candidate was told: `elected` and `lost`, in their order."""
        told = defaultdict(list)
        for event in self.of("elected", "lost"):
            told[event.who].append(event)
        return dict(told)


def overlap(one: Belief, other: Belief) -> Stretch | None:
    """When both were believed."""
    since, until = max(one.since, other.since), min(one.until, other.until)
    return (since, until) if since < until else None


def excused(faults: Sequence[Fault], invariant: str, at: float, grace: float) -> Fault | None:
    """The fault, if any, under which the store does not promise to keep an invariant at a time."""
    for fault in faults:
        if invariant in fault.excuses and fault.touches(at - grace, at):
            return fault
    return None
