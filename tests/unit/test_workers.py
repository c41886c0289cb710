"""A few threads for any number of jobs: none is forgotten, none blocks another."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator

import pytest

from leaderlock.workers import Lane, Recurring, Workers
from tests.elector.tools import PATIENCE, eventually


@pytest.fixture
def make() -> Iterator[Callable[..., Workers]]:
    """Makes workers, and sees to it that none is left."""
    made: list[Workers] = []

    def make(size: int = 2, *, finish: bool = False) -> Workers:
        made.append(Workers("test-workers", size, finish=finish))
        return made[-1]

    yield make
    for workers in made:
        for thread in workers.close():
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Gate:
    """A job that hangs until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE)


def test_jobs_run_the_soonest_due_first(make: Callable[..., Workers]) -> None:
    workers, gate, order, done = make(1), Gate(), list[str](), threading.Event()
    workers.submit(gate)
    gate.entered.wait(PATIENCE)
    workers.submit(done.set, 0.03)
    workers.submit(lambda: order.append("second"), 0.02)
    workers.submit(lambda: order.append("first"), 0.01)
    gate.open.set()
    assert done.wait(PATIENCE)
    assert order == ["first", "second"]


def test_no_thread_is_started_without_work(make: Callable[..., Workers]) -> None:
    assert make(3).close() == []


def test_there_are_never_more_threads_than_asked_for(make: Callable[..., Workers]) -> None:
    workers, done = make(3), threading.Semaphore(0)
    for _ in range(200):
        workers.submit(done.release)
    for _ in range(200):
        assert done.acquire(timeout=PATIENCE)
    assert 1 <= len(workers.close()) <= 3


