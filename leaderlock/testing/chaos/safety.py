"""The invariants that say what must never happen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.finding import SCHEDULING, Break, Finding, Traits, in_order
from leaderlock.testing.chaos.history import History, excused, overlap


def writes_in_order(history: History, traits: Traits) -> Finding:
    """I1: once a newer term has written, no older one does."""
    accepted = history.of("accepted", who="resource")
    writes = {(e.who, e.data["number"]): e for e in history.of("writes")}
    breaks: list[Break] = []
    highest: Event | None = None
    over: dict[object, Event] = {}  # the last write of each term that another one has followed
    for event in accepted:
        sent = writes.get((event.data["by"], event.data["number"]))
        if sent is None or sent.data["token"] != event.data["token"]:
            breaks.append(("a write was accepted that no term has sent", (event,)))
            continue
        if highest is not None:
            before, now = _term(history, highest, writes), _term(history, event, writes)
            if before != now:
                over[before] = highest
            if now in over:
                what = "an older term wrote after a newer one"
                breaks.append((what, (over[now], highest, event)))
            elif _token(event) is not None and _token(event) < (_token(highest) or 0):
                breaks.append(("a lower token was accepted after a higher one", (highest, event)))
        highest = event
    refused = len(history.of("refused", who="resource"))
    seen = f"{len(accepted)} writes accepted, {refused} refused" if accepted else ""
    return Finding(seen, breaks)


def _term(history: History, accepted: Event, writes: dict[tuple[str, int], Event]) -> object:
    """What tells the term of a write from others: its token, or the belief that it was sent in."""
    by, token = accepted.data["by"], accepted.data["token"]
    if token is not None:
        return by, token
    sent = writes[by, accepted.data["number"]].at
    return by, max((b.since for b in history.beliefs if b.who == by and b.since <= sent), default=0)


def _token(event: Event) -> int:
    return event.data["token"]  # type: ignore[no-any-return]


def tokens_unique(history: History, traits: Traits) -> Finding:
    """I2: every token belongs to one candidate and one attempt."""
    owners: dict[int, Event] = {}
    breaks: list[Break] = []
    for event in history.of("elected", "leads"):
        token = event.data["token"]
        if token is None:
            continue
        first = owners.setdefault(token, event)
        if first.who != event.who or _differ(first.data.get("attempt"), event.data.get("attempt")):
            breaks.append((f"token {token} was given out twice", (first, event)))
        elif "attempt" in event.data and "attempt" not in first.data:
            owners[token] = event
    return Finding(f"{len(owners)} tokens, each of one attempt" if owners else "", breaks)


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def tokens_rise(history: History, traits: Traits) -> Finding:
    """I3: whoever leads later has a higher token."""
    beliefs = [belief for belief in history.beliefs if belief.token is not None]
    breaks: list[Break] = []
    excuses: list[Break] = []
    for later in beliefs:
        # Began certainly after this one: it was still seen not to lead.
        before = [b for b in beliefs if b.since < later.not_before]
        highest = max(before, key=lambda b: b.token or 0, default=None)
        if highest is None or (later.token or 0) > (highest.token or 0):
            continue
        what = f"token {later.token} was elected after {highest.token}"
        found = excuses if _excused(history, traits, "I3", later.since) else breaks
        found.append((what, (highest.began, later.began)))
    return Finding(f"{len(beliefs)} terms, each higher" if beliefs else "", breaks, excuses)


def one_leader(history: History, traits: Traits) -> Finding:
    """I4: no two believe at the same time."""
    breaks: list[Break] = []
    excuses: list[Break] = []
    for one, other in combinations(history.beliefs, 2):
        both = overlap(one, other) if one.who != other.who else None
        if both is None:
            continue
        since, until = both
        what = f"{one.who} and {other.who} believed to lead for {until - since:.3f} s"
        found = excuses if _excused(history, traits, "I4", since) else breaks
        found.append((what, in_order(one.began, other.began, one.last, other.last)))
    many = len(history.beliefs)
    return Finding(f"{many} beliefs, none at the same time" if many else "", breaks, excuses)


def _excused(history: History, traits: Traits, invariant: str, at: float) -> bool:
    return excused(history.faults, invariant, at, traits.belief_window) is not None


def lost_once_in_time(history: History, traits: Traits) -> Finding:
    """I5: every election has one loss, and no belief outlasts its window in silence."""
    breaks = [b for who, told in history.elections().items() for b in _told(history, who, told)]
    breaks += _lost_late(history) + _believed_in_silence(history, traits)
    terms = len(history.of("elected"))
    return Finding(f"{terms} terms, each lost once and in time" if terms else "", breaks)


def _told(history: History, who: str, told: Sequence[Event]) -> list[Break]:
    """Elections and losses alternate, each pair of one term, and none is missing at the end."""
    breaks: list[Break] = []
    open_: Event | None = None  # the election whose loss is due
    for event in told:
        if event.what == "elected":
            if open_ is not None:
                breaks.append((f"{who} was elected twice without a loss", (open_, event)))
            open_ = event
        else:
            if open_ is None or open_.data["token"] != event.data["token"]:
                example = (event,) if open_ is None else (open_, event)
                breaks.append((f"{who} lost a term that it did not have", example))
            open_ = None
    if open_ is not None and (stopped := history.of("stopped", who=who)):
        breaks.append((f"{who} was never told of the end", (open_, stopped[-1])))
    return breaks


def _lost_late(history: History) -> list[Break]:
    """`on_lost` comes with the end of the belief, but for what the process itself was held up."""
    told = {(e.who, e.data["token"]): e for e in history.of("lost")}
    elected = {(e.who, e.data["token"]) for e in history.of("elected")}
    breaks: list[Break] = []
    for belief in history.beliefs:
        term = belief.who, belief.token
        lost = told.get(term)
        if not belief.ended or term not in elected or lost is None:
            continue
        ended = belief.last.at
        held_up = sum(
            min(fault.healed, lost.at) - max(fault.since, ended)
            for fault in history.faults
            if fault.target == belief.who and fault.touches(ended, lost.at)
        )
        if (late := lost.at - ended - held_up) > SCHEDULING:
            breaks.append((f"{belief.who} was told {late:.1f} s late", (belief.last, lost)))
    return breaks


def _believed_in_silence(history: History, traits: Traits) -> list[Break]:
    """A belief that lasts longer than the window although nothing can have been heard."""
    breaks: list[Break] = []
    for belief in history.beliefs:
        silences = [
            (f.since, f.healed, (f.began,))
            for f in history.faults
            if f.silences and belief.who in f.whom
        ] + [(since, until, ()) for since, until in history.outages]
        for since, until, example in silences:
            lasted = min(belief.until, until) - since
            if belief.since <= until and lasted > traits.belief_window + SCHEDULING:
                what = f"{belief.who} believed to lead for {lasted:.1f} s without an answer"
                breaks.append((what, in_order(belief.began, *example, belief.last)))
    return breaks


def elected_by_quorum(history: History, traits: Traits) -> Finding:
    """I9: nobody is elected who cannot hear a quorum."""
    breaks: list[Break] = []
    outages = history.outages
    for belief in history.beliefs:
        silences = [
            (f.since, f.healed) for f in history.faults if belief.who in f.whom and f.silences
        ]
        for since, until in [*outages, *silences]:
            late = since + traits.request_timeout + SCHEDULING
            if late < belief.not_before and belief.since < until:
                what = f"{belief.who} was elected while no quorum could be heard"
                marks = [e for e in history.of("quorum", "fault") if e.at == since]
                breaks.append((what, (*marks, belief.began)))
    many = len(outages) + sum(fault.silences for fault in history.faults)
    return Finding(f"nobody elected in {many} silences" if many else "", breaks)
