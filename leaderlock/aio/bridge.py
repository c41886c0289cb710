"""From the threads of leaderlock to an event loop and back, with no thread for each wait.

What has to be known is told by threads; they only schedule something on the loop. A coroutine that
waits asks, without blocking, and sleeps until it is told that asking again may be worth while.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from leaderlock.leadership import LeadershipT

if TYPE_CHECKING:
    from leaderlock.candidate import Candidate
    from leaderlock.client import Client
    from leaderlock.terms import Hold

T = TypeVar("T")


class Home:
    """The event loop that something belongs to, to be reached from any thread."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()

    def call(self, function: Callable[..., object], *args: object) -> bool:
        """Have it called on the loop, soon. False: it never will be."""
        if os.getpid() != self._pid:  # a forked child: the loop's wake-up pipe is the parent's
            return False
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed
            return False
        return True


async def wait_until(
    candidate: Candidate[Any], decided: Callable[[], bool], timeout: float | None
) -> bool:
    """Wait until `decided()`, which must not block, for at most `timeout` seconds."""
    told = asyncio.Event()
    stop_listening = candidate.listen(partial(Home().call, told.set))
    try:
        async with asyncio.timeout(timeout):
            while not decided():
                await told.wait()
                told.clear()
    except TimeoutError:
        return decided()
    finally:
        stop_listening()
    return True


async def hold_term(
    candidate: Candidate[LeadershipT], timeout: float | None
) -> Hold[LeadershipT] | None:
    """Wait until the candidate leads, and count this task as working under the term.

    None: not in time, or stopped. There is no await between the hold and the return: whoever gets
    a hold has it, also when the task is cancelled meanwhile.

    Raises:
        BackendRefused, TokenRegression: it cannot be elected until somebody acts.
        LeaderLockError: no next term begins before this task has ended.
    """
    owner = asyncio.current_task()
    hold: Hold[LeadershipT] | None = None

    def decided() -> bool:
        nonlocal hold
        hold = candidate.hold_term(0.0, owner)
        return hold is not None or not candidate.contends

    await wait_until(candidate, decided, timeout)
    return hold


def in_thread(job: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Begin what blocks on a thread of its own. It goes on, also when nobody waits any more.

    Not on the loop's executor: that may be full of what waits for this very job.
    """
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    home = Home()

    def settle(settle_answer: Callable[[Any], None], value: object) -> None:
        if not answer.done():
            settle_answer(value)

    def run() -> None:
        try:
            value = job()
        except BaseException as error:
            home.call(settle, answer.set_exception, error)
        else:
            home.call(settle, answer.set_result, value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer


async def close_client(client: Client, timeout: float) -> bool:
    """Close it without blocking the loop; what waits for the caller does not wait at all."""
    task = asyncio.current_task()
    is_own = any(elector._candidate.waits_for(task) for elector in list(client._electors))
    end = time.monotonic() + timeout
    closed = in_thread(partial(client.begin_close(), end), "leaderlock-close")
    return client.is_closed if is_own else await closed
