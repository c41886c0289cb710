"""stop(), resign() and close(): within their time, from wherever they are called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from leaderlock import Client, LeaderElector, Leadership, LossReason
from tests.elector.tools import (
    ALL,
    PATIENCE,
    Record,
    Store,
    eventually,
    in_thread,
    lasts_at_most,
    our_threads,
)


def started(elector: LeaderElector) -> LeaderElector:
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def end_of(how: str, client: Client, elector: LeaderElector) -> Callable[..., bool]:
    return {"stop": elector.stop, "resign": elector.resign, "close": client.close}[how]


EVERY_END = pytest.mark.parametrize("how", ["stop", "resign", "close"])


@EVERY_END
def test_on_a_healthy_store_it_says_that_all_is_released(
    store: Store, client: Client, how: str
) -> None:
    elector = started(client.elector("e"))
    assert end_of(how, client, elector)() is True
    assert store.seen.count(("release", store.seen[0][1])) == 1


@EVERY_END
@pytest.mark.parametrize("timeout", [0, 0.2])
def test_it_returns_in_time_while_the_store_hangs(
    store: Store, client: Client, how: str, timeout: float
) -> None:
    elector = started(client.elector("e"))
    store.hang(*ALL)
    with lasts_at_most(timeout):
        assert end_of(how, client, elector)(timeout=timeout) is False
    assert not elector.is_leader


@EVERY_END
def test_without_a_timeout_it_returns_within_the_stop_timeout(
    clients: Callable[..., Client], how: str
) -> None:
    store = Store(ttl=0.9)
    client = clients(store)
    elector = started(client.elector("e"))
    store.hang(*ALL)
    with lasts_at_most(elector.timing.stop_timeout):
        assert end_of(how, client, elector)() is False
    store.let_go()


@EVERY_END
def test_it_returns_in_time_while_the_campaign_hangs(
    store: Store, client: Client, how: str
) -> None:
    elector = client.elector("e")
    store.hang(*ALL)
    elector.start()
    eventually(lambda: store.calls["campaign"])
    with lasts_at_most(0.2):
        end_of(how, client, elector)(timeout=0.2)


@EVERY_END
def test_it_returns_in_time_while_work_hangs(store: Store, client: Client, how: str) -> None:
    elector = client.elector("e")
    entered, finish = threading.Event(), threading.Event()

    def work(_: Leadership) -> None:
        entered.set()
        finish.wait(PATIENCE)

    def run() -> None:
        elector.run(work)

    with in_thread(run):
        assert entered.wait(PATIENCE)
        with lasts_at_most(0.2):
            assert end_of(how, client, elector)(timeout=0.2) is False
        assert not elector.is_leader
        elector._candidate.begin_stop()
        finish.set()


@EVERY_END
def test_it_returns_in_time_while_a_callback_hangs(client: Client, how: str) -> None:
    entered, finish = threading.Event(), threading.Event()

    def hangs(_: Leadership) -> None:
        entered.set()
        finish.wait(PATIENCE)

    elector = started(client.elector("e", on_elected=hangs))
    assert entered.wait(PATIENCE)
    with lasts_at_most(0.2):
        assert end_of(how, client, elector)(timeout=0.2) is False
    finish.set()


@EVERY_END
@pytest.mark.parametrize("callback", ["on_elected", "on_lost", "on_leader_change", "subscribe"])
def test_called_in_a_callback_it_does_not_wait_for_itself(
    store: Store, client: Client, how: str, callback: str
) -> None:
    elector = client.elector("e")
    record, answers = Record(), list[bool]()
    called = threading.Event()

    def calls(*_: object) -> None:
        if not called.is_set() and elector._candidate.state.value != "idle":
            called.set()
            answers.append(end_of(how, client, elector)())

    getattr(elector, callback)(calls)
    elector.on_lost(record.lost)
    elector.start()
    if callback == "on_lost":
        assert elector.wait_elected(PATIENCE)
        elector.resign()
    assert called.wait(PATIENCE)
    eventually(lambda: answers, "it returned", timeout=2)
    if how == "resign":
        assert elector.wait_elected(PATIENCE), "it contends again"
    else:
        eventually(lambda: elector._candidate.state.value == "idle")
        assert not elector._candidate.contends
    assert client.close()
    assert set(store.seen) >= {
        ("release", attempt) for verb, attempt in store.seen if verb == "campaign"
    }


@EVERY_END
def test_called_in_work_it_does_not_wait_for_itself(store: Store, client: Client, how: str) -> None:
    elector = client.elector("e")
    terms: list[Leadership] = []

    def work(leadership: Leadership) -> None:
        terms.append(leadership)
        if len(terms) == 1:
            with lasts_at_most(0.1):
                assert end_of(how, client, elector)() is False
            assert not leadership.is_valid
            assert not elector.is_leader
        else:
            elector.stop()

    with lasts_at_most(10):
        elector.run(work)
    assert len(terms) == (2 if how == "resign" else 1)
    assert terms[0].reason is (LossReason.RESIGNED if how == "resign" else LossReason.STOPPED)
    eventually(lambda: store.calls["release"] >= len(terms))


@EVERY_END
@pytest.mark.parametrize("running", [False, True])
def test_called_in_a_lead_block_it_does_not_wait_for_itself(
    store: Store, client: Client, how: str, running: bool
) -> None:
    elector = client.elector("e")
    if running:
        elector.start()
    with elector.lead(timeout=PATIENCE) as leadership:
        with lasts_at_most(0.1):
            assert end_of(how, client, elector)() is False
        assert not leadership.is_valid
        assert not elector.is_leader
        assert not store.calls["release"], "released only when the block has been left"
    eventually(lambda: store.calls["release"] == 1)
    assert elector._candidate.contends is (running and how == "resign")


def test_an_elector_that_owns_its_client_stops_from_its_own_callback() -> None:
    elector = LeaderElector("memory://", "stops-itself", ttl=3)
    elector.on_elected(lambda _: elector.stop())
    elector.start()
    eventually(lambda: not our_threads(), "everything has ended")
    assert not elector.is_leader


def test_stop_and_start_in_one_callback_leave_it_started(client: Client) -> None:
    record = Record()
    elector = LeaderElector("memory://", "restarts-itself", ttl=3, on_lost=record.lost)
    restarted = threading.Event()

    @elector.on_elected
    def restart(leadership: Leadership) -> None:
        record.elected(leadership)
        if not restarted.is_set():
            restarted.set()
            elector.stop()
            elector.start()

    elector.start()
    record.wait("elected", 2)
    assert elector.wait_elected(PATIENCE)
    assert record.kinds() == ["elected", "lost", "elected"]
    assert elector.stop()
    eventually(lambda: not our_threads())


def test_stop_twice_and_before_start_is_harmless(client: Client) -> None:
    elector = client.elector("e")
    assert elector.stop()
    started(elector)
    assert elector.stop()
    assert elector.stop()
    assert client.close()
    assert client.close()


def test_a_second_stop_does_not_claim_more_than_the_first(store: Store) -> None:
    elector = LeaderElector(store, "e")
    started(elector)
    store.hang(*ALL)
    assert elector.stop(timeout=0.1) is False
    assert elector.stop(timeout=0.1) is False
    store.let_go()


def test_a_stopped_elector_can_be_started_again(client: Client) -> None:
    record = Record()
    elector = client.elector("e", on_elected=record.elected, on_lost=record.lost)
    for _ in range(3):
        started(elector)
        assert elector.stop()
        assert not elector.is_leader
    assert record.kinds() == ["elected", "lost"] * 3
    assert record.of("elected") == [1, 2, 3]


def test_a_closed_client_connects_again(client: Client) -> None:
    elector = started(client.elector("e"))
    client.close()
    started(elector)
    assert client.close()


def test_an_elector_stopped_on_a_dead_store_leads_again_when_the_store_is_back(
    store: Store, client: Client
) -> None:
    record = Record()
    elector = client.elector("e", on_elected=record.elected, on_lost=record.lost)
    started(elector)
    store.fail(*ALL)
    assert elector.stop(timeout=0.1) is False
    store.heal()
    started(elector)
    assert elector.stop()
    assert record.kinds() == ["elected", "lost"] * 2


def test_stop_without_time_to_wait_still_releases_over_a_shared_client(
    store: Store, clients: Callable[..., Client]
) -> None:
    client = clients()
    started(client.elector("other"))
    elector = started(client.elector("e"))
    elector.stop(timeout=0)
    eventually(lambda: store.calls["release"] == 1, "the next one need not wait for the ttl")


def test_stop_ends_a_wait_for_the_election(store: Store, clients: Callable[..., Client]) -> None:
    started(clients(store.sibling()).elector("e"))
    waiting = clients(store.sibling()).elector("e")
    waiting.start()
    answers: list[bool] = []
    with in_thread(lambda: answers.append(waiting.wait_elected())):
        waiting.stop()
    assert answers == [False]


def test_a_term_of_work_that_never_ends_is_not_renewed_after_stop(
    clients: Callable[..., Client],
) -> None:
    store = Store(ttl=0.9)
    client = clients(store)
    elector = client.elector("e")
    entered, finish = threading.Event(), threading.Event()

    def work(_: Leadership) -> None:
        entered.set()
        finish.wait(PATIENCE)

    with in_thread(lambda: elector.run(work)):
        assert entered.wait(PATIENCE)
        elector.stop(timeout=0.1)
        eventually(lambda: store.calls["release"] == 1, "drain_timeout bounds the wait for work")
        other = clients(store.sibling()).elector("e")
        started(other)
        finish.set()


def test_start_during_a_close_ends_as_started_or_as_stopped_and_never_as_a_zombie(
    store: Store,
) -> None:
    for _ in range(100):
        elector = LeaderElector(store, "e", ttl=None)
        elector.start()
        ready = threading.Barrier(2)

        def stop(elector: LeaderElector = elector, ready: threading.Barrier = ready) -> None:
            ready.wait()
            elector.stop()

        with in_thread(stop):
            ready.wait()
            elector.start()
        if elector._candidate.contends:
            assert elector.wait_elected(PATIENCE), "it contends, but nobody works for it"
        assert elector.stop()
    eventually(lambda: not our_threads())


def test_an_elector_that_is_started_and_forgotten_is_still_stopped_by_its_client(
    store: Store, clients: Callable[..., Client]
) -> None:
    import gc

    client, record = clients(), Record()
    client.elector("e", on_elected=record.elected, on_lost=record.lost).start()
    record.wait("elected")
    gc.collect()
    assert client.close()
    assert record.of("lost") == [LossReason.STOPPED]
    assert store.calls["release"] == 1


def test_a_store_whose_close_raises_does_not_make_stop_raise(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leaderlock.backends.memory import MemoryBackend

    def broken(self: MemoryBackend) -> None:
        raise OSError("cannot close")

    monkeypatch.setattr(MemoryBackend, "close", broken)
    elector = LeaderElector("memory://", "close-raises", ttl=3)
    started(elector)
    assert elector.stop()
    assert "cannot close" in caplog.text


def test_a_store_whose_close_hangs_does_not_hold_up_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    from leaderlock.backends.memory import MemoryBackend

    released = threading.Event()
    monkeypatch.setattr(MemoryBackend, "close", lambda self: released.wait(PATIENCE))
    elector = LeaderElector("memory://", "close-hangs", ttl=3)
    started(elector)
    with lasts_at_most(0.5):
        elector.stop(timeout=0.5)
    released.set()
    eventually(lambda: not our_threads())


def test_a_resignation_lets_another_candidate_lead(
    store: Store, clients: Callable[..., Client]
) -> None:
    first = started(clients(store.sibling()).elector("e"))
    second = clients(store.sibling()).elector("e")
    second.start()
    eventually(lambda: len(store._election("e").waiting) == 1)
    began = time.monotonic()
    assert first.resign()
    assert second.wait_elected(PATIENCE)
    assert time.monotonic() - began < 0.5
    assert not first.is_leader
    assert second.resign()
    assert first.wait_elected(PATIENCE), "it contends again"


def test_resign_is_harmless_when_not_leading(store: Store, client: Client) -> None:
    elector = client.elector("e")
    assert elector.resign()
    started(elector)
    assert elector.resign()
    assert elector.resign(), "nothing is held between two terms"
