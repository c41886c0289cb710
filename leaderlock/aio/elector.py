"""LeaderElector for asyncio: the same names, awaitable where they wait.

A bridge over the threaded core: renewals are sent by its threads, and go on while the event loop is
blocked. A lost term is known at once to `is_leader` and `check()`; whatever has to run on the loop
(cancellations, callbacks) runs as soon as the loop does.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Self

from leaderlock.aio.bridge import Home, close_client, hold_term, wait_until
from leaderlock.aio.callbacks import LoopCallbacks
from leaderlock.aio.leadership import Leadership
from leaderlock.aio.scope import TermScope
from leaderlock.any_elector import AnyElector
from leaderlock.callbacks import require_callable
from leaderlock.errors import (
    ConfigurationError,
    LeaderLockError,
    LeadershipLost,
    TokenRegression,
)
from leaderlock.feed import End
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo, decode_reading
from leaderlock.terms import Hold
from leaderlock.timing import bounded_time, wait_time


async def _await_work(
    hold: Hold[Leadership], work: Callable[[Leadership], Awaitable[object]]
) -> None:
    hold.owner = asyncio.current_task()
    working = work(hold.leadership)
    if not inspect.isawaitable(working):
        raise ConfigurationError(
            f"run() awaits its work, and {work!r} returns nothing that can be awaited: make it a "
            "coroutine function"
        )
    await working


async def _outlast(working: asyncio.Task[None]) -> None:
    """Wait until it has ended. Who cancels the wait cancels the work, and waits for it, too."""
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as error:
            cancelled = error
            working.cancel()
    if cancelled is not None:
        _failure_of(working)  # it has been seen
        raise cancelled


def _failure_of(working: asyncio.Task[None]) -> BaseException | None:
    """What the work has raised; ConfigurationError, if it cannot be any."""
    if working.cancelled():
        return asyncio.CancelledError("the work of run() was cancelled")
    error = working.exception()
    if isinstance(error, ConfigurationError):
        raise error
    return error


def _is_loss(error: BaseException) -> bool:
    """A cancellation, LeadershipLost, or a group (of a TaskGroup) of nothing else."""
    losses = (LeadershipLost, asyncio.CancelledError)
    if isinstance(error, BaseExceptionGroup):
        return error.split(losses)[1] is None
    return isinstance(error, losses)


class LeaderElector(AnyElector[Leadership]):
    """One candidate of one election, for asyncio.

    What `leaderlock.LeaderElector` promises holds here, too, and so do its arguments; `store` may
    also be a `leaderlock.aio.Client`. Callbacks and `healthy` may be coroutine functions; they run
    on the event loop that the elector was started on, in order, one at a time. The loop has to be
    asyncio's or one that takes its place (uvloop, anyio on asyncio).
    """

    _is_of_a_loop = True

    @staticmethod
    def _front() -> tuple[type[LoopCallbacks], type[Leadership]]:
        return LoopCallbacks, Leadership

    # Contending in the background

    def start(self) -> None:
        """Contend from now on, and again after every loss, until `stop()`. Does not wait.

        Has to be called where the event loop runs. Starting twice is harmless.

        Raises:
            LeaderLockError: no event loop runs on this thread.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise LeaderLockError(
                f"{self!r} is of leaderlock.aio: start it in a coroutine, or use "
                "leaderlock.LeaderElector"
            ) from None
        super().start()

    async def stop(self, timeout: float | None = None) -> bool:
        """Resign if leading, and contend no more. The elector can be started again.

        `is_leader` turns False at once, before anything is awaited; then work and callbacks may
        end, then the term is released. Returns after at most `timeout` seconds (default:
        `timing.stop_timeout`), also when the store is dead. Called from a callback, or from work
        under the term, it does not wait at all. When it is cancelled, the stopping goes on.

        Returns:
            Whether the store is known to hold nothing of this candidate any more.
        """
        bound = bounded_time(timeout, self.timing.stop_timeout)
        if self._owns_client:
            return await close_client(self._client, bound)
        at_rest = partial(self._candidate.wait_rest, 0.0)
        is_own = self._candidate.waits_for(asyncio.current_task())
        self._feed.end()
        self._candidate.begin_stop()
        self._client.forget(self)
        return at_rest() if is_own else await wait_until(self._candidate, at_rest, bound)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def wait_elected(self, timeout: float | None = None) -> bool:
        """Wait until this candidate leads. False: not within `timeout` seconds, or stopped.

        Without a `timeout`: for ever. On an elector that is not a candidate: until anybody leads.

        Raises:
            BackendRefused: the store refuses this candidate, for example its credentials.
            TokenRegression: the store has lost data.
            LeaderLockError: called in work or a callback under a term that is over, which the
                next one would wait for.
        """
        bound = wait_time(timeout)
        candidate, owner = self._candidate, asyncio.current_task()
        if not candidate.contends and not isinstance(candidate.error, TokenRegression):
            return await self._wait_anybody(bound)
        elected = False

        def decided() -> bool:
            nonlocal elected
            elected = candidate.wait_term(0.0, owner) is not None
            return elected or not candidate.contends

        await wait_until(candidate, decided, bound)
        return elected

    async def _wait_anybody(self, timeout: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout), aclosing(self.observe()) as leaders:
                async for info in leaders:
                    if info is not None:
                        return True
        except TimeoutError:
            return False
        return False

    async def resign(self, timeout: float | None = None) -> bool:
        """Give the present term up, and contend again. Harmless when not leading.

        As `leaderlock.LeaderElector.resign`: `is_leader` turns False before anything is awaited;
        returns after at most `timeout` seconds (default: `timing.stop_timeout`). Called from a
        callback, or from work under the term, it does not wait at all.

        Returns:
            Whether the term is known to be released.
        """
        bound = bounded_time(timeout, self.timing.stop_timeout)
        is_own = self._candidate.waits_for(asyncio.current_task())
        attempt_id = self._candidate.step_down(LossReason.RESIGNED) or self._candidate.ending
        return await self._released(attempt_id, 0.0 if is_own else bound)

    async def _released(self, attempt_id: str, timeout: float) -> bool:
        released = partial(self._candidate.wait_released, attempt_id, 0.0)
        return released() or (timeout > 0 and await wait_until(self._candidate, released, timeout))

    # Contending in the foreground

    def lead(self, timeout: float | None = None) -> AbstractAsyncContextManager[Leadership]:
        """Contend, run the block as leader, and resign on the way out.

            async with elector.lead(timeout=30) as leadership:
                ...

        The block is cancelled when the term is lost, and LeadershipLost comes out of the `async
        with`; between two awaits nothing can stop it, so call `leadership.check()` before each step
        that only a leader may do. A cancellation from outside stays a CancelledError. On a started
        elector it waits for the term, and leaving the block resigns that term; otherwise the
        elector is started for the block only.

        Args:
            timeout: seconds to wait for the election; default: for ever.

        Raises:
            CampaignTimeout: not elected in time.
            LeadershipLost: the term was lost within the block.
            BackendRefused: the store refuses this candidate.
            TokenRegression: the store has lost data.
            LeaderLockError: another lead() or run() of this elector is under way, or the elector
                was stopped while waiting.
        """
        return self._lead(wait_time(timeout))

    @asynccontextmanager
    async def _lead(self, timeout: float | None) -> AsyncIterator[Leadership]:
        with self._claim("lead()"):
            async with self._contending() as was_contending:
                hold = await hold_term(self._candidate, timeout)
                if hold is None:
                    raise self._not_elected(timeout)
                reason = LossReason.RESIGNED
                try:
                    async with TermScope(hold.leadership):
                        yield hold.leadership
                except (LeadershipLost, asyncio.CancelledError, GeneratorExit):
                    raise
                except BaseException:
                    reason = LossReason.WORK_FAILED
                    raise
                finally:
                    attempt_id = self._hand_over(hold, reason)
                if was_contending:  # else the stop at the end waits
                    await self._released(attempt_id, self.timing.stop_timeout)

    async def run(self, work: Callable[[Leadership], Awaitable[object]]) -> None:
        """The main loop of a service: await `work(leadership)` once per term, until `stop()`.

        `work` is cancelled when its term is lost, and awaited again in the next one. When it
        returns or raises while the term lasts, the term is given up; an exception is logged and
        told as an event, and the elector contends again. Stops the elector at the end if it has
        started it. A cancellation from outside ends it, and stays a CancelledError.

        Raises:
            BackendRefused: the store refuses this candidate.
            TokenRegression: the store has lost data.
            LeaderLockError: another lead() or run() of this elector is under way.
        """
        require_callable("work", work, 1, may_be_coroutine=True)
        with self._claim("run()"):
            async with self._contending():
                while (hold := await hold_term(self._candidate, None)) is not None:
                    await self._work_under(hold, work)

    async def _work_under(
        self, hold: Hold[Leadership], work: Callable[[Leadership], Awaitable[object]]
    ) -> None:
        """In a task of its own: so it is plain whether the work is cancelled, or run() itself."""
        reason = LossReason.RESIGNED
        working = asyncio.get_running_loop().create_task(_await_work(hold, work))
        cancel = partial(Home().call, working.cancel)
        forget = hold.leadership._on_end(cancel)
        try:
            await _outlast(working)
            failure = _failure_of(working)
            if failure is not None and (hold.leadership.is_valid or not _is_loss(failure)):
                reason = LossReason.WORK_FAILED
                self._candidate.callbacks.report_failure("work", failure)
        finally:
            forget()
            self._hand_over(hold, reason)

    @asynccontextmanager
    async def _contending(self) -> AsyncIterator[bool]:
        was_contending = self._candidate.contends
        self.start()  # in any case: the loop that it was started on may have ended
        try:
            yield was_contending
        finally:
            if not was_contending:
                # What never led has nothing to drain: a silent store gets one request's time.
                await self.stop(None if self._candidate.has_led else self.timing.request_timeout)

    # Who leads

    async def leader(self) -> LeaderInfo | None:
        """Who leads now, asked of the store; None while nobody leads. Needs no candidacy.

        For people and routing: the answer may be outdated when it arrives. Never fence with it.

        Raises:
            BackendUnavailable: no answer, for at most two `timing.request_timeout`.
            BackendRefused: the store refuses to say.
        """
        runtime = self._client.runtime()
        asked = runtime.ask_later("leader", runtime.backend.leader, self.election)
        try:
            async with asyncio.timeout(runtime.patience):
                return decode_reading(await asyncio.wrap_future(asked))
        except TimeoutError:
            raise runtime.no_answer("leader") from None

    async def observe(self) -> AsyncGenerator[LeaderInfo | None, None]:
        """Yield the present leader, then every change; None while nobody leads.

        Needs no candidacy and writes nothing to the store. Ends when the elector or its client
        is stopped. A change that is undone at once may not be seen.
        """
        told: asyncio.Queue[LeaderInfo | None | End] = asyncio.Queue()
        with self._feed.subscribed(partial(Home().call, told.put_nowait)):
            while not isinstance(info := await told.get(), End):
                yield info
