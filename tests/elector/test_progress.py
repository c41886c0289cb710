"""healthy= and beat(): a leader that can renew, but not work, gives its term up by itself."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from leaderlock import Client, ConfigurationError, LeaderElector, Leadership, LossReason, connect
from leaderlock.telemetry.events import CallbackFailed, Event, NoProgress
from leaderlock.testing import FakeClock
from tests.elector.tools import Record, Store, eventually

Clients = Callable[..., Client]


def test_a_leader_that_says_it_is_not_healthy_hands_over(store: Store, clients: Clients) -> None:
    record, events, is_healthy = Record(), list[Event](), threading.Event()
    is_healthy.set()
    sick = clients().elector(
        "e", on_elected=record.elected, on_lost=record.lost, healthy=is_healthy.is_set
    )
    sick.subscribe(events.append)
    other = clients(store.sibling()).elector("e")
    sick.start()
    assert sick.wait_elected(5)
    other.start()
    eventually(lambda: other._candidate.answered)
    assert sick.is_leader
    is_healthy.clear()
    record.wait("lost")
    assert record.of("lost") == [LossReason.WORK_FAILED]
    assert other.wait_elected(5)
    eventually(lambda: [e for e in events if isinstance(e, NoProgress)])
    assert "healthy() says no" in next(e.why for e in events if isinstance(e, NoProgress))
    assert not sick.health() and sick.health().problem == "healthy() says no"
    assert other.health()


def test_one_that_raises_is_not_healthy(client: Client) -> None:
    record, events = Record(), list[Event]()

    def healthy() -> bool:
        raise KeyError("no database")

    elector = client.elector("e", on_lost=record.lost, healthy=healthy)
    elector.subscribe(events.append)
    elector.start()
    record.wait("lost")
    assert record.of("lost")[0] is LossReason.WORK_FAILED
    eventually(lambda: [e for e in events if isinstance(e, CallbackFailed)])


def test_one_that_never_answers_is_given_beat_timeout_and_one_thread(client: Client) -> None:
    asked, answer = threading.Semaphore(0), threading.Event()
    record = Record()

    def healthy() -> bool:
        asked.release()
        return answer.wait(60)

    elector = client.elector("e", on_lost=record.lost, healthy=healthy, beat_timeout=2)
    elector.start()
    assert elector.wait_elected(5)
    record.wait("lost")
    assert record.of("lost")[0] is LossReason.WORK_FAILED
    assert asked.acquire(blocking=False)
    assert not asked.acquire(blocking=False), "asked again while the answer was out"
    elector.stop()
    answer.set()


def test_work_that_beats_goes_on_and_work_that_does_not_loses(client: Client) -> None:
    record = Record()
    elector = client.elector("e", on_lost=record.lost, beat_timeout=0.5)
    beats, go_on = 0, threading.Event()

    with elector.lead(timeout=5) as leadership:
        for _ in range(15):
            leadership.beat()
            beats += 1
            assert not go_on.wait(0.1)
        leadership.check()
        assert leadership.wait_lost(5)
        assert leadership.reason is LossReason.WORK_FAILED
    assert record.of("lost") == [LossReason.WORK_FAILED]


def test_a_wedged_leader_is_succeeded_after_its_drain_and_does_not_come_back(
    store: Store, clients: Clients
) -> None:
    wedged, other = clients().elector("e", beat_timeout=0.3), clients(store.sibling()).elector("e")
    let_go = threading.Event()

    def work(leadership: Leadership) -> None:
        let_go.wait(60)

    thread = threading.Thread(target=wedged.run, args=(work,))
    thread.start()
    assert wedged.wait_elected(5)
    other.start()
    assert other.wait_elected(wedged.timing.drain_timeout + 5)
    assert not wedged.is_leader
    other.stop()
    assert not wedged.wait_elected(0.3), "elected while its work is wedged"
    wedged.stop(0)
    let_go.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_beat_after_the_end_revives_nothing(client: Client) -> None:
    elector = client.elector("e", beat_timeout=5)
    with elector.lead(timeout=5) as leadership:
        elector.resign(0)
        leadership.beat()
        assert not leadership.is_valid and not elector.is_leader


def test_the_time_is_that_of_the_clock_of_the_leases() -> None:
    clock = FakeClock()
    store = Store(ttl=1000, clock=clock)
    with connect(store) as client:
        elector = client.elector("e", beat_timeout=10)
        elector.start()
        assert elector.wait_elected(5)
        leadership = elector.leadership
        assert leadership is not None
        clock.advance(9)
        elector._candidate.tick()
        leadership.check()
        leadership.beat()
        clock.advance(9)
        elector._candidate.tick()
        leadership.check()
        clock.advance(2)
        elector._candidate.tick()
        assert leadership.reason is LossReason.WORK_FAILED


def test_without_a_limit_a_beat_is_an_error_and_not_a_silent_hope(client: Client) -> None:
    with client.elector("e").lead(timeout=5) as leadership:
        with pytest.raises(ConfigurationError, match="'beat_timeout'"):
            leadership.beat()
        assert leadership._beat_until == math.inf


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beat_timeout": 0}, "beat_timeout=0 must be"),
        ({"beat_timeout": "soon"}, "beat_timeout='soon' must be"),
        ({"healthy": 1}, "healthy must be callable"),
        ({"healthy": lambda leadership: True}, "must accept 0 positional"),
        ({"healthy": lambda: True, "beat_timeout": 0.1}, "at least two heartbeats"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        LeaderElector("memory://", "e", **settings)  # type: ignore[arg-type]


def test_they_come_from_every_layer_of_the_configuration() -> None:
    elector = LeaderElector.from_config(
        {"url": "memory://", "election": "e", "beat_timeout": 30}, healthy=lambda: True
    )
    assert elector._candidate.progress.timeout == 30
    assert LeaderElector("memory://", "e", healthy=lambda: True)._candidate.progress.timeout == 10
    with pytest.raises(ConfigurationError, match="belongs to an elector"):
        connect("memory://", beat_timeout=3)
