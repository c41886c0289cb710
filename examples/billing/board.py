"""What is known of a run so far: terms, faults, progress, and what each server is doing."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from examples.billing.events import Event, Kind


class Fault(enum.StrEnum):
    """What the scenario does to a leader."""

    KILLED = "killed"
    PAUSED = "paused"
    RESIGNED = "resigned"


@dataclass(slots=True)
class Term:
    """One server's time as leader."""

    leader: str
    token: str
    began: float
    ended: float | None = None
    why: str = ""  # a Fault, or the elector's reason in lower case
    resumed: float | None = None  # of a paused leader: when it woke up
    asked: float = 0.0  # when the fault was done to it; 0.0 if none was


@dataclass(slots=True)
class Server:
    """What a server is doing, as far as the orchestrator can tell."""

    state: str = "starting"
    token: str = ""
    charges: int = 0


@dataclass(slots=True)
class Board:
    """The run so far. `saw` takes every event, `did` everything the scenario does."""

    due: int
    servers: dict[str, Server]
    settled: set[int] = field(default_factory=set)
    reconciled: set[int] = field(default_factory=set)
    terms: list[Term] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)  # servers whose work has not returned

    @property
    def progress(self) -> float:
        """Which part of the due customers is charged and recorded: 0.0 to 1.0."""
        return len(self.settled) / self.due

    def saw(self, event: Event) -> None:
        """Take in what a server told."""
        server = self.servers.get(event.server)
        if server is None:
            return  # the payment service has no part in the election
        term = self._term(event)
        match event.kind:
            case Kind.READY:
                server.state = "standing by"
            case Kind.ELECTED:
                self.terms.append(Term(event.server, event.token, event.at))
                self.unfinished.add(event.server)
                server.state, server.token = "leading", event.token
            case Kind.RECONCILED:
                self.settled.update(event.subscriptions)
                self.reconciled.update(event.subscriptions)
            case Kind.BATCH_STARTED if term is None:
                server.state = "working"
            case Kind.CHARGED:
                self.settled.update(event.subscriptions)
                server.charges += 1
            case Kind.FINISHED:
                server.state = "done"
            case Kind.WORK_ENDED:
                self.unfinished.discard(event.server)
            case Kind.LOST if term is not None:
                self._lost(event, server, term)
            case Kind.GONE:
                self.unfinished.discard(event.server)
                server.state = "killed" if server.state == "killed" else "ended"

    def did(self, fault: Fault, leader: str, at: float) -> Term:
        """Take in what the scenario did to the leader; returns the term that it ends."""
        term = next(term for term in reversed(self.terms) if term.leader == leader)
        term.why, term.asked = fault.value, at
        if fault is not Fault.RESIGNED:  # who resigns says itself when its term is over
            term.ended = at
            self.servers[leader].state = fault.value
        return term

    def woke(self, term: Term, at: float) -> None:
        """Take in that a paused leader goes on."""
        term.resumed = at
        self.servers[term.leader].state = "woken up"

    def mistimed(self, term: Term) -> None:
        """Forget a pause that came at a useless moment; the term was not ended by it."""
        term.why, term.asked, term.ended = "", 0.0, None
        self.servers[term.leader].state = "leading"

    def _term(self, event: Event) -> Term | None:
        of_this_token = (term for term in self.terms if term.token == event.token)
        return next(of_this_token, None) if event.token else None

    def _lost(self, event: Event, server: Server, term: Term) -> None:
        if term.ended is None:
            term.ended = event.at
            term.why = term.why or event.detail
        if server.token == event.token:
            server.state, server.token = "standing by", ""
