"""From a run to what its picture shows, in seconds since it began.

Pure: it draws nothing. The page and the PNG draw the same `Timeline`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix

from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.history import Belief, Fault, History, Stretch, overlap
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.words import began_at, describe

MACHINERY = {"resource", "nemesis", "run"}
STORE = ""
"""Stands for the store where the lane of a candidate is asked for."""
MARKS = 600
"""Marks of a kind that are closer together than this part of the run are drawn as one."""
PARTS = 600
"""Accepted writes are counted in so many parts of the run."""
WIDTH, SECOND, LETTER = 1000, 5, 7
"""In pixels: how wide a run is drawn at least, how wide a second of it, and a letter of 12 px."""
LONG_TOKEN = 6
SHOWN_DIGITS = 2
TICKS = (300, 60, 30, 10, 5, 1)
"""Seconds from one tick of the time axis to the next: each a multiple of those after it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A time in which a candidate believed to lead.

    Attributes:
        token: as it is, or empty; `label` is what there is room for.
        number: its place among all bars of the run, in the order of time.
    """

    since: float
    until: float
    who: str
    token: str
    label: str
    number: int


@dataclass(frozen=True, slots=True)
class Shade:
    """A time in which something was wrong with a candidate or with the store.

    Attributes:
        kind: "pause", "kill" or "fault" of a candidate, or "store".
        row: keeps those of the store apart whose names would overlap.
        turned: its name ends with it, instead of beginning: it is at the end of the run.
    """

    since: float
    until: float
    kind: str
    name: str
    row: int = 0
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment; or `count` of a kind, too close together to be told apart.

    Attributes:
        kind: "refused", "lost", "resigned" or "violation".
    """

    at: float
    kind: str
    text: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Lane:
    """A candidate with all its incarnations; or, on top, all candidates in one line.

    Attributes:
        clashes: when somebody else, too, believed to lead.
        writes: how densely writes were accepted, 0 to 1, in equal parts of the run.
    """

    name: str
    bars: tuple[Bar, ...]
    clashes: tuple[Stretch, ...]
    shades: tuple[Shade, ...] = ()
    marks: tuple[Mark, ...] = ()
    writes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is to be drawn.

    Attributes:
        summary: the lane on top: who leads.
        outages: when the store had no quorum.
    """

    length: float
    summary: Lane
    lanes: tuple[Lane, ...]
    store: tuple[Shade, ...]
    outages: tuple[Stretch, ...]

    @property
    def scale(self) -> float:
        """How many pixels a second is to take at least."""
        return _scale(self.length)

    @property
    def rows(self) -> int:
        """How many rows the faults of the store take."""
        return max((shade.row + 1 for shade in self.store), default=1)

    def ticks(self) -> Iterator[tuple[int, int]]:
        """Every second of the time axis, and the longest step that leads to it."""
        for second in range(int(self.length) + 1):
            yield second, next(step for step in TICKS if second % step == 0)


def timeline(run: Run) -> Timeline:
    """Lay out a run."""
    zero = began_at(run)
    history = History(_since(zero, event) for event in run.events if event.at >= zero)
    length = max(history.end, 1.0)
    names = sorted({lane_of(event.who) for event in history.events} - MACHINERY, key=_natural)
    bars = _bars(history.beliefs)
    clashes = _clashes(history.beliefs)
    shades = _shades(history.faults, length)
    marks = _marks(history)
    for name, mark in _violations(run, zero):
        marks[name].append(mark)
    writes = _densities(history.of("accepted", who="resource"), length)
    return Timeline(
        length=length,
        summary=Lane(
            "who leads",
            bars,
            tuple(stretch for stretch, _ in clashes),
            marks=_thinned(marks[STORE], length),
        ),
        lanes=tuple(
            Lane(
                name,
                tuple(bar for bar in bars if lane_of(bar.who) == name),
                tuple(stretch for stretch, lanes in clashes if name in lanes),
                tuple(shades[name]),
                _thinned(marks[name], length),
                writes.get(name, ()),
            )
            for name in names
        ),
        store=_stacked(shades[STORE], length),
        outages=tuple(history.outages),
    )


def _scale(length: float) -> float:
    return max(WIDTH / length, SECOND)


def lane_of(who: str) -> str:
    """`c1` for `c1.2`, its second incarnation, and for `c1.fork1`, its child."""
    return who.partition(".")[0]


def _natural(name: str) -> list[tuple[str, int]]:
    """Sorts c2 before c10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _since(zero: float, event: Event) -> Event:
    data = {key: value - zero if key == "seen" else value for key, value in event.data.items()}
    return replace(event, at=event.at - zero, data=data)


