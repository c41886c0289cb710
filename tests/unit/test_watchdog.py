"""What the watchdog looks at: whoever is due, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, cast

import pytest

from leaderlock.backends.base import Attempt
from leaderlock.candidate import Candidate
from leaderlock.clock import BOOT_CLOCK
from leaderlock.runtime import Runtime
from leaderlock.testing import FakeClock
from leaderlock.timing import Timing
from tests.elector.tools import Store, eventually

FAR = 1000.0


class Watched:
    """Stands for a candidate: has a deadline, and counts how often it is looked at."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.ticks = 0

    def tick(self) -> float:
        self.ticks += 1
        return BOOT_CLOCK.now() + self.pause

    def lease(self, waiting_too: bool) -> Attempt | None:
        return None


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime(Store(), Timing(), BOOT_CLOCK)
    yield runtime
    runtime.close(10.0)


def watch(runtime: Runtime, watched: Watched, seconds: float) -> None:
    candidate = cast("Candidate[Any]", watched)
    runtime.join(candidate)
    runtime.poke(candidate, BOOT_CLOCK.now() + seconds)


def leave(runtime: Runtime, watched: Watched) -> None:
    runtime.leave(cast("Candidate[Any]", watched))


def test_a_deadline_that_has_come_is_not_looked_for_in_a_thousand_others(runtime: Runtime) -> None:
    busy, others = Watched(0.01), [Watched(FAR) for _ in range(1000)]
    for other in others:
        watch(runtime, other, FAR)
    watch(runtime, busy, 0.0)
    eventually(lambda: busy.ticks >= 20)
    assert sum(other.ticks for other in others) == 0


def test_an_earlier_deadline_comes_before_one_that_was_told_earlier(runtime: Runtime) -> None:
    watched, other = Watched(FAR), Watched(FAR)
    watch(runtime, other, FAR)
    watch(runtime, watched, FAR)
    eventually(lambda: runtime._watch_until < BOOT_CLOCK.now() + 2 * FAR)
    watch(runtime, watched, 0.05)
    eventually(lambda: watched.ticks == 1)
    assert other.ticks == 0


def test_a_later_deadline_is_found_out_by_looking_and_nothing_is_looked_at_twice(
    runtime: Runtime,
) -> None:
    watched, busy = Watched(FAR), Watched(0.01)
    watch(runtime, watched, 0.05)
    watch(runtime, watched, FAR)
    watch(runtime, busy, 0.0)
    eventually(lambda: watched.ticks == 1)
    seen = busy.ticks
    eventually(lambda: busy.ticks >= seen + 20)
    assert watched.ticks == 1


def test_deadlines_that_are_near_each_other_are_one_wake_and_each_is_kept() -> None:
    clock = FakeClock()
    runtime = Runtime(Store(), Timing(), clock)
    start = clock.now() + 5.0
    deadlines = {cast("Candidate[Any]", Watched(FAR)): start + n / 1000 for n in range(200)}

    def watch_all(candidates: Iterable[Candidate[Any]]) -> None:
        for candidate in candidates:
            runtime._watch(candidate, deadlines[candidate])

    with runtime._state:
        for candidate in deadlines:
            runtime.join(candidate)
        watch_all(deadlines)
        wakes = sorted({look for look, _, _ in runtime._due})
        assert len(wakes) <= 3
        assert start - 0.1 <= wakes[0]
        clock.advance(wakes[-1] - clock.now())
        watch_all(due := runtime._take_due())  # nobody has renewed them
        assert set(due) == set(deadlines)
        assert {candidate: look for look, _, candidate in runtime._due} == deadlines


def test_who_has_left_is_not_looked_at_and_not_kept(runtime: Runtime) -> None:
    gone, busy = Watched(FAR), Watched(0.01)
    watch(runtime, gone, 0.5)
    leave(runtime, gone)
    watch(runtime, busy, 0.6)
    eventually(lambda: busy.ticks >= 5)
    assert gone.ticks == 0
    for _ in range(1000):
        other = Watched(FAR)
        watch(runtime, other, FAR)
        leave(runtime, other)
    with runtime._state:
        assert len(runtime._due) < 200
        assert len(runtime._members) == 1


def test_a_candidate_that_comes_back_is_looked_at_by_its_new_deadline(runtime: Runtime) -> None:
    watched = Watched(FAR)
    watch(runtime, watched, FAR)
    leave(runtime, watched)
    watch(runtime, watched, 0.05)
    eventually(lambda: watched.ticks == 1)


def test_a_fault_of_one_look_takes_nobody_elses_watchdog(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Watched):
        def tick(self) -> float:
            super().tick()
            raise ValueError("a fault of ours")

    faulty, other = Faulty(FAR), Watched(0.01)
    watch(runtime, faulty, 0.0)
    watch(runtime, other, 0.0)
    eventually(lambda: faulty.ticks >= 2 and other.ticks >= 20)
    assert "leaderlock.internal_error thread=watchdog" in caplog.text
    assert threading.active_count() < 20
