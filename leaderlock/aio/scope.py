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

    Counting alone does not tell whose a cancellation is: a TaskGroup that has failed within the
    body leaves one counted for ever (Python 3.11 and 3.12, cpython#117407). So ours is marked.

    Source: https://docs.python.org/3/library/asyncio-task.html#task-cancellation
    """

    def __init__(self, leadership: AnyLeadership) -> None:
        self._leadership = leadership
        self._task: asyncio.Task[object] | None = None  # while the body runs
        self._cancelling = 0  # requests to cancel the task, at the entry
        self._counted: int | None = None  # the same, right before ours
        self._mark = f"the term {leadership.token} of election {leadership.election!r} is lost"
        self._forget: Callable[[], object] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None, "a coroutine runs in a task"
        self._cancelling = self._task.cancelling()
        home = Home()
        self._forget = self._leadership._on_end(lambda: home.call(self._cancel))
        return self

    def _is_ours(self, error: BaseException | None) -> bool:
        """Whether what cancelled the body is our request, and no earlier one was under way."""
        if self._counted is None or self._counted == self._cancelling:
            return self._counted is not None
        while error is not None:
            if isinstance(error, asyncio.CancelledError) and error.args != (self._mark,):
                return False
            error = error.__context__
        return True

    def _cancel(self) -> None:
        if self._task is not None and self._counted is None:
            self._counted = self._task.cancelling()
            self._task.cancel(self._mark)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        assert task is not None and self._forget is not None, "it was entered"
        self._forget()
        was_asked_later = self._counted is not None and task.uncancel() > self._counted
        if kind is None:
            self._leadership.check()
        elif issubclass(kind, asyncio.CancelledError) and not was_asked_later:
            if not self._is_ours(error):
                return
            leadership = self._leadership
            reason = leadership.reason or LossReason.EXPIRED
            raise LeadershipLost(reason, leadership.token, leadership.election) from error
