"""A store that grants too short a lease or answers too late, and one with a queue."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from leaderlock import BackendRefused, Capabilities, LeaderElector, LossReason
from leaderlock.backends.base import Attempt, Granted, Renewed, Waiting
from tests.elector.tools import Record, Store, eventually


class ShortLeases(Store):
    """Grants less than it was asked for."""

    campaigns = 0

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        self.campaigns += 1
        answer = super().campaign(attempt)
        return replace(answer, ttl=0.2) if isinstance(answer, Granted) else answer


def test_a_lease_too_short_to_lead_by_is_refused_with_the_numbers() -> None:
    elector = LeaderElector(ShortLeases(ttl=3.0), "e", stop_grace=0.2)
    with (
        pytest.raises(BackendRefused, match=r"lease of 0\.2 s.*stop_grace=0\.2"),
        elector.lead(timeout=10),
    ):
        pytest.fail("led by a lease that leaves nothing")


def test_useless_grants_are_not_asked_for_in_a_hot_loop() -> None:
    store = ShortLeases(ttl=3.0)
    with LeaderElector(store, "e", stop_grace=0.2):
        eventually(lambda: store.campaigns >= 3)
        threading.Event().wait(0.5)
        # Pauses of 0.1, 0.2, 0.4 ... and up to as much again in jitter: far from hundreds.
        assert store.campaigns < 30


class Shortens(Store):
    """Grants a long lease, then short ones within the term."""

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        return replace(super().renew(attempts), ttl=1.0)


def test_a_lease_that_the_store_has_shortened_ends_the_term_by_its_new_deadline() -> None:
    store, record = Shortens(ttl=120.0), Record()
    with LeaderElector(store, "e", heartbeat=0.2, on_lost=record.lost) as elector:
        assert elector.wait_elected(10)
        leadership = elector.leadership
        assert leadership is not None
        eventually(lambda: leadership.remaining() < 1.0)
        store.fail("renew")
        record.wait("lost", 1)  # and not when the lease of the beginning would have run out
        assert record.of("lost") == [LossReason.EXPIRED]


class Queue(Store):
    """Waiting candidates have a place that can be lost, and are renewed too."""

    def __init__(self) -> None:
        super().__init__(ttl=0.6)
        self.answered: set[str] = set()
        self.renewed: set[str] = set()
        self.renewed_early: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, renews_waiting=True)

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        threading.Event().wait(0.4)  # slow: two heartbeats pass meanwhile
        self.answered.add(attempt.attempt_id)
        return Waiting()

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        asked = {attempt.attempt_id for attempt in attempts}
        self.renewed |= asked
        self.renewed_early |= asked - self.answered
        return super().renew(attempts)  # TAKEN: it has lost its place


def test_a_waiting_attempt_is_renewed_only_when_the_store_has_given_it_a_place() -> None:
    store = Queue()
    with LeaderElector(store, "e"):
        eventually(lambda: len(store.renewed) >= 3)  # each lost place begins a new attempt
    assert not store.renewed_early
