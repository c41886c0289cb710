"""@leader_only on coroutine functions, of either API."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterator

import pytest

import leaderlock
from leaderlock import Client, ConfigurationError, LeadershipLost, LossReason, NotLeader
from leaderlock.aio import LeaderElector, Leadership, leader_only
from tests.aio.tools import eventually, run
from tests.elector.tools import Store


def test_it_runs_on_the_leader_and_is_skipped_elsewhere(store: Store) -> None:
    async def main() -> None:
        leader, follower = LeaderElector(store, "e"), LeaderElector(store.sibling(), "e")

        @leader.leader_only
        async def runs(a: int, leadership: Leadership, b: int = 2) -> object:
            await asyncio.sleep(0)
            return a, leadership, b

        @follower.leader_only(default="skipped")
        async def skipped() -> str:
            raise AssertionError("ran")

        @follower.leader_only(otherwise="raise")
        async def refused() -> None:
            raise AssertionError("ran")

        assert inspect.iscoroutinefunction(runs)
        async with leader:
            await leader.wait_elected(5)
            async with follower:
                assert await runs(1) == (1, leader.leadership, 2)
                assert await skipped() == "skipped"
                with pytest.raises(NotLeader):
                    await refused()

    run(main())


def test_it_waits_if_asked_to_and_blocks_nobody(store: Store) -> None:
    async def main() -> None:
        leader, follower = LeaderElector(store, "e"), LeaderElector(store.sibling(), "e")

        @follower.leader_only(otherwise="wait")
        async def guarded() -> bool:
            return follower.is_leader

        async with leader:
            await leader.wait_elected(5)
            async with follower:
                waiting = asyncio.create_task(guarded())
                await asyncio.sleep(0.05)
                assert not waiting.done()
                await leader.stop()
                assert await waiting

    run(main())


def test_it_is_cancelled_when_the_term_is_lost(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store, "e") as elector:
            assert await elector.wait_elected(5)

            @elector.leader_only
            async def guarded() -> None:
                elector._candidate.step_down(LossReason.TAKEN)
                await asyncio.sleep(60)

            with pytest.raises(LeadershipLost):
                await guarded()

    run(main())


def test_a_resignation_waits_for_it(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store, "e") as elector:
            assert await elector.wait_elected(5)
            cleaned_up = []

            @elector.leader_only
            async def guarded() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(0.05)
                    cleaned_up.append(store._election("e").holder is not None)

            call = asyncio.create_task(guarded())
            await asyncio.sleep(0)
            await elector.resign()
            assert cleaned_up == [True], "released before the work had ended"
            with pytest.raises(LeadershipLost):
                await call

    run(main())


def test_many_calls_of_one_term_leave_nothing_behind_in_it(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store, "e") as elector:
            assert await elector.wait_elected(5)

            @elector.leader_only
            async def guarded(number: int) -> int:
                await asyncio.sleep(0)
                return number

            assert await asyncio.gather(*(guarded(n) for n in range(50))) == list(range(50))
            leadership = elector.leadership
            assert leadership is not None and len(leadership._listeners) == 0
            assert not elector._candidate.terms._holds

    run(main())


def test_a_threaded_elector_guards_coroutines_too(
    store: Store, clients: Callable[..., Client]
) -> None:
    elector = clients().elector("e")

    @elector.leader_only(otherwise="wait")
    async def guarded(leadership: leaderlock.Leadership) -> object:
        await asyncio.sleep(0)
        return leadership

    async def main() -> None:
        with pytest.raises(NotLeader, match="has not been started"):
            await guarded()
        elector.start()
        assert await guarded() is elector.leadership

    run(main())


@pytest.mark.parametrize("decorator", [leaderlock.leader_only, leader_only])
def test_without_an_elector_it_begins_with_the_first_call(
    store: Store, decorator: Callable[..., Callable[..., Callable[[], object]]]
) -> None:
    calls: list[str] = []

    @decorator(store, "e")
    async def guarded() -> None:
        calls.append("ran")

    assert store.calls["campaign"] < 1

    async def main() -> None:
        await guarded()  # type: ignore[misc]
        assert calls == ["ran"]
        await guarded()  # type: ignore[misc]

    run(main())
    assert store.calls["campaign"] >= 1


def test_a_plain_function_must_not_block_the_loop(store: Store) -> None:
    elector = LeaderElector(store, "e")
    with pytest.raises(ConfigurationError, match="would block the event loop"):
        elector.leader_only(otherwise="wait")(print_nothing)
    with pytest.raises(ConfigurationError, match="would block the event loop"):
        leader_only(store, "e")(print_nothing)

    async def main() -> None:
        async with elector:
            assert await elector.wait_elected(5)
            assert elector.leader_only(otherwise="raise")(print_nothing)() == "nothing"

    run(main())


def print_nothing() -> str:
    return "nothing"


def test_generators_are_refused(store: Store) -> None:
    async def generator() -> object:
        yield 1

    with pytest.raises(ConfigurationError, match="asynchronous generator"):
        LeaderElector(store, "e").leader_only(generator)


def test_it_may_be_called_from_a_callback(store: Store) -> None:
    async def main() -> None:
        elector, ran = LeaderElector(store, "e"), list[str]()

        @elector.leader_only
        async def guarded() -> None:
            ran.append("ran")

        @elector.on_elected
        async def started(leadership: Leadership) -> None:
            await guarded()

        async with elector:
            await eventually(lambda: ran)

    run(main())


def test_what_a_plain_function_only_makes_is_refused(store: Store) -> None:
    """A wrapper that hides a coroutine function, or a context manager."""
    elector = LeaderElector(store, "e")

    async def hidden() -> None:
        raise AssertionError("ran")

    @elector.leader_only
    @functools.wraps(hidden)
    def wrapped() -> object:
        return hidden()

    @contextlib.contextmanager
    def managed() -> Iterator[None]:
        yield

    with pytest.raises(ConfigurationError, match="generator function"):
        elector.leader_only(managed)
    with pytest.raises(ConfigurationError, match="decorates a function"):
        elector.leader_only(staticmethod(print_nothing))

    async def main() -> None:
        async with elector:
            assert await elector.wait_elected(5)
            with pytest.raises(ConfigurationError, match="nothing has run"):
                wrapped()

    run(main())


@pytest.mark.parametrize("how", ["resign", "stop"])
def test_a_threaded_elector_gives_up_in_its_own_coroutine_without_waiting_for_it(
    store: Store, clients: Callable[..., Client], how: str
) -> None:
    elector = clients().elector("e")

    @elector.leader_only(otherwise="wait")
    async def guarded() -> float:
        began = time.monotonic()
        getattr(elector, how)()
        took.append(time.monotonic() - began)
        return 0.0

    took: list[float] = []

    async def main() -> None:
        elector.start()
        with pytest.raises(LeadershipLost):
            await guarded()
        assert took[0] < elector.timing.drain_timeout / 2

    run(main())
