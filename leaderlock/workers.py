"""A few threads for any number of electors.

Workers     run jobs, the soonest due first
Lane        jobs that keep their order, on whichever worker is free
Recurring   one job that is due again and again, and never runs twice at once
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("leaderlock")

Job = Callable[[], None]

_OVERDUE = 0.1
_PATIENCE = 1.0
_AFTER_A_FAULT = 1.0
_LINGER = 5.0


class Workers:
    """At most `size` daemon threads that run jobs, the soonest due first.

    Threads are started when there is a job that no idle thread can take. When there has been no job
    for some seconds, one of them stays: later Python may have none to start.

    Args:
        finish: on `close`, still run the jobs that are due, and those that they submit.
    """

    def __init__(self, name: str, size: int, *, finish: bool = False) -> None:
        self._name = name
        self._size = size
        self._finish = finish
        self._changed = threading.Condition()
        self._jobs: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._taken_at = 0.0  # when a job was last begun
        self._closed = False

    def submit(self, job: Job, delay: float = 0.0) -> bool:
        """Run `job` on one of the threads in `delay` seconds.

        Returns:
            False: nobody will. After `close`, or because no thread can be started.
        """
        with self._changed:
            if self._closed and not self._finish:
                return False
            heapq.heappush(self._jobs, (time.monotonic() + delay, next(self._order), job))
            self._find_thread()
            return self._idle > 0 or any(thread.is_alive() for thread in self._threads)

    def relieve(self, most: int) -> float:
        """Have one more thread, of at most `most`, if a job is overdue behind ones that hang.

        Returns:
            The seconds after which to look again; `math.inf`: nothing keeps a thread busy.
        """
        with self._changed:
            if self._idle == len(self._threads):
                return math.inf
            if self._idle or not self._jobs:
                return _PATIENCE
            # A long queue that gets shorter hangs behind nothing.
            overdue = time.monotonic() - max(self._jobs[0][0], self._taken_at)
            if overdue >= _OVERDUE and self._size < most:
                self._size += 1
                self._find_thread()
            return _OVERDUE

    def close(self) -> list[threading.Thread]:
        """Let the threads end, without the jobs that need not be finished. Returns the threads."""
        with self._changed:
            self._closed = True
            if not self._finish:
                self._jobs.clear()
            self._changed.notify_all()
            return list(self._threads)

    def _find_thread(self) -> None:
        """See to it that a thread watches over the jobs, if one is to be had. The lock is held."""
        if self._idle:
            self._changed.notify()
        elif len(self._threads) < self._size:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The system has no more of them, or the interpreter is ending (Python 3.12 and
                # newer start none then): those that there are have to do.
                if not self._threads:
                    log.error("leaderlock.no_thread name=%s error=%s", name, error)
            else:
                self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                job()
            except BaseException:
                # A fault of ours: jobs handle what stores and callbacks raise. Never a reason for
                # the other electors of this client to lose their worker.
                log.exception("leaderlock.internal_error thread=%s", self._name)

    def _next_job(self) -> Job | None:
        with self._changed:
            self._idle += 1
            try:
                while True:
                    wait = self._jobs[0][0] - time.monotonic() if self._jobs else None
                    if wait is not None and wait <= 0:
                        job = heapq.heappop(self._jobs)[2]
                        self._taken_at = time.monotonic()
                        break
                    if self._closed:
                        return None
                    spare = wait is None and self._idle > 1
                    notified = self._changed.wait(_LINGER if spare else wait)
                    # A notice may have met it just as its time was over: so the jobs count.
                    if spare and not (notified or self._jobs or self._closed) and self._idle > 1:
                        self._threads.remove(threading.current_thread())
                        return None
            finally:
                self._idle -= 1
            if self._jobs:  # this thread may be gone for long: let another one wait for the rest
                self._find_thread()
            return job


class Lane:
    """Jobs that run one at a time in the order given, on whichever worker is free."""

    __slots__ = ("_jobs", "_lock", "_thread_id", "_workers")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._jobs: deque[Job] | None = None  # while there are any: an empty one takes 700 bytes
        self._thread_id: int | None = None

    def submit(self, job: Job) -> None:
        with self._lock:
            if self._jobs is not None:  # whoever runs those before it goes on with it
                self._jobs.append(job)
                return
            self._jobs = deque((job,))
        self._workers.submit(self._run_one)

    @property
    def waiting(self) -> int:
        """How many jobs are not done. Takes no lock."""
        jobs = self._jobs
        return len(jobs) if jobs is not None else 0

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs inside a job of this lane."""
        return self._thread_id == threading.get_ident()

    def _run_one(self) -> None:
        jobs = self._jobs
        assert jobs is not None, "it is made with the first job, and goes with the last"
        self._thread_id = threading.get_ident()
        try:
            jobs[0]()
        finally:
            self._thread_id = None
            with self._lock:
                jobs.popleft()
                if not jobs:
                    self._jobs = None
            if jobs:
                self._workers.submit(self._run_one)


class Recurring:
    """One job that is due again and again, and never runs twice at once.

    Args:
        job: returns the seconds until it is due again; `math.inf`: when somebody says so.
    """

    __slots__ = ("_again", "_job", "_lock", "_running", "_ticket", "_workers")

    def __init__(self, workers: Workers, job: Callable[[], float]) -> None:
        self._workers = workers
        self._job = job
        self._lock = threading.Lock()
        self._running = False
        self._again = math.inf  # the delay asked for while the job was running
        self._ticket = 0  # of the run that is scheduled; one with an older ticket is overtaken

    def due_in(self, delay: float) -> None:
        """Run the job in `delay` seconds, instead of when it was due before.

        While it is running: once more, `delay` seconds after its end at the latest.
        """
        with self._lock:
            if self._running:
                self._again = min(self._again, delay)
            else:
                self._schedule(delay)

    def _schedule(self, delay: float) -> None:
        if delay < math.inf:
            self._ticket += 1
            ticket = self._ticket
            self._workers.submit(lambda: self._run(ticket), delay)

    def _run(self, ticket: int) -> None:
        with self._lock:
            if ticket != self._ticket or self._running:
                return
            self._running = True
        delay = _AFTER_A_FAULT  # of ours, if the job raises: what it is for stays to be done
        try:
            delay = self._job()
        finally:
            # In one step: a wake must not come in between, and be overtaken by a long delay.
            with self._lock:
                self._running = False
                delay, self._again = min(delay, self._again), math.inf
                self._schedule(delay)
