"""health(): what a probe is told of a leader that cannot renew, and of a candidate out of line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from leaderlock import Capabilities, Client, LeaderElector, LossReason
from leaderlock.backends.base import Attempt, Granted, Renewal, Renewed, Waiting
from leaderlock.telemetry.events import Event, PlaceLost
from leaderlock.testing import FakeClock, FaultyBackend
from tests.elector.tools import PATIENCE, Store, eventually

Clients = Callable[..., Client]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Store:
    return Store(clock=clock)


def leading(client: Client) -> LeaderElector:
    elector = client.elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def waiting(client: Client) -> LeaderElector:
    elector = client.elector("e")
    elector.start()
    eventually(lambda: elector._candidate.answered)
    return elector


def test_who_leads_who_waits_and_who_does_not_contend_are_healthy(
    store: Store, clients: Clients
) -> None:
    leader, waiter = leading(clients()), waiting(clients(store.sibling()))
    assert (leader.health().state, waiter.health().state) == ("leading", "campaigning")
    assert leader.health() and waiter.health()
    assert leader.health().problem == waiter.health().problem == ""
    assert clients().elector("e").health().state == "not contending"
    leader._client.close()
    assert leader.health()


def test_a_leader_whose_renewal_hangs_is_not_healthy_before_it_loses_its_term(
    store: Store, client: Client, clock: FakeClock
) -> None:
    elector = leading(client)
    store.hang("renew")
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] > renewals)
    assert elector.health()
    timing = client.timing
    clock.advance(timing.heartbeat + timing.request_timeout + 0.01)
    assert elector.is_leader
    assert not elector.health()
    assert "no answer from the store, overdue" in elector.health().problem


def test_a_leader_that_is_left_out_of_the_stores_answer_is_not_healthy(
    store: Store, client: Client
) -> None:
    elector, other = leading(client), client.elector("other")
    other.start()
    assert other.wait_elected(PATIENCE)
    renew = store.renew

    def forgetful(attempts: Sequence[Attempt]) -> Renewed:
        outcomes = renew(attempts).outcomes
        mine = {a.attempt_id for a in attempts if a.election == "e"}
        return Renewed(outcomes={k: v for k, v in outcomes.items() if k not in mine})

    store.renew = forgetful  # type: ignore[method-assign]
    eventually(lambda: not elector.health())
    assert "no answer for 1 of 2 renewals" in elector.health().problem
    assert other.health()
    store.renew = renew  # type: ignore[method-assign]
    eventually(elector.health)


def test_a_leader_that_wakes_from_a_long_pause_is_not_healthy_until_it_has_an_answer(
    store: Store, client: Client, clock: FakeClock
) -> None:
    elector = leading(client)
    store.hang("renew")
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] > renewals)
    clock.advance(3600)
    assert not elector.is_leader
    assert not elector.health()
    store.let_go()
    eventually(lambda: elector.is_leader and elector.health())


def test_a_candidate_whose_question_is_never_answered_is_not_healthy(
    store: Store, clients: Clients, clock: FakeClock
) -> None:
    leading(clients())
    mute = store.sibling()
    mute.hang("campaign")
    try:
        elector = clients(mute).elector("e")
        elector.start()
        eventually(lambda: mute.calls["campaign"])
        assert elector.health(), "it has only just asked"
        timing = elector.timing
        clock.advance(timing.heartbeat + 2 * timing.request_timeout + 0.01)
        assert not elector.health()
        assert "overdue" in elector.health().problem
    finally:
        mute.let_go()
    eventually(elector.health)


def test_a_waiting_candidate_that_is_not_answered_again_in_time_is_not_healthy(
    store: Store, clients: Clients, clock: FakeClock
) -> None:
    leading(clients())
    mute = store.sibling()
    elector = waiting(clients(mute))
    mute.hang("campaign")
    timing = elector.timing
    clock.advance(timing.heartbeat + 2 * timing.request_timeout)
    assert elector.health(), "it asks again only when the lease that it saw runs out"
    clock.advance(timing.ttl + 0.01)
    assert not elector.health()
    mute.let_go()
    eventually(elector.health)


class Queue(Store):
    """A store with a queue: a waiting candidate has a place, which an operator may delete."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(ttl=1.5, clock=clock)
        self.places: set[str] = set()
        self.verdict = Renewal.TAKEN

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, renews_waiting=True)

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        if isinstance(answer, Waiting):
            self.places.add(attempt.attempt_id)
        return answer

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        outcomes = {
            attempt_id: Renewal.RENEWED if attempt_id in self.places else outcome
            for attempt_id, outcome in super().renew(attempts).outcomes.items()
        }
        lost = {k: self.verdict for k, v in outcomes.items() if v is Renewal.TAKEN}
        return Renewed(outcomes=outcomes | lost)


