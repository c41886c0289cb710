"""What the user is told: in order, on a thread of its own, whatever a callback does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from leaderlock import Client, ConfigurationError, LeaderElector, Leadership, LossReason
from leaderlock.telemetry.events import (
    CallbackFailed,
    ElectionEvent,
    Event,
    LeaderChanged,
    TermEnded,
    TermStarted,
)
from tests.elector.tools import PATIENCE, Record, Store, eventually


def started(elector: LeaderElector) -> LeaderElector:
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def test_every_election_is_told_once_and_followed_by_exactly_one_loss(client: Client) -> None:
    record = Record()
    elector = client.elector("e", on_elected=record.elected, on_lost=record.lost)
    elector.start()
    for term in range(4):
        record.wait("elected", term + 1)
        assert elector.resign()
    record.wait("elected", 5)
    assert elector.stop()
    assert record.kinds() == ["elected", "lost"] * 5
    assert record.of("lost") == [LossReason.RESIGNED] * 4 + [LossReason.STOPPED]
    assert record.of("elected") == [1, 2, 3, 4, 5]


def test_callbacks_run_on_a_thread_of_leaderlock_that_renews_nothing(client: Client) -> None:
    record = Record()
    elector = client.elector(
        "e", on_elected=record.elected, on_lost=record.lost, on_leader_change=record.leader
    )
    started(elector)
    record.wait("leader")
    elector.stop()
    assert record.threads
    assert all(name.startswith("leaderlock-callback") for name in record.threads)


def test_callbacks_of_one_kind_run_in_the_order_in_which_they_were_added(client: Client) -> None:
    order: list[str] = []
    elector = client.elector("e", on_lost=lambda *_: order.append("constructor"))

    @elector.on_lost
    def second(leadership: Leadership, reason: LossReason) -> None:
        order.append("decorator")

    assert elector.on_lost(third := lambda *_: order.append("call")) is third
    started(elector).stop()
    assert order == ["constructor", "decorator", "call"]


def test_the_leadership_told_is_the_one_that_leads_and_that_is_lost(client: Client) -> None:
    told: list[Leadership] = []
    elector = client.elector("e", on_elected=told.append, on_lost=lambda term, _: told.append(term))
    started(elector)
    leadership = elector.leadership
    elector.stop()
    assert told == [leadership, leadership]


@pytest.mark.parametrize(
    "error",
    [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError],
    ids=lambda error: error.__name__,
)
def test_a_callback_that_raises_is_logged_and_told_and_stops_nothing(
    client: Client, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    record, events = Record(), list[Event]()

    def raises(*_: object) -> None:
        raise error("a fault of the user's")

    elector = client.elector("e", on_elected=raises, on_lost=raises, on_leader_change=raises)
    elector.on_elected(record.elected)
    elector.on_lost(record.lost)
    elector.on_leader_change(record.leader)
    elector.subscribe(events.append)
    with caplog.at_level(logging.ERROR, "leaderlock"):
        started(elector)
        record.wait("elected")
        record.wait("leader")
        for term in range(3):  # more often than there are threads
            elector.resign()
            record.wait("lost", term + 1)
            record.wait("elected", term + 2)
        client.close()
    failed = [event for event in events if isinstance(event, CallbackFailed)]
    assert {event.callback for event in failed} == {"on_elected", "on_lost", "on_leader_change"}
    assert all(isinstance(event.error, error) for event in failed)
    assert "leaderlock.callback_failed callback=on_elected" in caplog.text
    assert record.kinds().count("elected") == record.kinds().count("lost") == 4


def test_a_listener_that_raises_is_logged_once_per_event_and_not_told_to_itself(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Event] = []

    def listener(event: Event) -> None:
        seen.append(event)
        raise ValueError("a fault of the user's")

    elector = client.elector("e")
    elector.subscribe(listener)
    with caplog.at_level(logging.ERROR, "leaderlock"):
        started(elector)
        client.close()  # which waits for the listeners, too
    assert not any(isinstance(event, CallbackFailed) for event in seen)
    assert caplog.text.count("callback=listener") == len(seen) > 0


def test_events_tell_the_story_of_a_term_in_order(client: Client) -> None:
    events: list[ElectionEvent] = []
    elector = client.elector("e", candidate_id="me")
    assert elector.subscribe(events.append) == events.append
    started(elector)
    eventually(lambda: any(isinstance(event, LeaderChanged) for event in events))
    elector.stop()
    eventually(lambda: any(isinstance(event, TermEnded) for event in events))
    terms = [event for event in events if isinstance(event, TermStarted | TermEnded)]
    assert [type(event) for event in terms] == [TermStarted, TermEnded]
    begin, end = terms
    assert isinstance(begin, TermStarted) and isinstance(end, TermEnded)
    assert begin.token == end.token
    assert end.reason is LossReason.STOPPED
    assert {(event.election, event.candidate_id) for event in events} == {("e", "me")}


def test_a_slow_callback_delays_neither_renewals_nor_is_leader(
    store: Store, client: Client
) -> None:
    entered, finish = threading.Event(), threading.Event()

    def slow(_: Leadership) -> None:
        entered.set()
        finish.wait(PATIENCE)

    elector = client.elector("e", on_elected=slow)
    started(elector)
    assert entered.wait(PATIENCE)
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] >= renewals + 3)
    assert elector.is_leader
    finish.set()


def test_a_callback_that_hangs_does_not_stop_those_of_another_election(client: Client) -> None:
    entered, finish = threading.Event(), threading.Event()

    def hangs(_: Leadership) -> None:
        entered.set()
        finish.wait(PATIENCE)

    started(client.elector("stuck", on_elected=hangs))
    assert entered.wait(PATIENCE)
    for name in ("a", "b", "c"):
        record = Record()
        other = client.elector(name, on_elected=record.elected, on_lost=record.lost)
        started(other)
        record.wait("elected")
        assert other.stop()
        assert record.kinds() == ["elected", "lost"]
    finish.set()


def test_a_callback_that_hangs_does_not_stop_the_watchdog(
    clients: Callable[..., Client],
) -> None:
    store = Store(ttl=0.9)
    client = clients(store)
    entered, finish = threading.Event(), threading.Event()

    def hangs(_: Leadership) -> None:
        entered.set()
        finish.wait(PATIENCE)

    record = Record()
    stuck = started(client.elector("stuck", on_elected=hangs, on_lost=record.lost))
    assert entered.wait(PATIENCE)
    leadership = stuck.leadership
    assert leadership is not None
    store.hang("renew")
    assert leadership.wait_lost(PATIENCE)
    assert leadership.reason is LossReason.EXPIRED
    assert not stuck.is_leader
    assert record.told == [], "its own on_lost waits its turn"
    finish.set()
    record.wait("lost")
    store.let_go()


def test_a_callback_added_by_a_callback_is_told_from_the_next_time_on(client: Client) -> None:
    record = Record()
    elector = client.elector("e")

    @elector.on_elected
    def first(_: Leadership) -> None:
        elector.on_lost(record.lost)

    started(elector)
    eventually(lambda: elector._candidate.callbacks._lost)
    elector.stop()
    assert record.of("lost") == [LossReason.STOPPED]


def test_followers_are_told_who_leads_and_every_change(
    store: Store, clients: Callable[..., Client]
) -> None:
    record = Record()
    leader = clients(store.sibling()).elector("e", candidate_id="first", metadata={"host": "a"})
    started(leader)
    follower = clients(store.sibling()).elector(
        "e", candidate_id="second", on_leader_change=record.leader
    )
    follower.start()
    record.wait("leader")
    leader.stop()
    assert follower.wait_elected(PATIENCE)
    eventually(lambda: names(record)[-1] == "second")
    told = names(record)
    assert told[0] == "first"
    assert [name for name in told if name is not None] == ["first", "second"]
    follower.stop()


def test_a_follower_learns_of_a_leader_that_vanished_when_its_lease_has_run_out(
    clients: Callable[..., Client],
) -> None:
    store = Store(ttl=0.6)
    leader = clients(store).elector("e", candidate_id="vanishes")
    started(leader)
    record = Record()
    follower = clients(store.sibling()).elector("e", on_leader_change=record.leader)
    follower.start()
    record.wait("leader")
    store.hang("renew", "release", "campaign")
    assert follower.wait_elected(PATIENCE)
    eventually(lambda: names(record)[-1] == follower.candidate_id)
    store.let_go()


def names(record: Record) -> list[str | None]:
    return [getattr(info, "candidate_id", None) for info in record.of("leader")]


def test_a_leader_change_callback_added_to_a_running_elector_is_told_the_present_leader(
    client: Client,
) -> None:
    record = Record()
    elector = started(client.elector("e", candidate_id="me"))
    elector.on_leader_change(record.leader)
    record.wait("leader")
    eventually(lambda: names(record)[-1] == "me")


async def coroutine(*_: object) -> None: ...


def generator(*_: object) -> Any:
    yield


async def async_generator(*_: object) -> Any:
    yield


class AsyncCallable:
    async def __call__(self, *_: object) -> None: ...


@pytest.mark.parametrize("kind", ["on_elected", "on_lost", "on_leader_change"])
@pytest.mark.parametrize(
    "callback",
    [
        pytest.param("text", id="not callable"),
        pytest.param(42, id="a number"),
        pytest.param(lambda: None, id="no parameters"),
        pytest.param(lambda a, b, c: None, id="too many parameters"),
        pytest.param(coroutine, id="coroutine function"),
        pytest.param(partial(coroutine, 1), id="partial of a coroutine function"),
        pytest.param(AsyncCallable(), id="object with an async __call__"),
        pytest.param(generator, id="generator function"),
        pytest.param(async_generator, id="asynchronous generator function"),
    ],
)
def test_what_could_not_be_called_later_is_refused_at_construction(
    client: Client, kind: str, callback: Any
) -> None:
    with pytest.raises(ConfigurationError, match=kind):
        client.elector("e", **{kind: callback})
    with pytest.raises(ConfigurationError, match=kind):
        LeaderElector("memory://", "e", **{kind: callback})
    with pytest.raises(ConfigurationError, match=kind):
        getattr(client.elector("e"), kind)(callback)


def test_work_that_could_not_be_called_is_refused_before_anything_starts(
    store: Store, client: Client
) -> None:
    elector = client.elector("e")
    for work in (None, lambda: None, coroutine, generator, AsyncCallable()):
        with pytest.raises(ConfigurationError, match="work"):
            elector.run(work)  # type: ignore[arg-type]
    assert not store.seen
