"""Callbacks on the event loop: in order, one at a time, plain functions and coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from leaderlock.aio.bridge import Home
from leaderlock.aio.leadership import Leadership
from leaderlock.callbacks import Callbacks, require_callable
from leaderlock.runtime import Runtime
from leaderlock.workers import Job


class _Telling(NamedTuple):
    """One thing that is told to some callbacks."""

    kind: str
    callbacks: Sequence[Callable[..., object]]
    args: tuple[object, ...]
    done: Job


class LoopCallbacks(Callbacks[Leadership]):
    """Tells it on the event loop that the elector was started on."""

    def __init__(self, election: str, candidate_id: str) -> None:
        super().__init__(election, candidate_id)
        self._lane_of_loop: _LoopLane | None = None

    def open(self, runtime: Runtime, *, anew: bool) -> None:
        lane, loop = self._lane_of_loop, asyncio.get_running_loop()
        if lane is not None and lane.home.loop is not loop:
            if lane.home.loop.is_closed():
                self._lane_of_loop = _LoopLane(self, runtime.timing.drain_timeout, lane.take_rest())
            elif anew:  # what the other loop has still to tell, it tells
                lane = None
        if lane is None:
            self._lane_of_loop = _LoopLane(self, runtime.timing.drain_timeout)

    def close(self) -> None:
        super().close()
        self._lane_of_loop = None

    @property
    def is_gone(self) -> bool:
        return self._lane_of_loop is not None and self._lane_of_loop.home.loop.is_closed()

    def give_up(self) -> None:
        if self._lane_of_loop is not None and self.is_gone:
            for telling in self._lane_of_loop.take_rest():
                telling.done()

    def require(self, what: str, callback: object, arguments: int) -> None:
        require_callable(what, callback, arguments, may_be_coroutine=True)

    @property
    def is_caller(self) -> bool:
        return self._lane_of_loop is not None and self._lane_of_loop.is_caller

    def ask(self, healthy: Callable[[], object], tell: Callable[[bool], None]) -> bool:
        return self._lane_of_loop is not None and self._lane_of_loop.ask(healthy, tell)

    def _queue(
        self,
        kind: str,
        callbacks: Sequence[Callable[..., object]],
        *args: object,
        done: Job | None = None,
    ) -> bool:
        if not callbacks or self._lane_of_loop is None:
            return False
        return self._lane_of_loop.submit(_Telling(kind, callbacks, args, done or _nothing))


class _LoopLane:
    """What is to be told, one after the other, in one task of the loop.

    When that task is cancelled, as all are at the end of a program, the callback that it is in
    is, and the others still have `grace` seconds: an on_lost that is owed is told.
    """

    def __init__(
        self, callbacks: LoopCallbacks, grace: float, rest: Sequence[_Telling] = ()
    ) -> None:
        self.home = Home()
        self._callbacks = callbacks
        self._grace = grace
        self._queue = deque(rest)
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive
        if rest:
            self.home.call(self._start)

    def submit(self, telling: _Telling) -> bool:
        """From any thread. False: the loop has ended, and it will not be told."""
        if self.home.loop.is_closed():
            return False
        self._queue.append(telling)  # here, so that a loop which ends meanwhile loses nothing
        self.home.call(self._start)
        return True

    def take_rest(self) -> list[_Telling]:
        """What a loop that has ended has not told."""
        rest, self._queue = list(self._queue), deque()
        return rest

    def _start(self) -> None:
        if self._queue and not self._running:
            self._running = True  # before the task is made: an eager one runs at once
            self.home.loop.create_task(self._run(), name="leaderlock-callbacks")

    async def _run(self) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        cancelled, deadline = 0, None
        try:
            while self._queue:
                telling = self._queue.popleft()
                try:
                    for callback in list(telling.callbacks):
                        await self._tell(telling.kind, callback, telling.args, deadline)
                        if task.cancelling() > cancelled:
                            cancelled = task.cancelling()
                            deadline = deadline or self.home.loop.time() + self._grace
                            await _take_cancellation()  # it must not hit the next callback
                finally:
                    telling.done()
        finally:
            self._task, self._running = None, False
        if task.cancelling():
            raise asyncio.CancelledError

    async def _tell(
        self,
        kind: str,
        callback: Callable[..., object],
        args: tuple[object, ...],
        deadline: float | None,
    ) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await _result(callback(*args))
        except GeneratorExit:  # the loop was closed in the middle of it
            raise
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and self._is_cancelled()):
                self._callbacks.report_failure(kind, error)

    def _is_cancelled(self) -> bool:
        return self._task is not None and bool(self._task.cancelling())

    def ask(self, healthy: Callable[[], object], tell: Callable[[bool], None]) -> bool:
        """From any thread; beside what is told, not in order."""

        async def job() -> None:
            answer = False
            try:
                answer = bool(await _result(healthy()))
            except asyncio.CancelledError:  # the loop ends
                raise
            except BaseException as error:
                self._callbacks.report_failure("healthy", error)
            finally:
                tell(answer)

        def begin() -> None:
            task = self.home.loop.create_task(job(), name="leaderlock-healthy")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

        return self.home.call(begin)

    @property
    def is_caller(self) -> bool:
        """Whether the caller runs inside one of the callbacks."""
        if self._task is None:
            return False
        with suppress(RuntimeError):  # no loop runs on this thread
            return asyncio.current_task() is self._task
        return False


async def _take_cancellation() -> None:
    """If one is still to come."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def _result(value: object) -> object:
    return await value if inspect.isawaitable(value) else value


def _nothing() -> None:
    pass
