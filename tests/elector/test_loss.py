"""A store, a callback or a log that hangs for ever delays no loss."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from leaderlock import Client, FencingToken, LeaderElector, LeadershipLost, LossReason
from leaderlock.testing import FakeClock
from tests.elector.tools import ALL, PATIENCE, Record, Store, eventually

TTL = 0.9
WINDOW = 2 / 3 * TTL


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(TTL)
    yield made
    made.let_go()


def leading(client: Client, election: str, **callbacks: Callable[..., object]) -> LeaderElector:
    elector = client.elector(election, **callbacks)  # type: ignore[arg-type]
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def test_a_store_that_hangs_for_ever_does_not_delay_the_loss(store: Store, client: Client) -> None:
    lost_at = []
    record = Record()

    def lost(leadership: object, reason: LossReason) -> None:
        lost_at.append(time.monotonic())
        record.lost(leadership, reason)  # type: ignore[arg-type]

    elector = leading(client, "e", on_lost=lost)
    leadership = elector.leadership
    assert leadership is not None
    store.hang(*ALL)
    deadline = time.monotonic() + leadership.remaining()
    record.wait("lost")
    assert record.of("lost") == [LossReason.EXPIRED]
    assert not elector.is_leader
    assert elector.leadership is None
    assert lost_at[0] <= deadline + WINDOW + 0.3  # a renewal was perhaps under way when it hung
    with pytest.raises(LeadershipLost) as caught:
        leadership.check()
    assert caught.value.reason is LossReason.EXPIRED
    assert leadership.remaining() == 0.0


def test_two_electors_of_one_client_lose_in_time_while_everything_hangs(
    store: Store, client: Client
) -> None:
    record = Record()
    electors = [leading(client, name, on_lost=record.lost) for name in ("a", "b")]
    store.hang(*ALL)
    record.wait("lost", 2, timeout=2 * WINDOW + 1)
    assert record.of("lost") == [LossReason.EXPIRED] * 2
    assert not any(elector.is_leader for elector in electors)


def test_a_loss_is_noticed_while_every_io_thread_is_stuck(
    store: Store, clients: Callable[..., Client]
) -> None:
    client = clients()
    record = Record()
    elector = leading(client, "held", on_lost=record.lost)
    store.hang("campaign", "leader")
    stuck = [client.elector(f"stuck-{number}") for number in range(6)]
    for other in stuck:
        other.start()
    eventually(lambda: store.calls["campaign"] >= 1 + 3, "all three io threads hang")
    assert elector.is_leader, "renewals do not need the io threads"
    store.hang("renew")
    record.wait("lost", timeout=2 * WINDOW + 1)
    assert not elector.is_leader


def test_renewals_go_on_while_every_io_thread_is_stuck(store: Store, client: Client) -> None:
    record = Record()
    elector = leading(client, "held", on_lost=record.lost)
    store.hang("campaign", "leader")
    for number in range(6):
        client.elector(f"stuck-{number}").start()
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] >= renewals + 10)
    assert elector.is_leader
    assert record.told == []


def test_silence_of_a_store_that_raises_ends_the_term_at_its_deadline(
    store: Store, client: Client
) -> None:
    record = Record()
    elector = leading(client, "e", on_lost=record.lost)
    store.fail("renew")
    assert elector.is_leader, "silence does not end a term before its deadline"
    record.wait("lost", timeout=2 * WINDOW + 1)
    assert record.of("lost") == [LossReason.EXPIRED]


def test_a_term_that_somebody_took_ends_at_the_next_heartbeat(store: Store, client: Client) -> None:
    record = Record()
    elector = leading(client, "e", on_lost=record.lost)
    with store._store.lock:
        store._election("e").holder = None
    record.wait("lost")
    assert record.of("lost") == [LossReason.TAKEN]
    assert elector.wait_elected(PATIENCE), "it contends again"


def test_a_jump_of_the_clock_ends_belief_at_once_and_tells_within_a_second(
    clients: Callable[..., Client],
) -> None:
    clock = FakeClock()
    store = Store(ttl=10.0, clock=clock)
    record = Record()
    elector = leading(clients(store), "e", on_lost=record.lost)
    leadership = elector.leadership
    assert leadership is not None
    assert leadership.remaining() == pytest.approx(2 / 3 * 10)
    clock.advance(6.6)
    assert elector.is_leader
    clock.advance(0.1)
    assert not elector.is_leader, "before any thread has run"
    assert leadership.reason is LossReason.EXPIRED
    record.wait("lost", timeout=2.5)
    assert record.of("lost") == [LossReason.EXPIRED]
    store.let_go()


def test_is_leader_never_turns_true_again_for_an_ended_term(store: Store, client: Client) -> None:
    elector = leading(client, "e")
    first = elector.leadership
    assert first is not None
    store.fail("renew")
    eventually(lambda: not first.is_valid)
    store.heal()
    eventually(lambda: elector.is_leader)
    second = elector.leadership
    assert second is not None and second is not first
    assert not first.is_valid
    assert second.token > first.token


def test_a_log_handler_that_hangs_does_not_stop_the_watchdog(store: Store, client: Client) -> None:
    opened = threading.Event()

    class Hanging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "leaderlock.lost" in record.getMessage():
                opened.wait(PATIENCE)

    handler = Hanging()
    logger = logging.getLogger("leaderlock")
    record = Record()
    for name in ("a", "b", "c"):
        leading(client, name, on_lost=record.lost)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        store.hang(*ALL)
        record.wait("lost", 3, timeout=2 * WINDOW + 2)
    finally:
        opened.set()
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_a_store_that_answers_nonsense_stops_neither_its_elector_nor_the_watchdog(
    store: Store, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record()
    leading(client, "sound", on_lost=record.lost)
    campaign = store.campaign
    nonsense: list[object] = [None, object(), "granted"]

    def broken(attempt: object) -> object:
        if attempt.election != "broken" or not nonsense:  # type: ignore[attr-defined]
            return campaign(attempt)  # type: ignore[arg-type]
        return nonsense.pop()

    store.campaign = broken  # type: ignore[method-assign, assignment]
    broken_elector = client.elector("broken")
    broken_elector.start()
    assert broken_elector.wait_elected(PATIENCE)
    store.hang("renew")
    record.wait("lost", timeout=2 * WINDOW + 2)


@pytest.mark.parametrize("token", [-1, 2**63, "17", 1.5, None])
def test_a_token_that_is_none_never_leads_and_never_kills_the_watchdog(
    store: Store, client: Client, token: object, caplog: pytest.LogCaptureFixture
) -> None:
    from leaderlock.backends.base import Granted

    record = Record()
    leading(client, "sound", on_lost=record.lost)
    campaign = store.campaign

    def broken(attempt: object) -> object:
        if attempt.election != "broken":  # type: ignore[attr-defined]
            return campaign(attempt)  # type: ignore[arg-type]
        store.calls["broken"] += 1
        return Granted(token=token, source="broken")  # type: ignore[arg-type]

    store.campaign = broken  # type: ignore[method-assign, assignment]
    elector = client.elector("broken")
    elector.start()
    eventually(lambda: store.calls["broken"] >= 3, "it is asked again")
    assert not elector.is_leader
    assert not elector.health()
    store.hang("renew")
    record.wait("lost", timeout=2 * WINDOW + 2)


def test_tokens_rise_from_term_to_term(client: Client) -> None:
    elector = client.elector("e")
    elector.start()
    tokens: list[FencingToken] = []
    for _ in range(3):
        assert elector.wait_elected(PATIENCE)
        leadership = elector.leadership
        assert leadership is not None
        tokens.append(leadership.token)
        elector.resign()
    assert tokens == sorted(tokens) and len(set(tokens)) == 3


def test_asking_who_leads_costs_little(client: Client) -> None:
    elector = leading(client, "e")
    costs = []
    for _ in range(50):
        began = time.perf_counter()
        for _ in range(1000):
            elector.is_leader  # noqa: B018 - that is what is measured
        costs.append((time.perf_counter() - began) / 1000)
    median = sorted(costs)[len(costs) // 2]
    print(f"is_leader: {median * 1e6:.2f} us")
    assert median < 5e-6