def test_threads_that_have_nothing_to_do_end_but_the_last_and_come_again(
    make: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leaderlock.workers._LINGER", 0.02)
    workers, meeting = make(3), threading.Barrier(4)

    def meet() -> None:
        meeting.wait(PATIENCE)

    for _ in range(20):
        for _ in range(3):
            assert workers.submit(meet)
        meet()
        eventually(lambda: len(workers._threads) == 1)
        assert workers._threads[0].is_alive()
    ran = threading.Event()
    assert workers.submit(ran.set, delay=0.1), "one that is due later keeps nobody waiting"
    assert ran.wait(PATIENCE)


def test_a_job_that_hangs_does_not_keep_those_from_running_that_came_at_the_same_time(
    make: Callable[..., Workers],
) -> None:
    workers, gate, warm, done = make(2), Gate(), threading.Event(), threading.Event()
    workers.submit(warm.set)
    assert warm.wait(PATIENCE)
    eventually(lambda: workers._idle == 1)
    workers.submit(gate, 0.02)
    workers.submit(done.set, 0.02)
    assert gate.entered.wait(PATIENCE)
    assert done.wait(2.0), "the second job waits behind the first although a thread is to be had"
    gate.open.set()


def test_an_idle_thread_takes_the_job_that_a_hanging_one_leaves_behind(
    make: Callable[..., Workers],
) -> None:
    workers, first, second, done = make(2), Gate(), Gate(), threading.Event()
    workers.submit(first)
    workers.submit(second)
    assert first.entered.wait(PATIENCE) and second.entered.wait(PATIENCE)
    first.open.set()
    second.open.set()
    eventually(lambda: workers._idle == 2, "both threads wait")
    hanging = Gate()
    workers.submit(hanging, 0.02)
    workers.submit(done.set, 0.02)
    assert hanging.entered.wait(PATIENCE)
    assert done.wait(2.0), "the second job waits behind the first although a thread is idle"
    hanging.open.set()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_job_that_raises_is_logged_and_costs_no_thread(
    make: Callable[..., Workers], caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    workers, done = make(1), threading.Event()

    def job() -> None:
        raise error("a fault")

    with caplog.at_level(logging.ERROR, "leaderlock"):
        workers.submit(job)
        workers.submit(done.set)
        assert done.wait(PATIENCE)
    assert "leaderlock.internal_error" in caplog.text


def test_after_close_nothing_is_begun(make: Callable[..., Workers]) -> None:
    workers, ran = make(), threading.Event()
    workers.submit(ran.set, 0.05)
    for thread in workers.close():
        thread.join(PATIENCE)
    workers.submit(ran.set)
    assert not ran.wait(0.1)


def test_finishing_workers_run_what_is_due_and_what_that_submits(
    make: Callable[..., Workers],
) -> None:
    workers, gate, ran = make(1, finish=True), Gate(), list[str]()

    def due() -> None:
        ran.append("due")
        workers.submit(lambda: ran.append("submitted by it"))

    workers.submit(gate)
    assert gate.entered.wait(PATIENCE)
    workers.submit(due)
    threads = workers.close()
    gate.open.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert ran == ["due", "submitted by it"]


class WakesOnRelease:
    """A lock that wakes `recurring` when it is released for the `number`th time."""

    def __init__(self, recurring: Recurring, number: int) -> None:
        self._lock = threading.Lock()
        self._recurring = recurring
        self._left = number

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._left -= 1
        wake = self._left == 0
        self._lock.release()
        if wake:
            self._recurring.due_in(0.0)


class TestLane:
    def test_jobs_keep_their_order_and_never_overlap(self, make: Callable[..., Workers]) -> None:
        workers, order, done = make(4), list[int](), threading.Event()
        lane, inside = Lane(workers), threading.Lock()

        def job(number: int) -> None:
            assert inside.acquire(blocking=False)
            order.append(number)
            inside.release()

        for number in range(300):
            lane.submit(lambda number=number: job(number))  # type: ignore[misc]
        lane.submit(done.set)
        assert done.wait(PATIENCE)
        assert order == list(range(300))

    def test_a_job_that_hangs_holds_up_its_own_lane_only(
        self, make: Callable[..., Workers]
    ) -> None:
        workers, gate = make(2), Gate()
        stuck, free = Lane(workers), Lane(workers)
        later, done = threading.Event(), threading.Event()
        stuck.submit(gate)
        stuck.submit(later.set)
        assert gate.entered.wait(PATIENCE)
        for _ in range(50):
            free.submit(lambda: None)
        free.submit(done.set)
        assert done.wait(PATIENCE)
        assert not later.is_set()
        gate.open.set()
        assert later.wait(PATIENCE)

    def test_a_job_that_raises_does_not_stop_the_lane(
        self, make: Callable[..., Workers], caplog: pytest.LogCaptureFixture
    ) -> None:
        lane, done = Lane(make(1)), threading.Event()

        def job() -> None:
            raise ValueError("a fault")

        with caplog.at_level(logging.CRITICAL, "leaderlock"):
            lane.submit(job)
            lane.submit(done.set)
            assert done.wait(PATIENCE)

    def test_it_knows_its_own_thread(self, make: Callable[..., Workers]) -> None:
        lane, answers, done = Lane(make(1)), list[bool](), threading.Event()
        lane.submit(lambda: answers.append(lane.is_current_thread))
        lane.submit(done.set)
        assert done.wait(PATIENCE)
        assert answers == [True]
        assert not lane.is_current_thread


class TestRecurring:
    def test_a_wake_while_the_job_runs_is_not_lost(self, make: Callable[..., Workers]) -> None:
        gate, runs = Gate(), threading.Semaphore(0)

        def job() -> float:
            runs.release()
            if not gate.entered.is_set():
                gate()
            return math.inf

        recurring = Recurring(make(2), job)
        recurring.due_in(0.0)
        assert gate.entered.wait(PATIENCE)
        recurring.due_in(0.0)
        gate.open.set()
        assert runs.acquire(timeout=PATIENCE) and runs.acquire(timeout=PATIENCE)

    def test_a_wake_at_the_very_end_of_the_job_is_not_overtaken_by_its_own_long_pause(
        self, make: Callable[..., Workers]
    ) -> None:
        runs = threading.Semaphore(0)

        def job() -> float:
            runs.release()
            return 3600.0

        recurring = Recurring(make(2), job)
        # The worst instant: the first release of the lock after the job has returned.
        recurring._lock = WakesOnRelease(recurring, number=3)  # type: ignore[assignment]
        recurring.due_in(0.0)
        assert runs.acquire(timeout=PATIENCE)
        assert runs.acquire(timeout=2.0), "the wake was lost: the job is due in an hour"

    def test_it_never_runs_twice_at_once(self, make: Callable[..., Workers]) -> None:
        inside, runs = threading.Lock(), threading.Semaphore(0)

        def job() -> float:
            assert inside.acquire(blocking=False)
            inside.release()
            runs.release()
            return 0.001

        recurring = Recurring(make(4), job)
        for _ in range(100):
            recurring.due_in(0.0)
        for _ in range(100):
            assert runs.acquire(timeout=PATIENCE)

    def test_a_job_that_raises_is_due_again_by_itself(
        self,
        make: Callable[..., Workers],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("leaderlock.workers._AFTER_A_FAULT", 0.01)
        runs = threading.Semaphore(0)

        def job() -> float:
            runs.release()
            raise ValueError("a fault")

        recurring = Recurring(make(1), job)
        with caplog.at_level(logging.CRITICAL, "leaderlock"):
            recurring.due_in(0.0)
            for _ in range(3):
                assert runs.acquire(timeout=PATIENCE)


def test_a_long_queue_that_gets_shorter_is_no_reason_for_more_threads() -> None:
    workers = Workers("busy", 1)
    done: list[int] = []
    pause = threading.Event()
    for number in range(60):

        def job(number: int = number) -> None:
            pause.wait(0.01)
            done.append(number)

        workers.submit(job)
    while len(done) < 60:
        workers.relieve(16)
        pause.wait(0.002)
    assert len(workers.close()) == 1
