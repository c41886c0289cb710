"""The holder's handle on its term: computed from the clock on every call."""

from __future__ import annotations

import os
import threading
import weakref

import pytest

from leaderlock import ConfigurationError, FencingToken, Leadership, LeadershipLost, LossReason
from leaderlock.testing import FakeClock
from tests.elector.tools import PATIENCE, in_child, in_thread

TOKEN = FencingToken(1, 7, "test")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def term(clock: FakeClock) -> Leadership:
    return Leadership(
        token=TOKEN, leader_id="me", election="e", valid_until=clock.now() + 5, clock=clock
    )


def test_it_says_whose_term_it_is(term: Leadership) -> None:
    assert (term.token, term.leader_id, term.election) == (TOKEN, "me", "e")
    assert term.reason is None
    assert repr(term) == f"<Leadership of 'e' by 'me', token {TOKEN}, valid>"


def test_it_is_valid_until_the_instant_and_not_at_it(term: Leadership, clock: FakeClock) -> None:
    clock.advance(4.75)
    assert term.is_valid
    assert term.remaining() == 0.25
    term.check()
    clock.advance(0.25)
    assert not term.is_valid
    assert term.remaining() == 0.0
    with pytest.raises(LeadershipLost):
        term.check()


def test_a_term_that_the_clock_has_ended_says_expired_before_any_thread_does(
    term: Leadership, clock: FakeClock
) -> None:
    clock.advance(100)
    assert term.reason is LossReason.EXPIRED
    assert "over (expired)" in repr(term)
    assert term.wait_lost(0) is True


def test_an_extension_is_believed(term: Leadership, clock: FakeClock) -> None:
    clock.advance(4)
    term._extend(clock.now() + 5)
    clock.advance(4)
    assert term.is_valid
    assert term.remaining() == 1


def test_an_end_is_final_and_keeps_its_reason(term: Leadership) -> None:
    term._end(LossReason.TAKEN)
    assert not term.is_valid
    with pytest.raises(LeadershipLost) as caught:
        term.check()
    assert (caught.value.reason, caught.value.token) == (LossReason.TAKEN, TOKEN)
    assert term.reason is LossReason.TAKEN


def test_wait_lost_returns_at_the_end_and_not_before(term: Leadership) -> None:
    answers: list[bool] = []
    assert term.wait_lost(0.01) is False
    with in_thread(lambda: answers.append(term.wait_lost())):
        term._end(LossReason.RESIGNED)
    assert answers == [True]


@pytest.mark.parametrize("timeout", ["5", -1, float("nan"), True])
def test_a_wait_for_what_is_no_time_is_refused(term: Leadership, timeout: object) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be"):
        term.wait_lost(timeout)  # type: ignore[arg-type]


def test_in_a_forked_child_it_is_over_even_if_nobody_told_it(term: Leadership) -> None:
    parent = os.getpid()

    def child() -> None:
        assert os.getpid() != parent
        assert not term.is_valid
        assert term.remaining() == 0.0
        assert term.reason is LossReason.FORKED
        assert term.wait_lost(0)
        with pytest.raises(LeadershipLost) as caught:
            term.check()
        assert caught.value.reason is LossReason.FORKED

    assert in_child(child) == ""
    assert term.is_valid


def test_many_threads_may_wait_for_its_end(term: Leadership) -> None:
    ended = threading.Semaphore(0)

    def wait() -> None:
        if term.wait_lost(PATIENCE):
            ended.release()

    threads = [threading.Thread(target=wait) for _ in range(10)]
    for thread in threads:
        thread.start()
    term._end(LossReason.STOPPED)
    for thread in threads:
        thread.join(PATIENCE)
    assert all(ended.acquire(blocking=False) for _ in threads)


def test_it_can_be_referred_to_weakly_and_takes_no_other_attributes(term: Leadership) -> None:
    assert weakref.ref(term)() is term
    with pytest.raises(AttributeError):
        term.other = 1  # type: ignore[attr-defined]
