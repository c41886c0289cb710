"""Cancelled at every await point: nothing is left behind in the store, whatever was under way."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from leaderlock import LeadershipLost
from leaderlock.aio import LeaderElector, Leadership, connect
from tests.aio.tools import eventually, run
from tests.elector.tools import Store

Scenario = Callable[[LeaderElector], Awaitable[object]]


async def lead(elector: LeaderElector) -> None:
    async with elector.lead(timeout=5):
        await asyncio.sleep(0.01)


async def lead_started(elector: LeaderElector) -> None:
    async with elector, elector.lead(timeout=5):
        await asyncio.sleep(0.01)


async def lead_and_lose(elector: LeaderElector) -> None:
    with pytest.raises(LeadershipLost):
        async with elector.lead(timeout=5):
            asyncio.get_running_loop().call_later(0.01, asyncio.ensure_future, elector.resign())
            await asyncio.sleep(60)


async def be_elected_and_resign(elector: LeaderElector) -> None:
    async with elector:
        assert await elector.wait_elected(5)
        await elector.resign()


async def work(elector: LeaderElector) -> None:
    async def once(leadership: Leadership) -> None:
        await asyncio.sleep(0.01)
        await elector.stop()

    await elector.run(once)


async def observe(elector: LeaderElector) -> None:
    async with elector:
        async for info in elector.observe():
            if info is not None:
                break
        assert await elector.leader() is not None


async def wait_in_a_guard(elector: LeaderElector) -> None:
    @elector.leader_only(otherwise="wait")
    async def guarded() -> None:
        await asyncio.sleep(0.01)

    async with elector:
        await guarded()


async def share_a_client(elector: LeaderElector) -> None:
    async with (
        connect(elector._client._given_backend) as client,
        client.elector("e").lead(timeout=5),
    ):
        await asyncio.sleep(0.01)


SCENARIOS = [
    lead,
    lead_started,
    lead_and_lose,
    be_elected_and_resign,
    work,
    observe,
    wait_in_a_guard,
    share_a_client,
]


@types.coroutine
def cancelled_at(
    awaitable: Awaitable[object], number: int, reached: list[int]
) -> Generator[Any, Any, object]:
    """Await it, and cancel the task where it suspends for the number-th time."""
    steps = awaitable.__await__()
    task = asyncio.current_task()
    assert task is not None
    answer, error = None, None
    while True:
        try:
            waits_for = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        reached[0] += 1
        if reached[0] == number:
            task.cancel()
        try:
            answer, error = (yield waits_for), None
        except BaseException as raised:
            error = raised


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("wanted", ["free", "taken"])
def test_nothing_is_left_behind(store: Store, scenario: Scenario, wanted: str) -> None:
    """With a free term, and with one that somebody else gives up after a while."""

    async def at(number: int) -> bool:
        """Whether it came so far."""
        reached = [0]
        other = LeaderElector(store.sibling(), "e")
        if wanted == "taken":
            other.start()
            assert await other.wait_elected(5)
            asyncio.get_running_loop().call_later(0.02, other._candidate.begin_stop)
        task = asyncio.create_task(run_to_the_end(number, reached))
        await asyncio.wait([task])
        await other.stop()
        cancelled = reached[0] >= number
        if not task.cancelled():
            task.result()  # what it raises fails the test
        election = store._election("e")
        await eventually(
            lambda: election.holder is None and not election.waiting,
            f"cancelled at await {number}, something is left in the store: {election}",
        )
        assert cancelled or not task.cancelled()
        return cancelled

    async def run_to_the_end(number: int, reached: list[int]) -> None:
        await cancelled_at(scenario(LeaderElector(store, "e")), number, reached)

    async def main() -> None:
        number = 1
        while await at(number):
            number += 1
        assert number > 1, "it never waited"

    run(main())
