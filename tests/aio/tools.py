"""What the tests of leaderlock.aio share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from leaderlock import LossReason
from leaderlock.aio import Leadership
from tests.elector.tools import PATIENCE

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop that complains of coroutines which nobody awaits, and the like."""

    async def in_time() -> T:
        async with asyncio.timeout(2 * PATIENCE):
            return await main

    return asyncio.run(in_time(), debug=True)


async def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until `condition` holds; fail if it does not."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE} s: {what or condition}") from None


class Record:
    """Coroutine callbacks that remember what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    async def elected(self, leadership: Leadership) -> None:
        await asyncio.sleep(0)
        self.told.append(("elected", leadership.token.value))

    async def lost(self, leadership: Leadership, reason: LossReason) -> None:
        await asyncio.sleep(0)
        self.told.append(("lost", reason))

    def of(self, kind: str) -> list[object]:
        return [what for of_kind, what in self.told if of_kind == kind]
