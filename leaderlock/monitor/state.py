"""What a monitor has seen, and what is alarming in it. Pure: it is told the time with everything.

Nothing here grows without a bound. What is not known is not guessed: while the store gives no
answer nobody is called leaderless, and what was read before is shown as what it is.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from leaderlock.monitor.alarms import Alarm, Alarms, Key, Kind
from leaderlock.monitor.beliefs import DRIFT, FRESH, Beliefs
from leaderlock.monitor.report import Report, Row
from leaderlock.observer import LeaderInfo
from leaderlock.tokens import FencingToken

MOST_TERMS = 100
"""Of one election: the length of its timeline."""

MOST_OUTAGES = 50
MOST_NODES = 1000
MOST_PROBLEMS = 32
HOLD = 60.0
"""Seconds for which what has happened at one moment stays an alarm, so that somebody sees it."""

_FORGET = 24 * 3600.0
_LARGEST_METADATA = 4096
_DEEPER = 100


@dataclass(slots=True)
class Term:
    """A term, as the store shows it.

    Attributes:
        began: when it was seen first.
        is_whole: it was seen to begin; otherwise it has lasted for longer.
        ended: when it was seen to be over; None: it lasts.
    """

    candidate: str
    token: FencingToken
    began: float
    is_whole: bool
    ended: float | None = None


@dataclass(slots=True)
class Problem:
    """What the health of a candidate has complained of last."""

    text: str
    leads: bool
    until: float


class Election:
    """One election.

    Attributes:
        is_named: the operator has named it; otherwise it was found.
        is_stored: the store has it; otherwise it is known from what nodes report.
        version: that of the state when anything of it changed.
        leader: as the store has told; None: nobody.
        read_at: when the store has told first; None: not yet.
        failing: why the store does not tell, while it does not.
        gone_at: since when nobody leads.
    """

    def __init__(self, name: str, *, is_named: bool, now: float) -> None:
        self.name = name
        self.is_named = is_named
        self.is_stored = is_named
        self.version = 0
        self.leader: LeaderInfo | None = None
        self.read_at: float | None = None
        self.failing: str | None = None
        self.gone_at: float | None = None
        self.known_at = now  # the last sign of life of it
        self.has_led = False
        self.terms: deque[Term] = deque(maxlen=MOST_TERMS)
        self.term_count = 0
        self.beliefs = Beliefs()
        self.problems: dict[str, Problem] = {}
        self._highest: FencingToken | None = None
        self._regression: tuple[str, float | None] | None = None  # and until when it is shown

    # What the store says

    def see(self, info: LeaderInfo | None, now: float) -> bool:
        """The store has told who leads. Returns whether there is anything new to show."""
        if info is not None:
            info = LeaderInfo(info.candidate_id, info.token, _bounded(info.metadata))
        is_first = self.read_at is None
        is_new = is_first or self.failing is not None or self.leader != info
        if is_first:
            self.read_at = now
        self.failing = None
        if info is None:
            if self.leader is not None or self.gone_at is None:
                self.gone_at = now
            self._close(now)
        else:
            self._compare(info, now)
            self._open(info, now, is_whole=not is_first)
            self.gone_at = None
            self.has_led = self.is_stored = True
            self.known_at = now
        self.leader = info
        return is_new

    def fail(self, why: str) -> None:
        """The store does not tell."""
        self.failing = why

    def resume(self, now: float) -> None:
        """The store tells again. Nobody knows whether anybody has led in between."""
        if self.gone_at is not None:
            self.gone_at = now

    @property
    def present_term(self) -> Term | None:
        """The one that lasts."""
        return self.terms[-1] if self.terms and self.terms[-1].ended is None else None

    def _open(self, info: LeaderInfo, now: float, *, is_whole: bool) -> None:
        term = self.present_term
        if term is not None and (term.token, term.candidate) == (info.token, info.candidate_id):
            return
        self._close(now)
        self.terms.append(Term(info.candidate_id, info.token, now, is_whole))
        self.term_count += 1

    def _close(self, now: float) -> None:
        if (term := self.present_term) is not None:
            term.ended = now

    def _compare(self, info: LeaderInfo, now: float) -> None:
        """A token of a later term has to be higher than those before."""
        token, highest = info.token, self._highest
        if highest is None:
            self._highest = token
            return
        number, top = (token.epoch, token.value), (highest.epoch, highest.value)
        same_term = self.leader is not None and self.leader.candidate_id == info.candidate_id
        why = None
        if token.epoch == highest.epoch and token.source != highest.source:
            why = f"{info.candidate_id!r} leads under a token of another store than before"
        elif number < top:
            why = f"{info.candidate_id!r} leads under token {token}, after token {highest}"
        elif number == top and not same_term and self.leader is not None:
            why = f"{info.candidate_id!r} leads under token {token}, which another term has had"
        if why is not None:
            self._regression = (f"{why}: the store has lost data. Raise the epoch", None)
        elif number > top:
            self._highest = token
            if self._regression is not None and self._regression[1] is None:
                self._regression = (self._regression[0], now + HOLD)

    # What nodes say

    def tell(self, report: Report, row: Row, echo: float | None, now: float) -> bool:
        """A node reports one candidate. Returns whether there is anything new to show."""
        self.known_at = now
        silent_at = now + max(FRESH, FRESH * report.interval)
        is_new = self._note_problem(row, silent_at)
        if row.token is None:
            return is_new
        belief = self.beliefs.of(report.node, report.store, row.candidate, row.token)
        is_new |= not belief.told_at
        before = belief.shown
        belief.narrow(row.since, row.until, echo, now)
        belief.told_at, belief.silent_at = now, silent_at
        belief.over, belief.problem, belief.is_stale = row.over, row.problem, False
        overlap = self.beliefs.overlap
        self.beliefs.compare(belief, now)
        return is_new or before != belief.shown or self.beliefs.overlap is not overlap

    def _note_problem(self, row: Row, until: float) -> bool:
        known = self.problems.get(row.candidate)
        if row.over is not None and known is not None and not known.leads:
            return False  # of the candidate as it is now
        if not row.problem or row.over is not None:
            return self.problems.pop(row.candidate, None) is not None
        if known is None and len(self.problems) >= MOST_PROBLEMS:
            return False
        self.problems[row.candidate] = Problem(row.problem, row.token is not None, until)
        return known is None or known.text != row.problem

    def settle(self, now: float) -> bool:
        """Note who has gone silent. Returns whether anything has changed."""
        changed = False
        for belief in self.beliefs:
            if belief.is_open and now > belief.silent_at:
                belief.is_stale = changed = True
        for candidate, problem in list(self.problems.items()):
            if now > problem.until:  # a candidate that is well is not reported
                del self.problems[candidate]
                changed = True
        self.beliefs.forget(now - _FORGET)
        return changed

    # What is wrong

    def conditions(self, now: float, leaderless: float) -> Iterator[tuple[Key, str]]:
        """What is alarming in it.

        Args:
            leaderless: seconds that nobody may lead; 0: for ever.
        """
        overlap = self.beliefs.overlap
        if overlap is not None and now < overlap.seen_at + HOLD:
            yield (Kind.SPLIT_BRAIN, self.name), str(overlap)
        if self._regression is not None:
            why, until = self._regression
            if until is None or now < until:
                yield (Kind.TOKEN_REGRESSED, self.name), why
        if self.is_leaderless(now, leaderless):
            yield (Kind.LEADERLESS, self.name), f"nobody has led for more than {leaderless:g} s"
        for kind, leads in (Kind.LEADER_FAILING, True), (Kind.CANDIDATE_FAILING, False):
            told = [f"{c!r}: {p.text}" for c, p in self.problems.items() if p.leads is leads]
            if told:
                more = f" (and {len(told) - 1} more)" if told[1:] else ""
                yield (kind, self.name), told[0] + more

    def is_leaderless(self, now: float, limit: float) -> bool:
        """Whether nobody has led for too long. One that was found by itself may have had its day:
        somebody must have led it, or want to, while the monitor looks."""
        if not limit or self.gone_at is None or now - self.gone_at < limit:
            return False
        return self.is_named or self.has_led or bool(self.problems)

    @property
    def is_idle(self) -> bool:
        """Whether it may be forgotten for another one."""
        in_use = self.is_named or self.leader is not None or self.has_led or self.read_at is None
        return not (in_use or any(belief.is_open for belief in self.beliefs))

    def may_go(self, *, for_stored: bool) -> bool:
        """Whether it may be forgotten for another one, which the store has or only nodes report."""
        if self.is_stored:
            return for_stored and self.is_idle
        return for_stored or self.is_idle

    def as_json(self) -> dict[str, Any]:
        """For the page and for programs."""
        leader, term = self.leader, self.present_term
        reasons = {str(b.token): b.over for b in self.beliefs if b.over is not None}
        return {
            "name": self.name,
            "leader": None
            if leader is None
            else {
                "candidate": leader.candidate_id,
                "token": str(leader.token),
                "epoch": leader.token.epoch,
                "value": str(leader.token.value),
                "source": leader.token.source,
                "metadata": leader.metadata,
                "since": None if term is None else term.began,
                "since_is_exact": term is not None and term.is_whole,
            },
            "known": self.read_at is not None,
            "failing": self.failing,
            "gone_at": self.gone_at,
            "terms": [
                {
                    "candidate": term.candidate,
                    "token": str(term.token),
                    "began": term.began,
                    "whole": term.is_whole,
                    "ended": term.ended,
                    "reason": reasons.get(str(term.token)),
                }
                for term in self.terms
            ],
            "beliefs": [belief.as_json() for belief in self.beliefs],
            "overlap": None
            if (overlap := self.beliefs.overlap) is None
            else {"since": overlap.since, "until": overlap.until},
        }


def _bounded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata that a candidate of ours can show; what else writes there may show more."""
    try:
        deeper: Any = dict(metadata)  # to be compared, and encoded as a part of more
        for _ in range(_DEEPER):
            deeper = [deeper]
        is_short = len(json.dumps(deeper, allow_nan=False)) <= _LARGEST_METADATA + 2 * _DEEPER
    except (TypeError, ValueError, RecursionError):
        is_short = False
    return dict(metadata) if is_short else {"leaderlock": "these metadata cannot be shown"}


