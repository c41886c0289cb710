"""Callbacks on the event loop: in order, one at a time, plain functions and coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from leaderlock.aio.bridge import Home
from leaderlock.aio.leadership import Leadership
from leaderlock.callbacks import Callbacks, require_callable
from leaderlock.runtime import Runtime
from leaderlock.workers import Job

_Job = Callable[[], Awaitable[None]]


class _LoopLane:
    """Jobs that run one at a time in the order given, in one task of the loop."""

    def __init__(self) -> None:
        self.home = Home()
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None

    def submit(self, job: _Job) -> bool:
        """From any thread. False: the loop has ended, and the job will not run."""
        return self.home.call(self._add, job)

    def _add(self, job: _Job) -> None:
        self._jobs.append(job)
        if self._task is None:
            self._task = self.home.loop.create_task(self._run(), name="leaderlock-callbacks")

    async def _run(self) -> None:
        try:
            while self._jobs:
                await self._jobs.popleft()()
        finally:
            self._task = None

    @property
    def is_caller(self) -> bool:
        """Whether the caller runs inside a job of this lane."""
        if self._task is None:
            return False
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:  # no loop runs on this thread
            return False


class LoopCallbacks(Callbacks[Leadership]):
    """Tells it on the event loop that the elector was started on."""

    def __init__(self, election: str, candidate_id: str) -> None:
        super().__init__(election, candidate_id)
        self._loop_lane: _LoopLane | None = None
        self._asking: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive

    def open(self, runtime: Runtime) -> None:
        if self._loop_lane is None or self._loop_lane.home.loop is not asyncio.get_running_loop():
            self._loop_lane = _LoopLane()

    def close(self) -> None:
        super().close()
        self._loop_lane = None

    def require(self, what: str, callback: object, arguments: int) -> None:
        require_callable(what, callback, arguments, may_be_coroutine=True)

    @property
    def is_caller(self) -> bool:
        return self._loop_lane is not None and self._loop_lane.is_caller

    def ask(self, healthy: Callable[[], object], tell: Callable[[bool], None]) -> bool:
        async def job() -> None:
            answer = False
            try:
                answer = bool(await _result(healthy()))
            except asyncio.CancelledError:  # the loop ends
                raise
            except BaseException as error:
                self.report_failure("healthy", error)
            finally:
                tell(answer)

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(job(), name="leaderlock-healthy")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

        return self._loop_lane is not None and self._loop_lane.home.call(begin)

    def _queue(
        self,
        kind: str,
        callbacks: Sequence[Callable[..., object]],
        *args: object,
        done: Job | None = None,
    ) -> bool:
        if not callbacks or self._loop_lane is None:
            return False

        async def job() -> None:
            try:
                for callback in list(callbacks):
                    await self._guard_awaited(kind, callback, *args)
            finally:
                if done is not None:
                    done()

        return self._loop_lane.submit(job)

    async def _guard_awaited(
        self, kind: str, callback: Callable[..., object], *args: object
    ) -> None:
        try:
            await _result(callback(*args))
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise  # the loop ends
            self.report_failure(kind, error)


async def _result(value: object) -> object:
    return await value if inspect.isawaitable(value) else value
