"""What leaderlock.testing offers for the tests of others."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from leaderlock import LeaderElector, Leadership, LossReason
from leaderlock.backends.base import Attempt, Granted, Renewal, Settings, Waiting
from leaderlock.backends.memory import MemoryBackend
from leaderlock.errors import BackendRefused, BackendUnavailable, ConfigurationError
from leaderlock.testing import FakeClock, FaultyBackend
from leaderlock.url import StoreURL

_stores = itertools.count()


def make_faulty(ttl: float = 30.0, request_timeout: float = 0.05) -> FaultyBackend:
    settings = Settings(ttl=ttl, request_timeout=request_timeout, clock=FakeClock())
    return FaultyBackend(MemoryBackend(settings, f"testing-{next(_stores)}"))


def attempt(name: str = "a") -> Attempt:
    return Attempt("election", name, b"", lambda: None)


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_fake_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(start=5.0)
    assert clock.now() == clock.now() == 5.0
    clock.advance(2.5)
    assert clock.now() == 7.5


def test_fake_clock_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="-1"):
        FakeClock().advance(-1)


def test_importing_leaderlock_testing_needs_no_pytest() -> None:
    code = "import sys, leaderlock.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name_is_an_attribute_error() -> None:
    import leaderlock.testing

    with pytest.raises(AttributeError, match="NoSuchThing"):
        leaderlock.testing.NoSuchThing  # noqa: B018


def test_wrapper_shows_what_it_wraps() -> None:
    faulty = make_faulty()
    assert faulty.settings is faulty.inner.settings
    assert faulty.capabilities == faulty.inner.capabilities
    assert faulty.schemes is faulty.inner.schemes


def test_wrapper_has_no_url() -> None:
    with pytest.raises(ConfigurationError, match="wrap"):
        FaultyBackend.from_url(StoreURL.parse("memory://"), make_faulty().settings)
    with pytest.raises(ConfigurationError, match="wrap"):
        FaultyBackend.limits(StoreURL.parse("memory://"))


def test_without_a_fault_everything_passes() -> None:
    faulty = make_faulty()
    woken = threading.Event()
    unwatch = faulty.watch("election", woken.set)
    assert isinstance(faulty.campaign(attempt()), Granted)
    assert woken.is_set()
    assert faulty.renew([attempt()]).outcomes == {"a": Renewal.RENEWED}
    assert faulty.leader("election").payload == b""
    faulty.release(attempt())
    unwatch()
    faulty.close()
    assert faulty.calls == dict.fromkeys(
        ("watch", "campaign", "renew", "leader", "release", "close"), 1
    )


def test_lost_request_is_not_carried_out() -> None:
    faulty = make_faulty()
    with faulty.losing_requests(), pytest.raises(BackendUnavailable):
        faulty.campaign(attempt())
    assert faulty.leader("election").payload is None


def test_lost_reply_is_carried_out() -> None:
    faulty = make_faulty()
    with faulty.losing_replies(), pytest.raises(BackendUnavailable):
        faulty.campaign(attempt())
    assert faulty.leader("election").payload == b""


def test_refusal_is_not_carried_out() -> None:
    faulty = make_faulty()
    with faulty.refusing("campaign"), pytest.raises(BackendRefused):
        faulty.campaign(attempt())
    assert faulty.leader("election").payload is None


def test_fault_meets_only_what_it_names() -> None:
    faulty = make_faulty()
    with faulty.losing_requests("renew", "leader") as fault:
        faulty.campaign(attempt())
        with pytest.raises(BackendUnavailable):
            faulty.leader("election")
    assert fault.hits == 1


def test_fault_with_times_meets_only_the_next_few() -> None:
    faulty = make_faulty()
    with faulty.losing_requests(times=2) as fault:
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                faulty.leader("election")
        faulty.leader("election")
    assert fault.hits == 2


def test_innermost_fault_acts() -> None:
    faulty = make_faulty()
    with faulty.losing_requests():
        with faulty.refusing(), pytest.raises(BackendRefused):
            faulty.leader("election")
        with pytest.raises(BackendUnavailable):
            faulty.leader("election")


def test_misspelt_method_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="renwe.*renew"):
        make_faulty().losing_requests("renwe")


def test_hanging_call_comes_back_at_the_end_of_the_block() -> None:
    faulty = make_faulty()
    with faulty.hanging("campaign") as fault:
        thread = in_background(lambda: faulty.campaign(attempt()))
        assert fault.wait_hit()
        assert faulty.leader("election").payload is None
        assert thread.is_alive()
    thread.join(10.0)
    assert faulty.leader("election").payload == b""


def test_delayed_reply_is_carried_out_first() -> None:
    faulty = make_faulty()
    applied = threading.Event()
    faulty.watch("election", applied.set)
    with faulty.delaying_replies("campaign"):
        thread = in_background(lambda: faulty.campaign(attempt()))
        assert applied.wait(10.0)
        assert thread.is_alive()
    thread.join(10.0)
    assert not thread.is_alive()


def test_delay_can_be_a_number_of_seconds() -> None:
    faulty = make_faulty()
    began = time.monotonic()
    with faulty.delaying_replies(seconds=0.05):
        faulty.leader("election")
    assert time.monotonic() - began >= 0.05


def test_frozen_store_carries_out_late_what_it_was_asked() -> None:
    faulty = make_faulty()
    with faulty.freezing():
        with pytest.raises(BackendUnavailable):
            faulty.campaign(attempt())
        assert faulty.inner.leader("election").payload is None
    assert faulty.leader("election").payload == b""
    assert isinstance(faulty.campaign(attempt("b")), Waiting)


def test_call_that_is_still_waiting_at_the_thaw_gets_its_answer() -> None:
    faulty = make_faulty(request_timeout=30.0)
    answers: list[object] = []
    with faulty.freezing() as fault:
        thread = in_background(lambda: answers.append(faulty.campaign(attempt())))
        assert fault.wait_hit()
    thread.join(10.0)
    assert isinstance(answers[0], Granted)


def test_wait_hit_says_when_there_was_none() -> None:
    with make_faulty().hanging() as fault:
        assert not fault.wait_hit(timeout=0.01)


def test_example_of_the_module() -> None:
    faulty = make_faulty(ttl=0.3)
    clock = faulty.settings.clock
    assert isinstance(clock, FakeClock)
    lost: list[LossReason] = []
    told = threading.Event()

    def note(leadership: Leadership, reason: LossReason) -> None:
        lost.append(reason)
        told.set()

    with LeaderElector(faulty, "billing") as elector:
        elector.on_lost(note)
        assert elector.wait_elected(timeout=5)
        with faulty.hanging("renew"):
            clock.advance(elector.timing.belief_window)
            assert not elector.is_leader
            assert told.wait(5)
            assert lost == [LossReason.EXPIRED]  # here: a next term may begin when the block ends
