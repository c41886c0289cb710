"""lead() and run(): contend, work, hand over."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator

import pytest

from leaderlock import (
    CampaignTimeout,
    Client,
    ConfigurationError,
    LeaderElector,
    LeaderLockError,
    Leadership,
    LeadershipLost,
    LossReason,
)
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


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(ttl=1.5)
    yield made
    made.let_go()


@pytest.fixture
def rival(store: Store, clients: Callable[..., Client]) -> LeaderElector:
    """Leads, so that nobody else does."""
    elector = clients(store.sibling()).elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


class TestLead:
    def test_the_block_runs_as_leader_and_resigns_on_the_way_out(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e", candidate_id="me")
        with elector.lead(timeout=PATIENCE) as leadership:
            leadership.check()
            assert elector.is_leader
            assert elector.leadership is leadership
            assert leadership.leader_id == "me"
            assert leadership.election == "e"
            assert 0 < leadership.remaining() <= elector.timing.belief_window
            assert leadership.wait_lost(0) is False
        assert not leadership.is_valid
        assert leadership.reason is LossReason.RESIGNED
        assert store.calls["release"] == 1
        assert not elector._candidate.contends

    def test_without_an_election_in_time_it_raises_and_contends_no_more(
        self, client: Client, rival: LeaderElector
    ) -> None:
        elector = client.elector("e")
        for error in (CampaignTimeout, TimeoutError):
            with pytest.raises(error, match=r"within 0\.1 s"), elector.lead(timeout=0.1):
                raise AssertionError("entered")
        assert not elector._candidate.contends
        rival.resign()
        assert rival.wait_elected(PATIENCE), "nobody else contends"

    def test_a_timeout_leaves_no_thread_behind(self) -> None:
        with (
            LeaderElector("memory://lead-timeout?ttl=3", "e") as rival,
            pytest.raises(CampaignTimeout),
        ):
            assert rival.wait_elected(PATIENCE)
            with LeaderElector("memory://lead-timeout?ttl=3", "e").lead(timeout=0.05):
                raise AssertionError("entered")
        eventually(lambda: not our_threads())

    def test_without_a_timeout_it_waits(self, client: Client, rival: LeaderElector) -> None:
        elector, entered = client.elector("e"), threading.Event()

        def lead() -> None:
            with elector.lead():
                entered.set()

        with in_thread(lead):
            assert not entered.wait(0.1)
            rival.stop()
            assert entered.wait(PATIENCE)

    def test_an_exception_leaves_as_it_is_and_ends_the_term_as_failed(self, client: Client) -> None:
        record = Record()
        elector = client.elector("e", on_lost=record.lost)
        for error in (ValueError("mine"), KeyboardInterrupt(), SystemExit(3)):
            with pytest.raises(type(error)) as caught, elector.lead(timeout=PATIENCE) as term:
                raise error
            assert caught.value is error
            assert term.reason is LossReason.WORK_FAILED
        record.wait("lost", 3)
        assert record.of("lost") == [LossReason.WORK_FAILED] * 3

    def test_a_loss_within_the_block_comes_out_of_check(self, store: Store, client: Client) -> None:
        elector = client.elector("e")
        with pytest.raises(LeadershipLost) as caught, elector.lead(PATIENCE) as leadership:
            store.fail("renew")
            assert leadership.wait_lost(PATIENCE)
            store.heal()
            leadership.check()
        assert caught.value.reason is LossReason.EXPIRED
        assert caught.value.token == leadership.token
        assert not elector._candidate.contends

    def test_a_block_that_does_not_notice_the_loss_leaves_quietly(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        with elector.lead(PATIENCE) as leadership:
            store.fail("renew")
            assert leadership.wait_lost(PATIENCE)
            store.heal()
        assert leadership.reason is LossReason.EXPIRED

    def test_on_a_started_elector_it_resigns_its_term_and_leaves_it_started(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        with elector:
            assert elector.wait_elected(PATIENCE)
            present = elector.leadership
            with elector.lead(timeout=PATIENCE) as leadership:
                assert leadership is present
            assert not leadership.is_valid
            assert store.calls["release"] == 1
            assert elector._candidate.contends
            assert elector.wait_elected(PATIENCE)
            assert elector.leadership is not leadership

    def test_twice_at_once_is_an_error_and_harms_nothing(self, client: Client) -> None:
        elector = client.elector("e")
        with elector.lead(timeout=PATIENCE) as leadership:
            with pytest.raises(LeaderLockError, match="under way"), elector.lead():
                raise AssertionError("entered")
            with pytest.raises(LeaderLockError, match="under way"):
                elector.run(lambda _: None)
            leadership.check()
        with elector.lead(timeout=PATIENCE):
            pass

    def test_two_in_a_row_are_two_terms(self, client: Client) -> None:
        elector, tokens = client.elector("e"), []
        for _ in range(3):
            with elector.lead(timeout=PATIENCE) as leadership:
                tokens.append(leadership.token)
        assert tokens == sorted(tokens) and len(set(tokens)) == 3

    def test_a_stop_while_it_waits_ends_the_wait(
        self, client: Client, rival: LeaderElector
    ) -> None:
        elector = client.elector("e")

        def lead() -> None:
            with pytest.raises(LeaderLockError, match="stopped while waiting"), elector.lead():
                raise AssertionError("entered")

        with in_thread(lead):
            eventually(lambda: elector._candidate.answered)
            elector.stop()

    def test_it_may_be_left_on_another_thread_than_it_was_entered_on(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        with elector:
            stack = contextlib.ExitStack()
            with in_thread(lambda: stack.enter_context(elector.lead(timeout=PATIENCE))):
                pass
            assert elector.is_leader
            with lasts_at_most(1):
                stack.close()
            assert store.calls["release"] == 1
            assert elector.wait_elected(PATIENCE), "the term has drained: it leads again"

    def test_its_end_is_bounded_by_one_stop_timeout_on_a_dead_store(
        self, store: Store, client: Client
    ) -> None:
        elector = client.elector("e")
        with elector.lead(timeout=PATIENCE):
            store.hang(*ALL)
            entered = True
            stop_timeout = elector.timing.stop_timeout
            timer = lasts_at_most(stop_timeout)
            timer.__enter__()
        timer.__exit__(None, None, None)
        assert entered

    @pytest.mark.parametrize("timeout", [-1, math.nan, "5", True, [], object()])
    def test_a_timeout_that_is_none_is_refused_before_anything_starts(
        self, store: Store, client: Client, timeout: object
    ) -> None:
        elector = client.elector("e")
        waits: list[Callable[[], object]] = [
            lambda: elector.lead(timeout=timeout).__enter__(),  # type: ignore[arg-type]
            lambda: elector.wait_elected(timeout),  # type: ignore[arg-type]
            lambda: elector.stop(timeout),  # type: ignore[arg-type]
            lambda: elector.resign(timeout),  # type: ignore[arg-type]
            lambda: client.close(timeout),  # type: ignore[arg-type]
        ]
        for wait in waits:
            with pytest.raises(ConfigurationError, match="timeout must be 0 or more seconds"):
                wait()
        assert not store.seen
        assert not our_threads()

    @pytest.mark.parametrize("timeout", [math.inf, 1e300, 10**12])
    def test_a_timeout_beyond_what_python_can_wait_is_no_limit(
        self, client: Client, timeout: float
    ) -> None:
        elector = client.elector("e")
        with elector.lead(timeout=timeout) as leadership:
            assert elector.wait_elected(timeout)
            with in_thread(lambda: leadership.wait_lost(timeout)):
                assert elector.resign(timeout) is False
        assert elector.stop(timeout)
        assert client.close(timeout)


class TestRun:
    def test_work_is_called_once_per_term_and_again_after_a_loss(
        self, store: Store, client: Client
    ) -> None:
        elector, terms = client.elector("e"), list[Leadership]()

        def work(leadership: Leadership) -> None:
            assert elector.leadership is leadership
            terms.append(leadership)
            if len(terms) == 1:
                store.fail("renew")
                assert leadership.wait_lost(PATIENCE)
                store.heal()
                leadership.check()
            else:
                elector.stop()

        elector.run(work)
        assert [term.reason for term in terms] == [LossReason.EXPIRED, LossReason.STOPPED]
        assert terms[0].token < terms[1].token

    def test_work_that_returns_gives_the_term_up_and_is_called_again(
        self, store: Store, client: Client
    ) -> None:
        elector, terms = client.elector("e"), list[Leadership]()

        def work(leadership: Leadership) -> None:
            terms.append(leadership)
            if len(terms) == 3:
                elector.stop()

        elector.run(work)
        assert [term.reason for term in terms] == [
            LossReason.RESIGNED,
            LossReason.RESIGNED,
            LossReason.STOPPED,
        ]

    def test_work_that_raises_is_logged_and_contended_for_again(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        elector, terms = client.elector("e"), list[Leadership]()

        def work(leadership: Leadership) -> None:
            terms.append(leadership)
            if len(terms) == 2:
                elector.stop()
            else:
                raise ValueError("a fault of the user's")

        elector.run(work)
        assert terms[0].reason is LossReason.WORK_FAILED
        assert "leaderlock.callback_failed callback=work" in caplog.text

    def test_work_that_ends_by_check_has_not_failed(
        self, store: Store, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        elector = client.elector("e")

        def work(leadership: Leadership) -> None:
            elector.stop()
            leadership.check()

        elector.run(work)
        assert "callback_failed" not in caplog.text

    def test_stop_on_another_thread_ends_it(self, client: Client) -> None:
        elector, entered = client.elector("e"), threading.Event()

        def work(leadership: Leadership) -> None:
            entered.set()
            leadership.wait_lost()

        with in_thread(lambda: elector.run(work)):
            assert entered.wait(PATIENCE)
            assert elector.stop()

    def test_stop_on_another_thread_ends_it_while_it_waits(
        self, client: Client, rival: LeaderElector
    ) -> None:
        elector = client.elector("e")
        with in_thread(lambda: elector.run(lambda _: None)):
            eventually(lambda: elector._candidate.answered)
            assert elector.stop()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_in_work_leaves_it_and_hands_over(
        self, store: Store, client: Client, error: type[BaseException]
    ) -> None:
        elector, terms = client.elector("e"), list[Leadership]()

        def work(leadership: Leadership) -> None:
            terms.append(leadership)
            raise error

        with pytest.raises(error):
            elector.run(work)
        assert terms[0].reason is LossReason.WORK_FAILED
        assert store.calls["release"] == 1
        assert not elector._candidate.contends

    def test_a_started_elector_stays_started_after_an_interrupt(self, client: Client) -> None:
        elector = client.elector("e")

        def work(leadership: Leadership) -> None:
            raise KeyboardInterrupt

        with elector:
            with pytest.raises(KeyboardInterrupt):
                elector.run(work)
            assert elector._candidate.contends
            assert elector.wait_elected(PATIENCE)

    def test_two_services_take_turns(self, store: Store, clients: Callable[..., Client]) -> None:
        running = threading.Lock()
        electors = [clients(store.sibling()).elector("e") for _ in range(2)]
        turns: list[int] = []

        def service(number: int) -> None:
            def work(leadership: Leadership) -> None:
                assert running.acquire(blocking=False), "two work at once"
                turns.append(number)
                running.release()

            electors[number].run(work)

        with in_thread(lambda: service(0)), in_thread(lambda: service(1)):
            eventually(lambda: len(turns) >= 6)
            for elector in electors:
                elector.stop()
        assert set(turns) == {0, 1}
        assert all(a != b for a, b in zip(turns[:6], turns[1:6], strict=False)), turns


class TestWaitElected:
    def test_a_candidate_waits_for_itself(self, client: Client, rival: LeaderElector) -> None:
        elector = client.elector("e")
        elector.start()
        assert elector.wait_elected(timeout=0.1) is False
        assert elector.wait_elected(timeout=0) is False
        rival.stop()
        assert elector.wait_elected(timeout=PATIENCE) is True

    def test_others_wait_for_anybody(
        self, store: Store, client: Client, rival: LeaderElector
    ) -> None:
        elector = client.elector("e")
        assert elector.wait_elected(timeout=PATIENCE) is True
        assert not elector.is_leader
        rival.stop()
        assert elector.wait_elected(timeout=0.1) is False
        rival.start()
        assert elector.wait_elected(timeout=PATIENCE) is True
        assert store.calls["campaign"] == store.calls["renew"] == 0

    def test_stop_ends_the_wait_for_anybody(self, client: Client) -> None:
        elector, answers = client.elector("e"), list[bool]()
        with in_thread(lambda: answers.append(elector.wait_elected())):
            eventually(lambda: elector._feed._subscribers)
            elector.stop()
        assert answers == [False]

    def test_closing_the_client_ends_the_wait_for_anybody(self, client: Client) -> None:
        elector, answers = client.elector("e"), list[bool]()
        with in_thread(lambda: answers.append(elector.wait_elected())):
            eventually(lambda: elector._feed._subscribers)
            client.close()
        assert answers == [False]
