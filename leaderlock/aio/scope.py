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
    raised at the end of a body that has not noticed it: between two awaits, or because it swallowed
    the cancellation.

    Source: https://docs.python.org/3/library/asyncio-task.html#task-cancellation
    """

    def __init__(self, leadership: AnyLeadership) -> None:
        self._leadership = leadership
        self._task: asyncio.Task[object] | None = None  # while the body runs
        self._cancelling = 0
        self._has_cancelled = False
        self._forget: Callable[[], object] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None, "a coroutine runs in a task"
        self._cancelling = self._task.cancelling()
        home = Home()
        self._forget = self._leadership._on_end(lambda: home.call(self._cancel))
        return self

    def _cancel(self) -> None:
        if self._task is not None and not self._has_cancelled:
            self._has_cancelled = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        assert task is not None and self._forget is not None, "it was entered"
        self._forget()
        is_ours = self._has_cancelled and task.uncancel() <= self._cancelling
        if kind is None:
            self._leadership.check()
        elif is_ours and issubclass(kind, asyncio.CancelledError):
            leadership = self._leadership
            reason = leadership.reason or LossReason.EXPIRED
            raise LeadershipLost(reason, leadership.token, leadership.election) from error
