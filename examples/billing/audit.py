"""The audit: who was charged how often, who led when, and what that means.

The customers are counted in the payment service's ledger and in the subscriptions database after
all processes have ended, and not from what the servers told.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass

from examples.billing.board import Board, Fault, Term
from examples.billing.events import short
from examples.billing.ledger import Decision
from examples.billing.scenario import Outcome
from examples.billing.settings import Mode
from leaderlock.url import StoreURL


@dataclass(frozen=True, slots=True)
class TermLine:
    """One line of the table of terms; times in seconds from the start of the servers."""

    leader: str
    token: str
    began: float
    ended: float
    charges: int
    refused: int
    why: str
    explanation: str


@dataclass(frozen=True, slots=True)
class FailOver:
    """How long it took from the end of one leader to the election of the next."""

    fault: str
    leader: str
    successor: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Customers:
    """How often they were charged; `not_due` were charged and should not have been at all."""

    due: int
    once: int
    twice_or_more: int
    never: int
    not_due: int
    not_recorded: int


@dataclass(frozen=True, slots=True)
class Report:
    """All of it, ready to be printed."""

    ok: bool
    mode: str
    store: str
    ttl: float
    seconds: float
    subscriptions: int
    terms: list[TermLine]
    failovers: list[FailOver]
    charges_accepted: int
    charges_refused: int
    reconciled: int
    cents_due: int
    cents_charged: int
    customers: Customers
    problems: list[str]
    explanation: str

    def as_json(self) -> dict[str, object]:
        """The same as plain dicts and lists."""
        return asdict(self)


def audit(outcome: Outcome) -> Report:
    """Count, compare, and judge."""
    customers = _count(outcome)
    problems = _problems(outcome, customers)
    board = outcome.board
    return Report(
        ok=not problems,
        mode=outcome.settings.mode.value,
        store=str(StoreURL.parse(outcome.settings.url)),  # masked,
        ttl=outcome.settings.ttl,
        seconds=round(outcome.ended - outcome.began, 3),
        subscriptions=len(outcome.subscriptions),
        terms=[_line(term, outcome) for term in board.terms],
        failovers=_failovers(board),
        charges_accepted=len(outcome.accepted),
        charges_refused=len(outcome.refused),
        reconciled=len(board.reconciled),
        cents_due=sum(subscription.cents for subscription in outcome.due),
        cents_charged=sum(decision.charge.cents for decision in outcome.accepted),
        customers=customers,
        problems=problems,
        explanation=_explanation(outcome, customers),
    )


def _count(outcome: Outcome) -> Customers:
    times = Counter(decision.charge.subscription for decision in outcome.accepted)
    due = {subscription.id: subscription for subscription in outcome.due}
    often = Counter(min(times[number], 2) for number in due)
    present = {subscription.id: subscription for subscription in outcome.subscriptions}
    return Customers(
        due=len(due),
        once=often[1],
        twice_or_more=often[2],
        never=often[0],
        not_due=sum(1 for number in times if number not in due),
        not_recorded=sum(1 for each in due.values() if present[each.id] != each.renewed()),
    )


def _problems(outcome: Outcome, customers: Customers) -> list[str]:
    found = {
        "customers were charged more than once": customers.twice_or_more,
        "customers were never charged": customers.never,
        "customers were charged who were not due": customers.not_due,
        "customers' renewals are not recorded": customers.not_recorded,
    }
    cut_short = [f"the run was cut short: {outcome.failure}"] if outcome.failure else []
    return cut_short + [f"{count} {what}" for what, count in found.items() if count]


def _line(term: Term, outcome: Outcome) -> TermLine:
    ended = outcome.ended if term.ended is None else term.ended
    return TermLine(
        leader=term.leader,
        token=term.token,
        began=round(term.began - outcome.began, 3),
        ended=round(ended - outcome.began, 3),
        charges=len(_of(term, outcome.accepted)),
        refused=len(_of(term, outcome.refused)),
        why=term.why,
        explanation=_why(term, outcome),
    )


def _why(term: Term, outcome: Outcome) -> str:
    match term.why:
        case Fault.KILLED:
            return "killed (SIGKILL)"
        case Fault.PAUSED if term.resumed is not None and term.ended is not None:
            late = len(_late(term, outcome.accepted))
            then = f"; then made {_plural(late, 'late charge')}" if late else ""
            return f"paused (SIGSTOP) for {term.resumed - term.ended:.1f} s{then}"
        case Fault.RESIGNED:
            return "resigned when asked to"
        case "stopped":
            return "stopped: all was charged"
        case _:
            return term.why or "led to the end"


def _of(term: Term, decisions: list[Decision]) -> list[Decision]:
    return [decision for decision in decisions if decision.charge.token == term.token]


def _late(term: Term, decisions: list[Decision]) -> list[Decision]:
    """What a paused leader went on to do when it had woken up."""
    woke = math.inf if term.resumed is None else term.resumed
    return [decision for decision in _of(term, decisions) if decision.at > woke]


def _failovers(board: Board) -> list[FailOver]:
    """Per fault, from the fault itself: for a resign that includes ending the batch in hand."""
    found = []
    for term, successor in zip(board.terms, board.terms[1:], strict=False):
        gone = term.asked or term.ended
        if gone is not None:
            seconds = round(successor.began - gone, 3)
            found.append(FailOver(term.why, term.leader, successor.leader, seconds))
    return found


def _explanation(outcome: Outcome, customers: Customers) -> str:
    """What the outcome shows, in words."""
    if outcome.failure:
        return "The run was cut short, so the numbers show how far it came and nothing else."
    match outcome.settings.mode:
        case Mode.NO_ELECTION:
            return (
                "Four servers did the same work at the same time. Each read the list of what was"
                " due before the others had recorded their charges, so the same customers were"
                f" charged by several servers: {_plural(_surplus(outcome), 'charge')} too many."
                " Nobody had decided which one of them was to do it. That is what an election is"
                " for."
            )
        case Mode.NO_FENCE:
            return _explain_missing_fence(outcome)
        case Mode.FENCED if customers.once == customers.due:
            return _explain_success(outcome)
        case _:
            return "The fence was up, and yet not everybody was charged exactly once."


def _explain_success(outcome: Outcome) -> str:
    found = len(outcome.board.reconciled)
    return (
        "One leader at a time did the work, and the fence refused"
        f" {_plural(len(outcome.refused), 'charge')} of leaders whose term was over. Each term"
        " raised the fence first and read the payment service's ledger second. That way it found"
        f" {_plural(found, 'charge')} that a predecessor had made but not recorded, and did not"
        f" make {'it' if found == 1 else 'them'} again."
    )


def _explain_missing_fence(outcome: Outcome) -> str:
    paused = next((term for term in outcome.board.terms if term.why == Fault.PAUSED), None)
    if paused is None or paused.resumed is None or paused.ended is None:
        return "The payment service accepted any token, but no leader was paused and woken up."
    successor = next(term for term in outcome.board.terms if term.began > paused.ended)
    late = len(_late(paused, outcome.accepted))
    others = _surplus(outcome) - late
    on_their_way = (
        f" ({_plural(others, 'more double charge')} came from a request that was still on its way"
        " when its leader was killed.)"
        if others > 0
        else ""
    )
    return (
        f"{paused.leader} was paused in the middle of a batch for"
        f" {paused.resumed - paused.ended:.1f} s. Meanwhile {successor.leader} was elected and"
        f" charged the rest of that batch. When {paused.leader} woke up, it went on where it had"
        f" stood and made {_plural(late, 'charge')} a second time.{on_their_way} It had checked"
        " that it leads before the batch, but a pause fits between any check and the charge after"
        " it, so no check could have prevented this. The payment service could have: token"
        f" {short(paused.token)} is lower than token {short(successor.token)}, and with its fence"
        " up it refuses the lower one."
    )


def _surplus(outcome: Outcome) -> int:
    charged = [decision.charge.subscription for decision in outcome.accepted]
    return len(charged) - len(set(charged))


def _plural(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
