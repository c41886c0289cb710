"""The electors of a case, and what they were told."""

from __future__ import annotations

import threading

import pytest

from leaderlock.backends.base import Backend
from leaderlock.leadership import AnyLeadership
from leaderlock.machine import LossReason, State
from leaderlock.testing.conformance.fronts import FRONTS, Front
from leaderlock.testing.conformance.tools import new_name, prompt, until
from leaderlock.testing.faults import FaultyBackend
from leaderlock.testing.harness import BackendHarness

# How long a runtime may sleep, in real seconds, when a clock is moved under it.
_WATCHDOG_PERIOD = 1.0


class HistoryCases:
    """Cases of electors: each runs on both APIs."""

    @pytest.fixture(params=FRONTS)
    def history(self, harness: BackendHarness, request: pytest.FixtureRequest) -> History:
        """What the electors of the case are told."""
        return History(harness, request.param)


class History:
    """Notes, in order, what the electors of one election are told.

    Attributes:
        losses: how many in a row a long case is about.
    """

    def __init__(self, harness: BackendHarness, front: str) -> None:
        self.harness = harness
        self.election = new_name()
        self.losses = FRONTS[front].losses
        self._front = FRONTS[front]
        self.elected: list[AnyLeadership] = []
        self.lost: list[tuple[AnyLeadership, LossReason]] = []
        self._lock = threading.Lock()
        self._electors: list[Front] = []
        self._faults: list[str] = []

    def backend(self) -> Backend:
        """A client with short leases and timeouts."""
        return self.harness.new_backend(
            ttl=self.harness.short_ttl, request_timeout=self.harness.short_timeout
        )

    def faulty_backend(self) -> FaultyBackend:
        return FaultyBackend(self.backend())

    def elector(self, backend: Backend | None = None, candidate_id: str | None = None) -> Front:
        elector = self._front(
            backend or self.backend(),
            self.election,
            candidate_id=candidate_id,
            on_elected=self._note_elected,
            on_lost=self._note_lost,
        )
        self._electors.append(elector)
        return elector

    def must_elect(self, terms: int, within: float) -> None:
        """So many elections there have to be, all told."""
        until(
            lambda: len(self.elected) >= terms and self._anybody_leads(),
            within,
            f"term {terms} did not begin within {within:.3g} s: {self}",
        )

    def must_lose(self, terms: int, *reasons: LossReason) -> None:
        bound = _WATCHDOG_PERIOD + self.harness.slack
        until(
            lambda: len(self.lost) >= terms,
            bound,
            f"on_lost of term {terms} did not come by the deadline: {self}",
        )
        reason = self.lost[terms - 1][1]
        assert not reasons or reason in reasons, f"term {terms} was lost as {reason}: {self}"

    def must_wait(self, elector: Front) -> None:
        """Until the store has told it that it has to wait."""
        candidate = elector.elector._candidate
        until(
            lambda: candidate.answered and candidate.state is State.CAMPAIGNING,
            self.harness.patience,
            f"{elector} did not get an answer",
        )

    def must_renew(self, faulty: FaultyBackend) -> None:
        """Wait for a renewal that has begun from now on and has been answered."""
        begun = faulty.calls["renew"]
        until(
            lambda: faulty.calls["renew"] >= begun + 2,
            self.harness.patience,
            "renewals do not go on any more",
        )

    def must_be_sound(self) -> None:
        """At the end, with all electors stopped."""
        until(
            lambda: len(self.lost) >= len(self.elected),
            _WATCHDOG_PERIOD + self.harness.slack,
            f"a term has ended without on_lost: {self}",
        )
        assert [leadership for leadership, _ in self.lost] == self.elected, (
            f"each term needs exactly one on_lost, in order: {self}"
        )
        tokens = [leadership.token for leadership in self.elected]
        assert tokens == sorted(tokens) and len(set(tokens)) == len(tokens), (
            f"tokens do not strictly rise: {self}"
        )
        assert not self._faults, self._faults[0]

    def _note_elected(self, leadership: AnyLeadership) -> None:
        with self._lock:
            believers = [elector for elector in self._electors if elector.is_leader]
            if len(believers) > 1:
                self._faults.append(f"two electors believe to lead at one time: {believers}")
            self.elected.append(leadership)

    def _note_lost(self, leadership: AnyLeadership, reason: LossReason) -> None:
        with self._lock:
            self.lost.append((leadership, reason))

    def _anybody_leads(self) -> bool:
        return any(elector.is_leader for elector in self._electors)

    def __repr__(self) -> str:
        lost = [(leadership.token.value, reason.name) for leadership, reason in self.lost]
        return f"elected {[term.token.value for term in self.elected]}, lost {lost}"


def longest_take_over(harness: BackendHarness, elector: Front) -> float:
    """In real seconds, once the term is free: to notice it, and to ask again."""
    timing, backend = elector.elector.timing, elector.elector._client.runtime().backend
    return timing.max_backoff + 2 * timing.request_timeout + prompt(harness, backend)
