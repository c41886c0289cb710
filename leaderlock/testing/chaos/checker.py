"""Decides from a log which invariants have held. Pure: events in, verdicts out.

Every rule errs on one side: what it calls a violation is one, whatever the scheduler of the machine
did. It reads beliefs at their shortest (see `events`), and knows the order of two things only where
one was certainly over before the other began.
"""

from __future__ import annotations

from collections.abc import Iterable

from leaderlock.testing.chaos import liveness, safety
from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.finding import Rule
from leaderlock.testing.chaos.finding import Traits as Traits
from leaderlock.testing.chaos.history import History
from leaderlock.testing.chaos.verdicts import Status, Verdict

RULES: dict[str, tuple[str, Rule]] = {
    "I1": ("no older term writes after a newer one", safety.writes_in_order),
    "I2": ("a token belongs to one attempt", safety.tokens_unique),
    "I3": ("every later term has a higher token", safety.tokens_rise),
    "I4": ("no two believe to lead at the same time", safety.one_leader),
    "I5": ("every term is lost once, in time", safety.lost_once_in_time),
    "I6": ("somebody leads when the faults are over", liveness.somebody_leads),
    "I7": ("nothing is left in the store", liveness.nothing_left),
    "I8": ("nobody is queued who does not live", liveness.nobody_dead_queued),
    "I9": ("nobody is elected without a quorum", safety.elected_by_quorum),
    "I10": ("a resignation hands over at once", liveness.handed_over),
}


def check(events: Iterable[Event], traits: Traits) -> tuple[Verdict, ...]:
    """One verdict for each invariant."""
    history = History(events)
    return tuple(_judge(name, history, traits) for name in RULES)


def _judge(name: str, history: History, traits: Traits) -> Verdict:
    title, rule = RULES[name]
    if name in traits.not_applicable:
        return Verdict(name, title, Status.NOT_APPLICABLE, "says nothing about it")
    finding = rule(history, traits)
    if breaks := finding.breaks or finding.excused:
        promised = finding.breaks and name not in traits.reported
        text, example = breaks[0]
        more = f" (and {len(breaks) - 1} more)" if len(breaks) > 1 else ""
        status = Status.VIOLATED if promised else Status.REPORTED
        return Verdict(name, title, status, text + more, example)
    if not finding.seen:
        return Verdict(name, title, Status.NOT_APPLICABLE, "nothing happened that it speaks of")
    return Verdict(name, title, Status.HELD, finding.seen)