@pytest.mark.parametrize("verdict", [Renewal.TAKEN, Renewal.SESSION_LOST])
def test_a_candidate_whose_place_is_gone_is_not_healthy_until_it_has_another_one(
    clients: Clients, clock: FakeClock, verdict: Renewal, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(clock)
    leader = leading(clients(queue.sibling()))
    faulty = FaultyBackend(queue)
    client = clients(faulty)
    elector = waiting(client)
    events: list[Event] = []
    elector.subscribe(events.append, PlaceLost)
    renewals = queue.calls["renew"]
    eventually(lambda: queue.calls["renew"] >= renewals + 2)
    assert elector.health() and not events
    with faulty.hanging("campaign") as hang:
        queue.verdict = verdict
        queue.places.clear()
        assert hang.wait_hit(timeout=PATIENCE), "it does not ask for another place"
        assert not elector.health()
        assert f"lost its place in the queue ({verdict.value})" in elector.health().problem
    eventually(elector.health)
    assert queue.places == {elector._candidate._machine.attempt_id}
    eventually(lambda: [e.reason for e in events if isinstance(e, PlaceLost)] == [verdict.loss])
    eventually(lambda: "leaderlock.place_lost election='e'" in caplog.text)
    queue.places.clear()  # from here on the memory store elects
    leader._client.close()
    assert elector.wait_elected(PATIENCE)


def test_a_waiting_candidate_whose_heartbeat_hangs_is_not_healthy(
    clients: Clients, clock: FakeClock
) -> None:
    queue = Queue(clock)
    leading(clients(queue.sibling()))
    elector = waiting(clients(queue))
    eventually(lambda: queue.calls["renew"] >= 2)
    queue.hang("renew")
    renewals = queue.calls["renew"]
    eventually(lambda: queue.calls["renew"] > renewals)
    timing = elector.timing
    clock.advance(timing.heartbeat + timing.request_timeout + 0.01)
    assert not elector.health()
    queue.let_go()
    eventually(elector.health)


def test_a_candidate_whose_last_work_does_not_end_is_not_healthy(
    client: Client, clock: FakeClock
) -> None:
    goes_on = threading.Event()
    elector = client.elector("e", on_lost=lambda leadership, reason: goes_on.wait(PATIENCE))
    elector.start()
    assert elector.wait_elected(PATIENCE)
    assert not elector.resign(timeout=0)
    assert elector.health(), "it may still drain"
    clock.advance(client.timing.drain_timeout + 0.01)
    assert not elector.health()
    assert "the work of its last term does not end" in elector.health().problem
    goes_on.set()
    eventually(elector.health)
    assert elector.wait_elected(PATIENCE)


def test_after_a_stop_nothing_is_due(store: Store, client: Client, clock: FakeClock) -> None:
    elector = leading(client)
    assert elector.stop()
    clock.advance(3600)
    assert elector.health()
    elector.start()
    assert elector.wait_elected(PATIENCE)
    assert elector.health()


def test_a_loss_for_want_of_a_queue_place_is_no_loss_of_a_term(
    store: Store, client: Client
) -> None:
    """A leader that loses its term loses no place: that is told as what it is."""
    told: list[Event] = []
    elector = client.elector("e")
    elector.subscribe(told.append)
    elector.start()
    assert elector.wait_elected(PATIENCE)
    with store._store.lock:
        store._election("e").holder = None
    eventually(lambda: any(e.name == "leaderlock.lost" for e in told))
    assert not [event for event in told if isinstance(event, PlaceLost)]
    assert LossReason.TAKEN in {getattr(event, "reason", None) for event in told}
