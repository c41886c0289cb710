"""Between two terms: drain, release, and only then the next attempt; and replies that come late."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from leaderlock import BackendUnavailable, Client, LeaderElector, Leadership, LossReason
from leaderlock.testing import FakeClock
from tests.elector.tools import PATIENCE, Record, Store, eventually, in_thread, lasts_at_most


def started(elector: LeaderElector) -> LeaderElector:
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


class Work:
    """Work that is entered, and ends when the test says so."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.finish = threading.Event()
        self.terms: list[Leadership] = []

    def __call__(self, leadership: Leadership) -> None:
        self.terms.append(leadership)
        self.entered.set()
        self.finish.wait(PATIENCE)


def test_the_store_sees_no_release_before_the_work_has_returned(
    store: Store, client: Client
) -> None:
    elector, work = client.elector("e"), Work()
    with in_thread(lambda: elector.run(work)):
        assert work.entered.wait(PATIENCE)
        elector.resign(timeout=0)
        renewals = store.calls["renew"]
        eventually(lambda: store.calls["renew"] >= renewals + 2, "the lease is kept meanwhile")
        assert not elector.is_leader
        assert not work.terms[0].is_valid
        assert store.calls["release"] == 0
        elector.stop(timeout=0)
        work.finish.set()
    eventually(lambda: store.calls["release"] == 1)


def test_the_store_sees_no_release_before_on_lost_has_returned(
    store: Store, client: Client
) -> None:
    entered, finish = threading.Event(), threading.Event()
    released_early: list[int] = []

    def lost(_: Leadership, reason: LossReason) -> None:
        entered.set()
        finish.wait(PATIENCE)
        released_early.append(store.calls["release"])

    elector = started(client.elector("e", on_lost=lost))
    answers: list[bool] = []
    with in_thread(lambda: answers.append(elector.resign())):
        assert entered.wait(PATIENCE)
        assert not elector.is_leader
        finish.set()
    assert answers == [True]
    assert released_early == [0]
    assert store.calls["release"] == 1


def test_nobody_else_leads_while_the_resigned_work_drains(
    store: Store, clients: Callable[..., Client]
) -> None:
    elector, work = clients(store.sibling()).elector("e"), Work()
    other = clients(store.sibling()).elector("e")
    with in_thread(lambda: elector.run(work)):
        assert work.entered.wait(PATIENCE)
        other.start()
        elector.stop(timeout=0)
        assert not other.wait_elected(timeout=0.3)
        work.finish.set()
        assert other.wait_elected(PATIENCE)


def test_the_wait_for_work_is_bounded_by_the_drain_timeout(
    store: Store, clients: Callable[..., Client]
) -> None:
    client = clients(store.sibling(), drain_timeout=0.3)
    elector, work = client.elector("e"), Work()
    other = clients(store.sibling()).elector("e")
    with in_thread(lambda: elector.run(work)):
        assert work.entered.wait(PATIENCE)
        other.start()
        with lasts_at_most(0.3 + 0.5):
            elector.resign(timeout=0)
            assert other.wait_elected(PATIENCE)
        elector.stop(timeout=0)
        work.finish.set()


def test_no_new_attempt_begins_while_work_of_the_last_term_runs(
    clients: Callable[..., Client],
) -> None:
    store = Store(ttl=0.6)
    elector, work = clients(store).elector("e"), Work()
    with in_thread(lambda: elector.run(work)):
        assert work.entered.wait(PATIENCE)
        store.fail("renew")
        assert work.terms[0].wait_lost(PATIENCE)
        store.heal()
        eventually(lambda: store.calls["release"] == 1, "released when the lease runs out")
        assert store.calls["campaign"] == 1
        assert elector.wait_elected(timeout=0.5) is False
        assert store.calls["campaign"] == 1
        work.finish.set()
        eventually(lambda: len(work.terms) == 2)
        elector.stop(timeout=0)
    store.let_go()


def test_work_that_waits_for_its_own_next_term_is_told_so_instead_of_waiting_for_ever(
    client: Client,
) -> None:
    from leaderlock import LeaderLockError

    elector = client.elector("e")
    errors: list[str] = []

    def work(leadership: Leadership) -> None:
        elector.resign()
        with pytest.raises(LeaderLockError, match="cannot begin before it has ended") as caught:
            elector.wait_elected()
        errors.append(str(caught.value))
        elector.stop()

    with lasts_at_most(10):
        elector.run(work)
    assert errors


