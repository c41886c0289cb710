"""The stream of events: of an elector, of a client; what is told, and what it costs nobody."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from leaderlock import Client, ConfigurationError, FencingToken, LeaderInfo, LossReason, connect
from leaderlock.stream import Listener, Stream
from leaderlock.telemetry import events as kinds
from leaderlock.telemetry.events import (
    CallbackFailed,
    ElectionEvent,
    Event,
    Heartbeat,
    LeaderChanged,
    Renewed,
    RenewFailed,
    StoreFailing,
    TermEnded,
    TermStarted,
)
from leaderlock.workers import Workers
from tests.elector.tools import PATIENCE, Store, eventually, in_child

TOKEN = FencingToken(1, 7)


def names(told: list[Event]) -> list[str]:
    return [event.name.removeprefix("leaderlock.") for event in told]


def all_kinds() -> list[type[Event]]:
    return [
        thing
        for thing in vars(kinds).values()
        if isinstance(thing, type) and issubclass(thing, Event)
    ]


class TestElector:
    def test_renewals_are_told_to_who_names_them_and_only_of_this_election(
        self, client: Client
    ) -> None:
        elector, other = client.elector("e"), client.elector("other")
        renewed: list[Event] = []
        everything: list[Event] = []
        elector.subscribe(renewed.append, Renewed)
        elector.subscribe(everything.append)
        for each in elector, other:
            each.start()
            assert each.wait_elected(PATIENCE)
        eventually(lambda: len(renewed) >= 2)
        leadership = elector.leadership
        assert leadership is not None
        for event in renewed:
            assert isinstance(event, Renewed)
            assert (event.election, event.token) == ("e", leadership.token)
            assert 0 < event.remaining <= client.timing.belief_window
        assert "renewed" not in names(everything)

    def test_each_failed_renewal_is_told_to_who_names_them(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        told: list[Event] = []
        elector.subscribe(told.append, RenewFailed, StoreFailing)
        elector.start()
        assert elector.wait_elected(PATIENCE)
        store.fail("renew")
        eventually(lambda: names(told).count("renew_failed") >= 2)
        assert names(told).count("store_failing") == 1
        assert "the test cut the connection" in str(told[-1])

    def test_a_base_class_names_all_of_it(self, client: Client) -> None:
        elector = client.elector("e")
        told: list[Event] = []
        elector.subscribe(told.append, ElectionEvent)
        elector.start()
        eventually(lambda: {"elected", "renewed", "leader_changed"} <= set(names(told)))

    def test_who_does_not_want_leader_changes_costs_no_watch(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        told: list[Event] = []
        elector.subscribe(told.append, TermStarted, TermEnded)
        elector.start()
        assert elector.wait_elected(PATIENCE)
        client.close()
        eventually(lambda: names(told) == ["elected", "lost"])
        assert store.calls["leader"] == 0

    @pytest.mark.parametrize("kind", [int, "leaderlock.elected", Renewed.__init__, LossReason])
    def test_what_is_no_kind_of_event_is_refused(self, client: Client, kind: Any) -> None:
        for source in client, client.elector("e"):
            with pytest.raises(ConfigurationError, match="no kind of event"):
                source.subscribe(print, kind)

    def test_what_cannot_be_called_with_an_event_is_refused(self, client: Client) -> None:
        for source in client, client.elector("e"):
            with pytest.raises(ConfigurationError, match="1 positional"):
                source.subscribe(lambda: None)  # type: ignore[arg-type, misc]


class TestClient:
    def test_it_tells_of_all_electors_those_made_later_too_in_order(
        self, store: Store, client: Client
    ) -> None:
        early, told = client.elector("early"), list[Event]()
        early.start()
        assert early.wait_elected(PATIENCE)
        assert client.subscribe(told.append) == told.append
        late = client.elector("late")
        late.start()
        assert late.wait_elected(PATIENCE)
        assert late.resign() and late.wait_elected(PATIENCE)
        client.close()
        terms = [event for event in told if isinstance(event, TermStarted | TermEnded)]
        of_late = [event for event in terms if event.election == "late"]
        assert [type(event) for event in of_late] == [TermStarted, TermEnded] * 2
        assert [e.reason for e in of_late if isinstance(e, TermEnded)] == [
            LossReason.RESIGNED,
            LossReason.STOPPED,
        ]
        assert [e for e in told if isinstance(e, TermEnded) and e.election == "early"]

    def test_it_tells_leader_changes_of_electors_that_run_already(self, client: Client) -> None:
        elector, told = client.elector("e"), list[Event]()
        elector.start()
        assert elector.wait_elected(PATIENCE)
        client.subscribe(told.append, LeaderChanged)
        eventually(lambda: told)
        changed = told[0]
        assert isinstance(changed, LeaderChanged) and changed.leader is not None
        assert changed.leader.candidate_id == elector.candidate_id

    def test_a_heartbeat_is_one_event_for_all_elections(self, store: Store, client: Client) -> None:
        told: list[Event] = []
        client.subscribe(told.append, Heartbeat)
        electors = [client.elector(f"shard-{number}") for number in range(20)]
        for elector in electors:
            elector.start()
        for elector in electors:
            assert elector.wait_elected(PATIENCE)
        renewals = store.calls["renew"]
        eventually(lambda: store.calls["renew"] >= renewals + 2)
        eventually(lambda: told and isinstance(told[-1], Heartbeat) and told[-1].leases == 20)
        assert len(told) <= store.calls["renew"]
        assert all(isinstance(e, Heartbeat) and e.error is None and e.took >= 0 for e in told)
        store.fail("renew")
        eventually(lambda: isinstance(told[-1], Heartbeat) and told[-1].error is not None)
        assert "error=the test cut the connection" in str(told[-1])

    def test_nobody_listens_nothing_is_made(
        self, store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A heartbeat of 10,000 elections makes no 10,000 events that nobody hears."""

        def refuse(self: Event, *args: object, **keywords: object) -> None:
            raise AssertionError(f"a {type(self).__name__} was made for nobody")

        elector, told = client.elector("e"), list[Event]()
        elector.subscribe(told.append)
        client.subscribe(told.append)
        for kind in Renewed, RenewFailed, Heartbeat:
            monkeypatch.setattr(kind, "__init__", refuse)
        elector.start()
        assert elector.wait_elected(PATIENCE)
        renewals = store.calls["renew"]
        eventually(lambda: store.calls["renew"] >= renewals + 2)
        assert elector.health() and elector.is_leader

    def test_a_listener_that_hangs_holds_up_no_callback_and_no_other_client(
        self, client: Client, clients: Callable[..., Client]
    ) -> None:
        entered, go_on, lost = threading.Event(), threading.Event(), threading.Event()

        def hangs(event: Event) -> None:
            entered.set()
            go_on.wait(PATIENCE)

        client.subscribe(hangs)
        elector = client.elector("e", on_lost=lambda leadership, reason: lost.set())
        elector.start()
        assert entered.wait(PATIENCE) and elector.wait_elected(PATIENCE)
        elector.resign(timeout=0)
        assert lost.wait(PATIENCE)
        go_on.set()

    def test_what_a_listener_raises_is_logged_and_the_others_are_told(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[Event] = []

        def raises(event: Event) -> None:
            raise SystemExit("a fault of the listener")

        client.subscribe(raises)
        client.subscribe(told.append)
        elector = client.elector("e")
        elector.start()
        assert elector.wait_elected(PATIENCE)
        eventually(lambda: "elected" in names(told))
        assert "leaderlock.callback_failed callback=listener" in caplog.text
        assert not any(isinstance(event, CallbackFailed) for event in told)

    def test_a_listener_may_close_the_client(self, client: Client) -> None:
        closed = threading.Event()

        def close(event: Event) -> None:
            client.close()
            closed.set()

        client.subscribe(close, TermStarted)
        elector = client.elector("e")
        elector.start()
        assert closed.wait(PATIENCE)
        assert not elector.is_leader

    def test_it_tells_on_after_the_client_was_closed_and_used_again(self, client: Client) -> None:
        told: list[Event] = []
        client.subscribe(told.append, TermStarted)
        for term in 1, 2:
            elector = client.elector("e")
            elector.start()
            assert elector.wait_elected(PATIENCE)
            client.close()
            eventually(lambda: len(told) == term)  # noqa: B023

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_in_a_forked_child_it_tells_of_what_the_child_does(self, client: Client) -> None:
        told: list[Event] = []
        client.subscribe(told.append, TermStarted, TermEnded)
        elector = client.elector("e")
        elector.start()
        assert elector.wait_elected(PATIENCE)
        eventually(lambda: len(told) == 1)

        def child() -> None:
            told.clear()
            elector.start()
            assert elector.wait_elected(PATIENCE)
            client.close()
            eventually(lambda: names(told) == ["elected", "lost"])

        assert in_child(child) == ""
        assert len(told) == 1


EXAMPLES = {
    "election": "e",
    "candidate_id": "me",
    "token": TOKEN,
    "reason": LossReason.TAKEN,
    "why": "it hangs",
    "remaining": 1.5,
    "error": ValueError("it broke"),
    "leader": LeaderInfo("you", TOKEN),
    "operation": "renew",
    "callback": "on_lost",
    "leases": 3,
    "took": 0.25,
}


@pytest.mark.parametrize("kind", all_kinds())
def test_an_event_is_one_line_that_begins_with_its_name_and_tells_every_field(
    kind: type[Event],
) -> None:
    fields = [field.name for field in dataclasses.fields(kind)]
    line = str(kind(**{name: EXAMPLES[name] for name in fields}))
    assert line.startswith(kind.name) or kind is Event
    assert "\n" not in line
    for name in fields:
        assert f"{'candidate' if name == 'candidate_id' else name}=" in line


def test_the_names_of_events_are_unique_and_stable() -> None:
    named = [kind for kind in all_kinds() if kind not in (Event, ElectionEvent)]
    assert {kind.__name__: kind.name for kind in named} == {
        "TermStarted": "leaderlock.elected",
        "Renewed": "leaderlock.renewed",
        "RenewFailed": "leaderlock.renew_failed",
        "TermEnded": "leaderlock.lost",
        "NoProgress": "leaderlock.no_progress",
        "PlaceLost": "leaderlock.place_lost",
        "LeaderChanged": "leaderlock.leader_changed",
        "StoreFailing": "leaderlock.store_failing",
        "StoreRecovered": "leaderlock.store_recovered",
        "TokenRegressed": "leaderlock.token_regressed",
        "CallbackFailed": "leaderlock.callback_failed",
        "Heartbeat": "leaderlock.heartbeat",
    }


def test_what_is_logged_is_logged_by_the_level_of_its_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "leaderlock"), connect("memory://?ttl=3") as client:
        elector = client.elector("e")
        elector.start()
        assert elector.wait_elected(PATIENCE)
    levels = {record.getMessage().split()[0]: record.levelno for record in caplog.records}
    assert levels == {"leaderlock.elected": logging.INFO, "leaderlock.lost": logging.INFO}


def test_a_listener_that_hangs_for_ever_does_not_take_all_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes with each heartbeat is dropped; what comes once never is."""
    monkeypatch.setattr("leaderlock.stream._MOST_WAITING", 10)
    workers, stream, hangs = Workers("test", 2, finish=True), Stream(), threading.Event()
    told: list[Event] = []

    def listen(event: Event) -> None:
        assert hangs.wait(PATIENCE)
        told.append(event)

    stream.add(Listener(listen, (Heartbeat, TermEnded)))
    stream.open(workers)
    for _ in range(100):
        stream.emit(Heartbeat(leases=1, took=0.1))
        stream.emit(TermEnded("e", "me", token=TOKEN, reason=LossReason.EXPIRED))
    eventually(lambda: "leaderlock.events_dropped waiting=10" in caplog.messages)
    hangs.set()
    eventually(lambda: names(told).count("lost") == 100)
    assert names(told).count("heartbeat") == 5
    stream.emit(Heartbeat(leases=2, took=0.1))
    eventually(lambda: names(told).count("heartbeat") == 6)
    assert len(caplog.messages) == 1
    for thread in workers.close():
        thread.join(PATIENCE)