@dataclass(slots=True)
class Outage:
    """The store gave no answer."""

    began: float
    ended: float | None = None


class State:
    """Everything that a monitor knows.

    Args:
        namespace: whose elections they are.
        leaderless: seconds that nobody may lead before it is an alarm; 0: never one.
        most: how many elections are kept.
        only_named: keep those that the operator has named, whatever nodes report.

    Attributes:
        version: goes up with every change.
        removed: the version when an election was removed last.
        left_out: how many elections there were too many at the last listing.
    """

    def __init__(
        self, namespace: str, *, leaderless: float, most: int, only_named: bool = False
    ) -> None:
        self.namespace = namespace
        self.leaderless = leaderless
        self.most = most
        self.only_named = only_named
        self.elections: dict[str, Election] = {}
        self.alarms = Alarms()
        self.outages: deque[Outage] = deque(maxlen=MOST_OUTAGES)
        self.nodes: OrderedDict[str, float] = OrderedDict()
        self.version = 1
        self.removed = 0
        self.left_out = 0
        self._spare: list[Election] = []  # at the last look, if it was full; who goes first last
        self.reports = 0
        self.store_error: str | None = None
        self.answered_at: float | None = None

    def _changed(self, election: Election | None = None) -> None:
        self.version += 1
        if election is not None:
            election.version = self.version

    # What there is

    def add(
        self, name: str, now: float, *, is_named: bool = False, is_stored: bool = False
    ) -> bool:
        """Keep an election. False: there is no room for it.

        What the store has goes before what nodes report: whoever may report can make up names.
        """
        known = self.elections.get(name)
        if known is not None:
            known.is_stored |= is_stored
            return True
        if self.only_named and not is_named:
            return False
        if len(self.elections) >= self.most and not self._make_room(is_stored=is_stored):
            return False
        self.elections[name] = election = Election(name, is_named=is_named, now=now)
        election.is_stored |= is_stored
        self._changed(election)
        return True

    def _make_room(self, *, is_stored: bool) -> bool:
        # Not looked for here: thousands may be too many, and be told of again and again.
        while self._spare:
            election = self._spare[-1]
            if self.elections.get(election.name) is election and election.may_go(for_stored=True):
                if not election.may_go(for_stored=is_stored):
                    return False
                self._remove(election.name)
                return True
            self._spare.pop()
        return False

    def _remove(self, name: str) -> None:
        del self.elections[name]
        self._changed()
        self.removed = self.version

    def listed(self, names: Set[str], now: float) -> None:
        """The store has listed its elections."""
        for name in names:
            self.add(name, now, is_stored=True)
        # At the end: one of them may have had to go for another one.
        self.left_out = len(names - self.elections.keys())
        for election in list(self.elections.values()):
            if election.name in names:
                continue
            gone = not election.is_named and election.leader is None
            if gone and now > election.known_at + _FORGET:
                self._remove(election.name)

    # What the store says

    def see(self, name: str, info: LeaderInfo | None, now: float) -> None:
        """The store has told who leads."""
        election = self.elections.get(name)
        if election is not None and election.see(info, now):
            self._changed(election)

    def fail(self, name: str, why: str) -> None:
        """The store does not tell who leads this election."""
        election = self.elections.get(name)
        if election is not None and election.failing is None:
            election.fail(why)
            self._changed(election)

    def store_answers(self, now: float) -> bool:
        """The store has answered. Returns whether it did not before."""
        self.answered_at = now
        if self.store_error is None:
            return False
        self.store_error = None
        if self.outages and self.outages[-1].ended is None:
            self.outages[-1].ended = now
        for election in self.elections.values():
            election.resume(now)
        self._changed()
        return True

    def store_fails(self, why: str, now: float) -> None:
        """The store has not answered."""
        if self.store_error is None:
            self.outages.append(Outage(now))
        if self.store_error != why:
            self.store_error = why
            self._changed()

    # What nodes say

    def tell(self, report: Report, monitor: str, now: float) -> bool:
        """A node has reported. Returns whether there are elections that were not known."""
        self.reports += 1
        self.nodes[report.node] = now + max(FRESH, FRESH * report.interval)
        self.nodes.move_to_end(report.node)
        while len(self.nodes) > MOST_NODES:
            self.nodes.popitem(last=False)
        echo = None
        if report.echo is not None and report.echo[0] == monitor:
            _, stamp, age = report.echo
            echo = min(now, stamp + age - DRIFT * age)
        found = False
        for row in report.rows:
            is_known = row.election in self.elections
            if not self.add(row.election, now):
                continue
            found |= not is_known
            election = self.elections[row.election]
            if election.tell(report, row, echo, now):
                self._changed(election)
        return found

    # What is wrong

    def tick(self, now: float) -> list[Alarm]:
        """Look at everything. Returns the alarms that were raised or resolved."""
        conditions = dict(self._conditions(now))
        for node, silent_at in list(self.nodes.items()):
            if now > silent_at:
                del self.nodes[node]
        is_full = len(self.elections) >= self.most
        spare = [e for e in self.elections.values() if is_full and e.may_go(for_stored=True)]
        spare.sort(key=lambda e: (e.is_stored, not e.is_idle, e.known_at), reverse=True)
        self._spare = spare
        changes = list(self.alarms.update(conditions, now))
        if changes:
            self._changed()
        return changes

    def _conditions(self, now: float) -> Iterable[tuple[Key, str]]:
        unknown = self.store_error is not None
        if unknown:
            yield (Kind.STORE_UNREACHABLE, ""), f"no answer from the store: {self.store_error}"
        for election in self.elections.values():
            if election.settle(now):
                self._changed(election)
            if election.failing is not None and not unknown:
                yield (Kind.STORE_UNREACHABLE, election.name), election.failing
            for key, why in election.conditions(now, self.leaderless):
                is_guess = key[0] is Kind.LEADERLESS and (unknown or election.failing is not None)
                if not is_guess or key in self.alarms.present:
                    yield key, why

    def as_json(self, now: float, since: int = 0) -> dict[str, Any]:
        """What has changed since a version, for the page; all of it, for programs."""
        is_whole = since <= self.removed
        elections = [
            election.as_json()
            for election in self.elections.values()
            if is_whole or election.version > since
        ]
        return {
            "version": self.version,
            "now": now,
            "whole": is_whole,
            "store": {
                "error": self.store_error,
                "answered_at": self.answered_at,
                "outages": [{"began": o.began, "ended": o.ended} for o in self.outages],
            },
            "nodes": len(self.nodes),
            "left_out": self.left_out,
            "alarms": [alarm.as_json() for alarm in self.alarms.present.values()],
            "past_alarms": [alarm.as_json() for alarm in self.alarms.past],
            "elections": elections,
        }
