"""The invariants that say what must happen in time, and what must not be left."""

from __future__ import annotations

from collections.abc import Sequence

from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.finding import SCHEDULING, Break, Finding, Traits, in_order
from leaderlock.testing.chaos.history import Belief, History, Stretch


def somebody_leads(history: History, traits: Traits) -> Finding:
    """I6: without faults, nobody waits longer for a leader than promised."""
    breaks: list[Break] = []
    waits = []
    for since, until in history.quiet:
        gap_since, gap_until = _longest_gap(history.beliefs, since, until)
        wait = gap_until - gap_since
        if wait > traits.failover:
            marks = [b.last for b in history.beliefs if b.until == gap_since]
            marks += [e for e in history.events if e.at in (gap_since, gap_until)]
            breaks.append((f"nobody led for {wait:.1f} s without faults", in_order(*marks)))
        elif until - since > traits.failover:
            waits.append(wait)
    longest = max(waits, default=0.0)
    seen = f"{len(waits)} stretches without faults, {longest:.1f} s at most without a leader"
    return Finding(seen if waits else "", breaks)


def _longest_gap(beliefs: Sequence[Belief], since: float, until: float) -> Stretch:
    """The longest time in a stretch in which nobody led."""
    gap, end = (since, since), since
    for belief in beliefs:
        if belief.until >= since and belief.since <= until:
            gap = max(gap, (end, max(end, belief.since)), key=_length)
            end = max(end, belief.until)
    return max(gap, (end, max(end, until)), key=_length)


def _length(stretch: Stretch) -> float:
    return stretch[1] - stretch[0]


def nothing_left(history: History, traits: Traits) -> Finding:
    """I7: when all has ended, the store holds nothing of it."""
    breaks: list[Break] = [
        (f"still there when all had ended: {event.data['entry']}", (event,))
        for event in history.of("left")
    ]
    return Finding("nothing was left" if history.of("ended") else "", breaks)


def nobody_dead_queued(history: History, traits: Traits) -> Finding:
    """I8: what is queued belongs to an attempt that lives, or did a lease ago."""
    ended: dict[str, tuple[float, Event]] = {}  # by attempt: its end, and what it ended with
    present: dict[str, Event] = {}
    lives = sorted([*history.of("attempt", "stopped"), *history.killed.values()])
    samples = history.of("queue")
    breaks: list[Break] = []
    for event in sorted([*lives, *samples]):
        if event.what == "queue":
            known = [a.data["attempt"] for a in present.values()]
            known += [a for a, (at, _) in ended.items() if event.at - at <= _patience(traits)]
            for entry in event.data["entries"]:
                if not any(attempt in entry for attempt in known):
                    last = [e for a, (_, e) in ended.items() if a in entry]
                    breaks.append((f"nobody's any more: {entry}", (*last, event)))
        else:
            who = event.data["target"] if event.what == "fault" else event.who
            if (before := present.pop(who, None)) is not None:
                ended[before.data["attempt"]] = event.at, event
            if event.what == "attempt":
                present[who] = event
    entries = sum(len(event.data["entries"]) for event in samples)
    return Finding(f"{entries} entries, each of a live candidate" if entries else "", breaks)


def _patience(traits: Traits) -> float:
    return traits.lease + traits.request_timeout + SCHEDULING


def handed_over(history: History, traits: Traits) -> Finding:
    """I10: after a resignation somebody leads at once."""
    breaks: list[Break] = []
    waits = []
    for resigned in history.of("resigned"):
        ended = [b for b in history.beliefs if b.who == resigned.who and b.since < resigned.at]
        if not ended or not _is_settled(history, traits, resigned.at):
            continue
        if any(b.since <= resigned.at < b.until for b in history.beliefs if b.who != resigned.who):
            continue  # that is I4: nobody takes over from a second leader, the first one leads
        after = [b for b in history.beliefs if b.since > resigned.at]
        until = min((b.since for b in after), default=history.end)
        wait = until - max(resigned.at, ended[-1].until)
        waits.append(wait)
        if wait > traits.handover:
            what = f"nobody led for {wait:.1f} s after a resignation"
            breaks.append((what, (resigned, *(b.began for b in after[:1]))))
    slowest = f"{len(waits)} resignations, the next leader within {max(waits, default=0):.3f} s"
    return Finding(slowest if waits else "", breaks)


def _is_settled(history: History, traits: Traits, at: float) -> bool:
    """Without faults for so long that whatever they did is over, and for as long as it takes."""
    return any(
        since + traits.failover <= at and at + traits.handover <= until
        for since, until in history.quiet
    )
