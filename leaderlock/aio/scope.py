"""The body of a term: it is cancelled when the term is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from leaderlock.aio.bridge import Home
from leaderlock.errors import LeadershipLost
from leaderlock.leadership import AnyLeadership
from leaderlock.machine import LossReason


class TermScope:
    """Cancels the task inside when the term is lost, and turns that into LeadershipLost.

    As asyncio.timeout does it: the cancellation is taken back with Task.uncancel, and one that
    somebody else has asked for meanwhile stays a CancelledError. Unlike there, the loss is also
    raised when the body has swallowed the cancellation: it was not done with its work.

    Source: https://docs.python.org/3/library/asyncio-task.html#task-cancellation
    """

    def __init__(self, leadership: AnyLeadership) -> None:
        self._leadership = leadership
        self._cancelled = False
        self._left = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._task = task
        self._cancelling = task.cancelling()
        home = Home()
        self._forget: Callable[[], None] = self._leadership._on_end(lambda: home.call(self._cancel))
        return self

    def _cancel(self) -> None:
        if not self._cancelled and not self._left:
            self._cancelled = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        self._forget()
        if not self._cancelled or self._task.uncancel() > self._cancelling:
            return
        if kind is None or issubclass(kind, asyncio.CancelledError):
            reason = self._leadership.reason or LossReason.EXPIRED
            raise LeadershipLost(
                reason, self._leadership.token, self._leadership.election
            ) from error
