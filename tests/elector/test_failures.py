"""A store that refuses, fails, loses data or comes back; what is said about it, and what not."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator

import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    Client,
    LeaderElector,
    Leadership,
    LossReason,
    TokenRegression,
    connect,
)
from leaderlock.backends.base import Granted, Reading
from leaderlock.telemetry.events import (
    CallbackFailed,
    Event,
    StoreFailing,
    StoreRecovered,
    TokenRegressed,
)
from tests.elector.tools import ALL, PATIENCE, Record, Store, eventually


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(ttl=0.9)
    yield made
    made.let_go()


def started(elector: LeaderElector) -> LeaderElector:
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


class TestRefusals:
    @pytest.fixture
    def refusing(self, store: Store) -> Store:
        store.fail("campaign", error=BackendRefused("no permission to write"))
        return store

    def test_lead_raises_it_and_contends_no_more(self, refusing: Store, client: Client) -> None:
        elector = client.elector("e")
        with pytest.raises(BackendRefused, match="no permission"), elector.lead(timeout=PATIENCE):
            raise AssertionError("entered")
        assert elector._candidate.state.value == "idle"
        refusing.heal()
        with elector.lead(timeout=PATIENCE):
            assert elector.is_leader

    def test_run_raises_it(self, refusing: Store, client: Client) -> None:
        elector = client.elector("e")
        with pytest.raises(BackendRefused, match="no permission"):
            elector.run(lambda _: None)
        assert not elector._candidate.contends

    def test_wait_elected_raises_it_and_the_background_tries_again(
        self, refusing: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        elector.start()
        with pytest.raises(BackendRefused, match="no permission"):
            elector.wait_elected(PATIENCE)
        assert not elector.health()
        assert "no permission" in elector.health().problem
        refusing.heal()
        eventually(lambda: elector.is_leader)
        assert elector.wait_elected(0)
        eventually(elector.health)

    def test_it_is_asked_again_at_a_slowing_pace(self, refusing: Store, client: Client) -> None:
        client.elector("e").start()
        eventually(lambda: refusing.calls["campaign"] >= 3)
        assert refusing.calls["campaign"] < 10

    def test_raising_it_often_does_not_grow_its_traceback(
        self, refusing: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        elector.start()
        lengths = []
        for _ in range(20):
            try:
                elector.wait_elected(PATIENCE)
            except BackendRefused as error:
                lengths.append(len(traceback.extract_tb(error.__traceback__)))
        assert len(set(lengths)) == 1 and len(lengths) == 20

    def test_leader_raises_it(self, store: Store, client: Client) -> None:
        store.fail("leader", error=BackendRefused("no permission to read"))
        with pytest.raises(BackendRefused, match="to read"):
            client.elector("e").leader()

    @pytest.mark.parametrize("error", [BackendRefused("no right to read"), BackendUnavailable("?")])
    def test_a_candidate_that_has_resigned_contends_again_without_being_able_to_read(
        self, store: Store, client: Client, error: Exception
    ) -> None:
        store.fail("leader", error=error)
        elector, terms = client.elector("e"), list[Leadership]()

        def work(leadership: Leadership) -> None:
            terms.append(leadership)
            if len(terms) == 3:
                elector.stop()

        elector.run(work)
        assert len(terms) == 3

    def test_a_refused_renewal_ends_the_term_at_its_deadline_only(
        self, store: Store, client: Client
    ) -> None:
        record = Record()
        elector = started(client.elector("e", on_lost=record.lost))
        store.fail("renew", error=BackendRefused("no permission to renew"))
        eventually(lambda: store.calls["renew"] >= 2)
        assert elector.is_leader
        record.wait("lost")
        assert record.of("lost") == [LossReason.EXPIRED]


class TestRegression:
    def test_a_store_that_lost_its_tokens_stops_the_candidate(
        self, store: Store, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        record, events = Record(), list[Event]()
        elector = client.elector("e", on_elected=record.elected, on_lost=record.lost)
        elector.subscribe(events.append)
        for _ in range(2):
            started(elector)
            elector.stop()
        with store._store.lock:
            store._election("e").token = 0  # restored from an old backup
        elector.start()
        with pytest.raises(TokenRegression, match="epoch"):
            elector.wait_elected(PATIENCE)
        eventually(lambda: any(isinstance(event, TokenRegressed) for event in events))
        assert not elector.is_leader
        assert record.of("elected") == [1, 2]
        eventually(lambda: store.calls["release"] == 3, "the bad grant is given back")
        assert not elector.health()
        assert "epoch" in elector.health().problem
        assert not elector._candidate.contends

    def test_waiting_after_the_fact_says_so_too(
        self, store: Store, clients: Callable[..., Client]
    ) -> None:
        elector = clients().elector("e")
        started(elector)
        elector.stop()
        with store._store.lock:
            store._election("e").token = 0
        elector.start()
        eventually(lambda: not elector._candidate.contends)
        other = clients(store.sibling()).elector("e")
        started(other)
        with pytest.raises(TokenRegression):
            elector.wait_elected(PATIENCE)  # True would mean: it leads

    def test_lead_and_run_raise_it(self, store: Store, client: Client) -> None:
        elector = client.elector("e")
        started(elector)
        elector.stop()
        entrances: list[Callable[[], None]] = [
            lambda: elector.run(lambda _: None),
            lambda: enter(elector),
        ]
        for entered in entrances:
            with store._store.lock:
                store._election("e").token = 0
            with pytest.raises(TokenRegression):
                entered()

    def test_another_store_under_the_same_address_is_noticed(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        started(elector)
        elector.stop()
        campaign = store.campaign

        def swapped(attempt: object) -> object:
            answer = campaign(attempt)  # type: ignore[arg-type]
            assert isinstance(answer, Granted)
            return Granted(token=answer.token + 100, source="another")

        store.campaign = swapped  # type: ignore[method-assign, assignment]
        elector.start()
        with pytest.raises(TokenRegression, match="another"):
            elector.wait_elected(PATIENCE)


def enter(elector: LeaderElector) -> None:
    with elector.lead(timeout=PATIENCE):
        raise AssertionError("entered")


class TestOutages:
    def test_after_an_outage_it_leads_again_with_a_higher_token(
        self, store: Store, client: Client
    ) -> None:
        record = Record()
        elector = started(client.elector("e", on_elected=record.elected, on_lost=record.lost))
        for outage in range(2):
            store.fail(*ALL)
            record.wait("lost", outage + 1)
            store.heal()
            record.wait("elected", outage + 2)
        tokens = record.of("elected")
        assert tokens == sorted(tokens, key=str) and len(set(tokens)) == 3
        assert record.kinds() == ["elected", "lost"] * 2 + ["elected"]
        assert elector.is_leader

    def test_a_store_that_is_dead_from_the_start_is_retried_until_it_lives(
        self, store: Store, client: Client
    ) -> None:
        store.fail(*ALL)
        elector = client.elector("e")
        elector.start()
        assert elector.wait_elected(timeout=0.3) is False
        assert store.calls["campaign"] >= 2
        store.heal()
        assert elector.wait_elected(PATIENCE)

    def test_a_streak_of_failures_is_logged_once_and_its_end_once(
        self, store: Store, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "leaderlock"):
            elector = started(client.elector("e"))
            others = [started(client.elector(f"other-{number}")) for number in range(5)]
            store.fail("renew")
            renewals = store.calls["renew"]
            eventually(lambda: store.calls["renew"] >= renewals + 3)
            store.heal()
            eventually(lambda: elector.health() and all(other.health() for other in others))
            eventually(lambda: "leaderlock.store_recovered operation=renew" in caplog.text)
            client.close()
        assert caplog.text.count("leaderlock.store_failing operation=renew") == 1
        assert caplog.text.count("leaderlock.store_recovered operation=renew") == 1

    def test_a_fault_of_a_backend_is_logged_once_per_streak_with_its_traceback(
        self, store: Store, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "leaderlock"):
            started(client.elector("e"))
            store.fail("renew", error=KeyError("a fault of the backend"))
            renewals = store.calls["renew"]
            eventually(lambda: store.calls["renew"] >= renewals + 4)
            client.close()
        assert caplog.text.count("leaderlock.backend_fault operation=renew") == 1
        assert "Traceback" in caplog.text

    def test_terms_are_logged(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "leaderlock"):
            started(client.elector("e", candidate_id="me"))
            client.close()
        lines = [record.getMessage() for record in caplog.records]
        assert lines[0].startswith("leaderlock.elected election='e' candidate='me' token=")
        assert lines[1].endswith("reason='stopped'")

    def test_listeners_are_told_once_per_streak(self, store: Store, client: Client) -> None:
        events: list[Event] = []
        elector = client.elector("e")
        elector.subscribe(events.append)
        started(elector)
        store.fail("renew")
        renewals = store.calls["renew"]
        eventually(lambda: store.calls["renew"] >= renewals + 2)
        store.heal()
        eventually(elector.health)
        eventually(lambda: any(isinstance(event, StoreRecovered) for event in events))
        assert [type(e) for e in events if isinstance(e, StoreFailing | StoreRecovered)] == [
            StoreFailing,
            StoreRecovered,
        ]

    def test_a_follower_is_healthy_again_as_soon_as_the_store_answers_it(
        self, store: Store, clients: Callable[..., Client]
    ) -> None:
        record = Record()
        elector = started(clients().elector("e", on_lost=record.lost))
        store.fail(*ALL)
        record.wait("lost")
        eventually(lambda: not elector.health())
        other = clients(store.sibling()).elector("e")
        other.start()
        assert other.wait_elected(PATIENCE)
        store.heal()
        eventually(elector.health, "what failed while it led does not matter to a follower")
        assert not elector.is_leader

    def test_a_leader_is_healthy_again_although_its_last_release_failed(
        self, store: Store, client: Client
    ) -> None:
        record = Record()
        elector = started(client.elector("e", on_elected=record.elected, on_lost=record.lost))
        store.fail("renew", "release")
        record.wait("lost")
        eventually(lambda: store.calls["release"] >= 2)
        store.before.pop("renew")
        record.wait("elected", 2)
        eventually(elector.health)
        store.heal()


class TestReadings:
    @pytest.mark.parametrize(
        "payload", [b"", b"\xff", b"null", b"[]", b"{}", b'{"id": 1}', b'"text"']
    )
    def test_a_leader_that_cannot_be_read_is_an_error_of_ours(
        self, store: Store, client: Client, payload: bytes
    ) -> None:
        store.leader = lambda election: Reading(payload=payload, token=1, source="x")  # type: ignore[method-assign]
        with pytest.raises(BackendRefused, match="cannot read"):
            client.elector("e").leader()

    def test_an_observer_outlives_what_it_cannot_read(self, store: Store, client: Client) -> None:
        leader = store.leader
        store.leader = lambda election: Reading(payload=b"{}", token=1, source="x")  # type: ignore[method-assign]
        record = Record()
        elector = client.elector("e", on_leader_change=record.leader)
        elector.start()
        assert elector.wait_elected(PATIENCE)
        eventually(lambda: client.runtime()._failing)
        store.leader = leader  # type: ignore[method-assign]
        record.wait("leader")

    def test_an_error_that_a_backend_must_not_raise_is_wrapped(
        self, store: Store, client: Client
    ) -> None:
        store.fail("leader", error=KeyError("client library"))
        with pytest.raises(BackendUnavailable, match="broke its contract"):
            client.elector("e").leader()


def test_work_that_raises_is_told_as_an_event(client: Client) -> None:
    events: list[Event] = []
    elector = client.elector("e")
    elector.subscribe(events.append)
    runs: list[Leadership] = []

    def work(leadership: Leadership) -> None:
        runs.append(leadership)
        if len(runs) == 2:
            elector.stop()
            return
        raise ValueError("a fault of the user's")

    elector.run(work)
    eventually(lambda: any(isinstance(event, CallbackFailed) for event in events))
    (failed,) = (event for event in events if isinstance(event, CallbackFailed))
    assert failed.callback == "work"
    assert runs[0].reason is LossReason.WORK_FAILED


def test_secrets_appear_in_no_repr_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    from leaderlock import ConfigurationError

    secret = "hunter2"
    shown: list[str] = []
    for url in (
        f"memory://user:{secret}@name",
        f"memory://name?password={secret}",
        f"memory://name?pasword={secret}",
        f"memory://name?ttl=no&auth={secret}",
        f"memory://:{secret}#@name",
        f"memory://:#{secret}@name",
        f"memory://:?{secret}@name",
        f"memory://:/{secret}@name/x",
        f"memory://user:{secret}@[name/x",
        f"memory://user:{secret}@na me/x",
        f"memory://user:{secret}@n\u2100me/x",
        f"nothing://user:{secret}@name",
        f"no url at all, user:{secret}@name, //{secret}@",
    ):
        for make in (connect, lambda url: LeaderElector(url, "e")):
            with pytest.raises(ConfigurationError) as caught:
                make(url)
            shown += [str(caught.value), repr(caught.value)]
            shown += [
                repr(error)
                for error in (caught.value.__cause__, caught.value.__context__)
                if error is not None and not caught.value.__suppress_context__
            ]
    for text in shown:
        assert secret not in text, text
    assert secret not in caplog.text


class TestACrowdThatGetsNoAnswer:
    """What thousands of candidates do together, with fewer to be called a crowd."""

    CANDIDATES = 60

    def test_it_pauses_together_until_one_has_an_answer(
        self, clients: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("leaderlock.runtime._CROWD", 1e-6)  # the pauses of all are of hours
        store = Store(ttl=1.5)
        client = clients(store)
        store.fail("campaign")
        electors = [client.elector(f"shard-{number}") for number in range(self.CANDIDATES)]
        for elector in electors:
            elector.start()
        eventually(lambda: len(client.runtime()._unanswered) == self.CANDIDATES)
        assert store.calls["campaign"] == self.CANDIDATES
        store.heal()
        first = client.elector("another")
        first.start()
        for elector in [first, *electors]:
            assert elector.wait_elected(PATIENCE)
        assert store.calls["campaign"] == 2 * self.CANDIDATES + 1
        eventually(lambda: not client.runtime()._unanswered)

    def test_who_has_stopped_is_not_kept_for_a_better_time(
        self, clients: Callable[..., Client]
    ) -> None:
        store = Store(ttl=1.5)
        client = clients(store)
        store.fail("campaign")
        elector = client.elector("e")
        elector.start()
        eventually(lambda: client.runtime()._unanswered)
        assert elector.stop()
        eventually(lambda: not client.runtime()._unanswered)

    def test_a_release_waits_a_little_where_heartbeats_get_no_answer(
        self, clients: Callable[..., Client]
    ) -> None:
        store, record = Store(ttl=1.5), Record()
        client = clients(store)
        elector = client.elector("e", on_lost=record.lost)
        elector.start()
        assert elector.wait_elected(PATIENCE)
        store.fail("renew", "release")
        record.wait("lost")
        eventually(lambda: elector._candidate in client.runtime()._unanswered)
        store.heal()
        assert elector.wait_elected(PATIENCE)
