"""The few threads of a client. Their number does not grow with the number of elections.

    heartbeat   one round renews everything that the client holds
    watchdog    ends the terms whose deadline has passed; does no I/O and runs no user code, so
                that a store or a callback that hangs for ever cannot delay a loss
    io          campaigns, releases and readings (3 threads)
    callback    the user's callbacks, in order for each election (2 threads; more, up to 16, only
                in place of those that a callback never returns from)
    health      asks the user's program whether it is healthy (3 threads, if it wants to be asked)
    log         writes log lines: a handler may hang, too

All are daemons, started with the first work for them, and ended by `close`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from leaderlock.backends.base import Attempt, Backend
from leaderlock.backoff import Backoff
from leaderlock.clock import Clock
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.machine import FOREVER
from leaderlock.stream import Stream
from leaderlock.telemetry.events import Heartbeat
from leaderlock.timing import Timing
from leaderlock.workers import Recurring, Workers

if TYPE_CHECKING:
    from leaderlock.candidate import Candidate

log = logging.getLogger("leaderlock")

T = TypeVar("T")

_IO_THREADS = 3
_CALLBACK_THREADS = 2
_HEALTH_THREADS = 3
_MOST_CALLBACK_THREADS = 16
_LONGEST_RETRY = 0.5
# Python's waits run on CLOCK_MONOTONIC, which stands still in a suspend; the leases do not. The
# watchdog looks at the real clock at least this often, so that on_lost follows soon on waking.
_WATCHDOG_PERIOD = 1.0
_CROWD = 500  # candidates that may ask a silent store, each at its own pace
_OLD_ENTRIES = 64  # of the watchdog, beside as many as there are candidates
_TOGETHER = 0.1  # deadlines within that are first looked at together


class Runtime:
    """Carries out what the candidates of one client need from the store and from the clock."""

    def __init__(
        self, backend: Backend, timing: Timing, clock: Clock, stream: Stream | None = None
    ) -> None:
        self.stream = stream or Stream()
        self.backend = backend
        self.timing = timing
        self.clock = clock
        self.io = Workers("leaderlock-io", _IO_THREADS)
        self.callbacks = Workers("leaderlock-callback", _CALLBACK_THREADS, finish=True)
        self.health = Workers("leaderlock-health", _HEALTH_THREADS)
        self._log_lines = Workers("leaderlock-log", 1, finish=True)
        self._state = threading.Condition()  # guards what follows; pokes both loops
        self._members: dict[Candidate[Any], float] = {}  # and by when the watchdog looks at each
        self._due: list[tuple[float, int, Candidate[Any]]] = []  # a heap; old entries count not
        self._order = itertools.count()
        self._threads: list[threading.Thread] = []
        self._watch_until = -FOREVER
        self._has_news = False
        self._resting = False
        self._closed = False
        self._failing: set[str] = set()
        self._unanswered: dict[Candidate[Any], Recurring] = {}  # those that pause, and may be woken

    def join(self, candidate: Candidate[Any]) -> None:
        """The candidate contends: renew what it holds, and watch its deadlines."""
        with self._state:
            self._members.setdefault(candidate, FOREVER)

    def leave(self, candidate: Candidate[Any]) -> None:
        with self._state:
            self._members.pop(candidate, None)
        self._unanswered.pop(candidate, None)

    def held_back(
        self, candidate: Candidate[Any], requests: Recurring | None, pause: float
    ) -> float:
        """How long a candidate pauses whose request got no answer, if it would pause so long alone.

        Thousands that all ask a dead store every second would take the time of those threads that
        have losses to tell. Together they ask as often as a few hundred; see `answered`.
        """
        if requests is not None:
            self._unanswered[candidate] = requests
        return pause * max(1.0, len(self._unanswered) / _CROWD)

    def answered(self, candidate: Candidate[Any]) -> None:
        """The store answers: each answer lets two others try now that pause, and so all soon."""
        if self._unanswered:  # no lock: each of these steps is one to Python
            self._unanswered.pop(candidate, None)
            for _ in range(2):
                with suppress(KeyError):
                    self._unanswered.popitem()[1].due_in(0.0)

    def poke(self, candidate: Candidate[Any], deadline: float) -> None:
        """A candidate has got a lease to renew, or an earlier deadline to watch.

        Of a later one the watchdog hears when it looks at the candidate. Called under the lock of
        the candidate: a loop that has begun to look meanwhile sees it as it is now.
        """
        watched = self._members.get(candidate, FOREVER)
        if self._has_news and not self._resting and deadline >= watched:
            return  # thousands may do this at once, and those who end terms want the lock
        with self._state:
            self._watch(candidate, deadline)
            self._has_news = True
            if not self._threads and not self._closed:
                self._start_loops()
            elif deadline < self._watch_until or self._resting:
                self._resting = False
                self._state.notify_all()

    def ask(self, operation: str, request: Callable[..., T], *args: object) -> T:
        """Send one request to the store. Tells once per streak that the store fails.

        Raises:
            BackendUnavailable: no answer. Also for an exception that a backend must not raise:
                what it means for the request is as unknown as a silence.
            BackendRefused: the store said no for good.
        """
        try:
            answer = request(*args)
        except (BackendUnavailable, BackendRefused) as error:
            self._tell_failing(operation, error)
            raise
        except Exception as error:
            self._tell_fault(operation, error)
            fault = BackendUnavailable(
                f"the backend broke its contract: {operation} raised {error!r}"
            )
            self._tell_failing(operation, fault)
            raise fault from error
        self._tell_answering(operation)
        return answer

    def ask_in_time(self, operation: str, request: Callable[..., T], *args: object) -> T:
        """The same on an io thread: a backend that hangs does not hold up the caller for ever."""
        try:
            return self.ask_later(operation, request, *args).result(self.patience)
        except TimeoutError:
            raise self.no_answer(operation) from None

    @property
    def patience(self) -> float:
        """How long, in seconds, what is asked on an io thread may take."""
        return 2 * self.timing.request_timeout

    def no_answer(self, operation: str) -> BackendUnavailable:
        """What is raised when it has taken longer."""
        return BackendUnavailable(f"{operation}: no answer within {self.patience:g} s")

    def ask_later(self, operation: str, request: Callable[..., T], *args: object) -> Future[T]:
        """The same without waiting for it."""
        answer: Future[T] = Future()

        def job() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(self.ask(operation, request, *args))
            except BaseException as error:
                answer.set_exception(error)

        if not self.io.submit(job):
            raise BackendUnavailable(f"{operation}: this session has been closed")
        return answer

    def close(self, timeout: float) -> None:
        """End the threads; wait for them for at most `timeout` seconds."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            threads = list(self._threads)
        for workers in self.io, self.callbacks, self.health, self._log_lines:
            threads += workers.close()
        end = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    # The heartbeat

    def _heartbeat_loop(self) -> None:
        backoff = Backoff(min(_LONGEST_RETRY, self.timing.heartbeat))
        pause: float | None = self._beat_pause()
        while self._sleep(pause):
            try:
                pause = self._beat_pause() if self._beat() else None
                backoff.reset()
            except (BackendUnavailable, BackendRefused):  # told and logged by ask()
                pause = backoff.pause()
            except Exception as error:
                self._tell_internal_error("heartbeat", error)
                pause = backoff.pause()

    def _beat_pause(self) -> float:
        # Up to 10 % early: clients that started together do not stay together.
        return self.timing.heartbeat * random.uniform(0.9, 1.0)

    def _sleep(self, pause: float | None) -> bool:
        """Wait until the next round is due; None: one round's pause after there is a lease again.

        Returns False when the runtime has been closed.
        """
        with self._state:
            if pause is None:
                self._resting = not self._has_news
                while self._resting and not self._closed:
                    self._state.wait()
                pause = self._beat_pause()
            due = time.monotonic() + pause
            while not self._closed and (left := due - time.monotonic()) > 0:
                self._state.wait(left)
            return not self._closed

    def _beat(self) -> bool:
        """Renew everything that is held. Returns False if there was nothing."""
        with self._state:
            self._has_news = False
            members = list(self._members)
        waiting_too = self.backend.capabilities.renews_waiting
        holders: dict[str, Candidate[Any]] = {}
        attempts: list[Attempt] = []
        for candidate in members:
            if (attempt := candidate.lease(waiting_too)) is not None:
                holders[attempt.attempt_id] = candidate
                attempts.append(attempt)
        if not holders:
            return False
        for candidate in holders.values():
            candidate.look_after_progress()
        sent_at = self.clock.now()
        try:
            answer = self.ask("renew", self.backend.renew, attempts)
        except (BackendUnavailable, BackendRefused) as error:
            self._tell_heartbeat(len(holders), sent_at, error)
            for candidate in holders.values():
                candidate.renewal_failed(error)
            raise
        failure: BackendUnavailable | None = None
        if unanswered := holders.keys() - answer.outcomes.keys():
            told = f"no answer for {len(unanswered)} of {len(holders)} renewals"
            failure = BackendUnavailable(told)
        self._tell_heartbeat(len(holders), sent_at, failure)
        proved_at = sent_at if answer.sent_at is None else answer.sent_at
        ttl = self.timing.ttl if answer.ttl is None else answer.ttl
        outcomes = answer.outcomes
        for attempt_id, candidate in holders.items():
            if (outcome := outcomes.get(attempt_id)) is not None:
                candidate.renewal_answered(attempt_id, outcome, proved_at, ttl)
        if failure is not None:
            for attempt_id in unanswered:
                holders[attempt_id].renewal_failed(failure)
            raise failure
        return True

    def _tell_heartbeat(self, leases: int, sent_at: float, error: Exception | None) -> None:
        if self.stream.wants(Heartbeat):
            took = self.clock.now() - sent_at
            self.stream.emit(Heartbeat(leases=leases, took=took, error=error))

    # The watchdog

    def _watchdog_loop(self) -> None:
        while True:
            with self._state:
                due = self._take_due()
            looked = [(candidate, self._tick(candidate)) for candidate in due]
            with self._state:
                for candidate, deadline in looked:
                    self._watch(candidate, deadline)
            # Callbacks that hang must not keep another elector's on_lost from being called.
            relief = self.callbacks.relieve(_MOST_CALLBACK_THREADS)
            with self._state:
                if self._closed:
                    return
                now = self.clock.now()
                deadline = self._due[0][0] if self._due else FOREVER
                left = min(max(0.0, deadline - now), relief)
                if left < FOREVER:
                    left = min(_WATCHDOG_PERIOD, left)
                self._watch_until = now + left
                self._state.wait(None if left == FOREVER else left)
                self._watch_until = -FOREVER  # nobody needs to poke while it is computed anew

    def _watch(self, candidate: Candidate[Any], deadline: float) -> None:
        """Have the watchdog look at a candidate by then, if not before. The lock is held."""
        if deadline < self._members.get(candidate, -FOREVER):  # one that has left has no deadline
            look = deadline
            # A little before it, with all others that are due about then: mostly a renewal has
            # moved it on, and thousands of looks are one wake of the watchdog.
            if deadline - self.clock.now() > _TOGETHER:
                look -= look % _TOGETHER
            self._members[candidate] = look
            heapq.heappush(self._due, (look, next(self._order), candidate))
            # What comes and goes under long leases must not be kept until those would have ended.
            if len(self._due) > 2 * len(self._members) + _OLD_ENTRIES:
                self._due = [entry for entry in self._due if self._is_watched(entry)]
                heapq.heapify(self._due)

    def _is_watched(self, entry: tuple[float, int, Candidate[Any]]) -> bool:
        return self._members.get(entry[2]) == entry[0]

    def _take_due(self) -> list[Candidate[Any]]:
        """Those to look at now, and nobody else: thousands may be far from theirs."""
        now, due = self.clock.now(), []
        while self._due and self._due[0][0] <= now:
            entry = heapq.heappop(self._due)
            if self._is_watched(entry):
                self._members[entry[2]] = FOREVER
                due.append(entry[2])
        return due

    def _tick(self, candidate: Candidate[Any]) -> float:
        try:
            return candidate.tick()
        except Exception as error:
            # A fault of ours. Never a reason for the other electors to lose their watchdog.
            self._tell_internal_error("watchdog", error)
            return self.clock.now() + _WATCHDOG_PERIOD

    def _start_loops(self) -> None:
        for name, loop in (
            ("heartbeat", self._heartbeat_loop),
            ("watchdog", self._watchdog_loop),
        ):
            thread = threading.Thread(target=loop, name=f"leaderlock-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        # One to have at the end of the process, when Python starts no threads any more.
        self.callbacks.submit(_nothing)

    # Telling people; of a store that fails once per streak

    def log(self, level: int, message: str, *args: object, error: Exception | None = None) -> None:
        """Have a line logged on a thread of its own: handlers do I/O, and are the user's code."""
        if log.isEnabledFor(level):
            line = partial(log.log, level, message, *args, exc_info=error)
            if not self._log_lines.submit(line):
                line()

    def _tell_fault(self, operation: str, error: Exception) -> None:
        with self._state:
            if operation in self._failing:
                return
        self.log(logging.ERROR, "leaderlock.backend_fault operation=%s", operation, error=error)

    def _tell_internal_error(self, thread: str, error: Exception) -> None:
        self.log(logging.ERROR, "leaderlock.internal_error thread=%s", thread, error=error)

    def _tell_failing(self, operation: str, error: Exception) -> None:
        if operation in self._failing:  # told, and the lock is wanted by those who end terms
            return
        with self._state:
            if operation in self._failing:
                return
            self._failing.add(operation)
        level = logging.ERROR if isinstance(error, BackendRefused) else logging.WARNING
        self.log(level, "leaderlock.store_failing operation=%s error=%s", operation, error)

    def _tell_answering(self, operation: str) -> None:
        if operation not in self._failing:  # nearly always: no lock for it
            return
        with self._state:
            if operation not in self._failing:
                return
            self._failing.discard(operation)
        self.log(logging.INFO, "leaderlock.store_recovered operation=%s", operation)


def _nothing() -> None:
    pass
