"""The handle on a term, for coroutines."""

from __future__ import annotations

import asyncio
from functools import partial

from leaderlock.aio.bridge import Home
from leaderlock.leadership import AnyLeadership
from leaderlock.timing import wait_time


class Leadership(AnyLeadership):
    """One term, from election to loss, as `leaderlock.aio` hands it out. See `AnyLeadership`."""

    __slots__ = ()

    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the term is over, or for `timeout` seconds (default: for ever).

        Inside the body of `lead()`, or of `run(work)`, it never returns True: the body is
        cancelled then.

        Returns:
            Whether it is over.
        """
        bound = wait_time(timeout)
        told = asyncio.Event()
        forget = self._on_end(partial(Home().call, told.set))
        try:
            async with asyncio.timeout(bound):
                await told.wait()
        except TimeoutError:
            return not self.is_valid
        finally:
            forget()
        return True