def _bars(beliefs: Sequence[Belief]) -> tuple[Bar, ...]:
    tokens = [str(belief.token) if belief.token is not None else "" for belief in beliefs]
    return tuple(
        Bar(belief.since, belief.until, belief.who, token, label, number)
        for number, (belief, token, label) in enumerate(
            zip(beliefs, tokens, _shortened(tokens), strict=True)
        )
    )


def _shortened(tokens: Sequence[str]) -> Sequence[str]:
    """Tokens that all begin with the same digits, too many to be read, without these."""
    if len({len(token) for token in tokens}) != 1 or len(tokens[0]) <= LONG_TOKEN:
        return tokens
    hidden = min(len(commonprefix(list(tokens))), len(tokens[0]) - SHOWN_DIGITS)
    return [f"…{token[hidden:]}" for token in tokens] if hidden else tokens


def _clashes(beliefs: Sequence[Belief]) -> list[tuple[Stretch, set[str]]]:
    """When two believed to lead, and in which lanes."""
    return [
        (both, {lane_of(one.who), lane_of(other.who)})
        for number, one in enumerate(beliefs)
        for other in beliefs[number + 1 :]
        if one.who != other.who and (both := overlap(one, other))
    ]


def _shades(faults: Iterable[Fault], length: float) -> defaultdict[str, list[Shade]]:
    """What the nemesis did, by the lane that it concerns."""
    shades: defaultdict[str, list[Shade]] = defaultdict(list)
    for fault in faults:
        until = min(fault.healed, length)
        lanes = {lane_of(who) for who in fault.whom}
        of_candidates = bool(lanes) and fault.target.endswith(", ".join(fault.whom))
        kind = fault.name if of_candidates and fault.name in ("kill", "pause") else "fault"
        for lane in lanes:
            shades[lane].append(Shade(fault.since, until, kind, fault.name))
        if not of_candidates:
            name = f"{fault.name} {fault.target.removeprefix('store')}".rstrip()
            shades[STORE].append(Shade(fault.since, until, "store", name))
    return shades


def _stacked(shades: Iterable[Shade], length: float) -> tuple[Shade, ...]:
    """Each in the first row that has room for it and for its name."""
    scale = _scale(length)
    ends: list[float] = []
    stacked = []
    for shade in shades:
        room = (len(shade.name) + 2) * LETTER / scale
        turned = shade.since + room > length
        since = min(shade.since, shade.until - room) if turned else shade.since
        until = shade.until if turned else max(shade.until, shade.since + room)
        row = next((row for row, end in enumerate(ends) if end <= since), len(ends))
        ends[row : row + 1] = [until]
        stacked.append(replace(shade, row=row, turned=turned))
    return tuple(stacked)


def _marks(history: History) -> defaultdict[str, list[Mark]]:
    """Refused writes and lost terms, by lane."""
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    for event in history.of("refused", who="resource"):
        text = "write with token {token} refused, {highest} has been seen".format(**event.data)
        marks[lane_of(event.data["by"])].append(Mark(event.at, "refused", text))
    for event in history.of("lost"):
        reason = event.data["reason"]
        kind = "resigned" if reason in ("resigned", "stopped") else "lost"
        text = f"{event.who} lost term {event.data['token']}: {reason}"
        marks[lane_of(event.who)].append(Mark(event.at, kind, text))
    return marks


def _violations(run: Run, zero: float) -> Iterator[tuple[str, Mark]]:
    """The events of the counter-examples, in their lanes and in the one on top."""
    for verdict in run.violations:
        for event in verdict.counter_example:
            who = event.data.get("by", STORE) if event.who == "resource" else event.who
            text = f"{verdict.invariant}: {describe(event, zero).strip()}"
            for name in {STORE if who in MACHINERY else lane_of(who), STORE}:
                yield name, Mark(max(event.at - zero, 0.0), "violation", text)


def _thinned(marks: Iterable[Mark], length: float) -> tuple[Mark, ...]:
    """One for those of a kind that would be drawn on top of each other."""
    shown: dict[tuple[str, int], Mark] = {}
    for mark in sorted(marks, key=lambda mark: mark.at):
        place = mark.kind, int(mark.at / length * MARKS)
        first = shown.get(place)
        shown[place] = replace(first, count=first.count + 1) if first else mark
    return tuple(shown.values())


def _densities(accepted: Iterable[Event], length: float) -> dict[str, tuple[float, ...]]:
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for event in accepted:
        counts[lane_of(event.data["by"])][min(int(event.at / length * PARTS), PARTS - 1)] += 1
    most = max((max(parts.values()) for parts in counts.values()), default=1)
    return {
        lane: tuple(parts[part] / most for part in range(PARTS)) for lane, parts in counts.items()
    }