def test_on_lost_that_waits_for_the_next_term_is_told_so(client: Client) -> None:
    from leaderlock import LeaderLockError

    elector = client.elector("e")
    errors: list[Exception] = []

    @elector.on_lost
    def lost(leadership: Leadership, reason: LossReason) -> None:
        if reason is LossReason.STOPPED:
            return
        try:
            with elector.lead():
                pass
        except LeaderLockError as error:
            errors.append(error)

    started(elector)
    elector.resign()
    eventually(lambda: errors)
    assert elector.wait_elected(PATIENCE)


def test_a_late_grant_after_stop_is_given_back(
    store: Store, clients: Callable[..., Client]
) -> None:
    client, record = clients(), Record()
    granted, reply = threading.Event(), threading.Event()

    def late() -> None:
        granted.set()
        reply.wait(PATIENCE)

    store.after["campaign"] = late
    elector = client.elector("e", on_elected=record.elected)
    elector.start()
    assert granted.wait(PATIENCE)
    assert elector.stop(timeout=0.1) is False
    reply.set()
    other = clients(store.sibling()).elector("e")
    other.start()
    assert other.wait_elected(PATIENCE)
    assert record.told == []
    assert not elector.is_leader
    store.heal()


def test_a_late_grant_to_a_client_that_was_closed_is_given_back(
    store: Store, clients: Callable[..., Client]
) -> None:
    client, record = clients(), Record()
    granted, reply = threading.Event(), threading.Event()

    def late() -> None:
        granted.set()
        reply.wait(PATIENCE)

    store.after["campaign"] = late
    elector = client.elector("e", on_elected=record.elected)
    elector.start()
    assert granted.wait(PATIENCE)
    assert client.close(timeout=0.1) is False
    assert elector._candidate.state.value == "idle"
    reply.set()
    eventually(lambda: store.calls["release"] == 1, "the orphan is released at once")
    assert record.told == []
    store.heal()


def test_a_campaign_whose_reply_was_lost_is_repeated_under_the_same_attempt(
    store: Store, client: Client
) -> None:
    def lose() -> None:
        if store.calls["campaign"] < 3:
            raise BackendUnavailable("the reply was lost")

    store.after["campaign"] = lose
    record = Record()
    elector = started(client.elector("e", on_elected=record.elected))
    assert record.of("elected") in ([], [1])
    record.wait("elected")
    assert record.of("elected") == [1], "the store granted one term, not three"
    attempts = {attempt for verb, attempt in store.seen if verb == "campaign"}
    assert len(attempts) == 1
    assert elector.stop()


def test_a_grant_that_arrives_after_its_window_does_not_lead_and_is_given_back(
    clients: Callable[..., Client],
) -> None:
    clock = FakeClock()
    store, record = Store(ttl=10, clock=clock), Record()

    def slow() -> None:
        if store.calls["campaign"] == 1:
            clock.advance(7)

    store.after["campaign"] = slow
    elector = clients(store).elector("e", on_elected=record.elected)
    started(elector)
    record.wait("elected")
    assert record.of("elected") == [2], "the first grant was too late"
    assert store.seen[1][0] == "release"
    assert store.seen[0][1] == store.seen[1][1] != store.seen[2][1]
    store.let_go()


def test_an_attempt_is_released_however_long_its_campaign_was_out(
    clients: Callable[..., Client],
) -> None:
    """The process was stopped, say. Else a queue would keep its place in front of the next one."""
    clock = FakeClock()
    store = Store(ttl=10, clock=clock)
    asked, reply = threading.Event(), threading.Event()

    def lose() -> None:
        if store.calls["campaign"] == 1:
            asked.set()
            reply.wait(PATIENCE)
            raise BackendUnavailable("the reply was lost")

    store.after["campaign"] = lose
    elector = clients(store).elector("e")
    elector.start()
    assert asked.wait(PATIENCE)
    assert elector.stop(timeout=0.0) is False
    elector.start()
    clock.advance(1000.0)
    elector._candidate.tick()  # as the watchdog will, within a second
    reply.set()
    assert elector.wait_elected(PATIENCE)
    (_, first), (then, ended), (_, second) = store.seen[:3]
    assert (then, ended) == ("release", first) != ("release", second)
    store.let_go()


def test_a_release_whose_reply_was_lost_is_repeated(store: Store, client: Client) -> None:
    def lose() -> None:
        if store.calls["release"] == 1:
            raise BackendUnavailable("the reply was lost")

    store.after["release"] = lose
    elector = started(client.elector("e"))
    assert elector.stop()
    assert store.calls["release"] == 2


def test_every_attempt_has_an_id_of_its_own(store: Store, client: Client) -> None:
    elector = client.elector("e")
    for _ in range(5):
        started(elector)
        elector.stop()
    attempts = [attempt for verb, attempt in store.seen if verb == "campaign"]
    assert len(attempts) == len(set(attempts)) == 5
