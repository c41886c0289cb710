"""Callbacks on the event loop: in order, one at a time, and waited for before the release."""

from __future__ import annotations

import asyncio
import threading

import pytest

from leaderlock import ConfigurationError, LossReason
from leaderlock.aio import LeaderElector, Leadership, connect
from leaderlock.telemetry.events import CallbackFailed, Event
from tests.aio.tools import Record, eventually, run
from tests.elector.tools import Store


def test_they_run_on_the_loop_in_the_order_of_what_happened(store: Store) -> None:
    async def main() -> None:
        record, threads = Record(), set[int]()
        elector = LeaderElector(store, "e", on_elected=record.elected, on_lost=record.lost)

        @elector.on_elected
        def plain(leadership: Leadership) -> None:
            threads.add(threading.get_ident())

        @elector.on_lost
        async def also(leadership: Leadership, reason: LossReason) -> None:
            threads.add(threading.get_ident())

        async with elector:
            for _ in range(3):
                assert await elector.wait_elected(5)
                await elector.resign()
        kinds = [kind for kind, _ in record.told]
        assert kinds[:6] == ["elected", "lost"] * 3
        assert len(record.of("elected")) == len(record.of("lost"))
        assert threads == {threading.get_ident()}

    run(main())


def test_followers_are_told_who_leads(store: Store) -> None:
    async def main() -> None:
        seen: list[str | None] = []
        follower = LeaderElector(store, "e", candidate_id="follower")

        @follower.on_leader_change
        async def changed(info: object) -> None:
            seen.append(getattr(info, "candidate_id", None))

        leader = LeaderElector(store.sibling(), "e", candidate_id="leader")
        async with leader:
            assert await leader.wait_elected(5)
            async with follower:
                await eventually(lambda: seen[-1:] == ["leader"])
                await leader.stop()
                await eventually(lambda: seen[-1:] == ["follower"])

    run(main())


def test_the_release_waits_for_a_coroutine(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        go_on = asyncio.Event()

        @elector.on_lost
        async def stopped(leadership: Leadership, reason: LossReason) -> None:
            await go_on.wait()

        async with elector:
            assert await elector.wait_elected(5)
            resigning = asyncio.create_task(elector.resign())
            await eventually(lambda: not elector.is_leader)
            await asyncio.sleep(0.05)
            assert store._election("e").holder is not None, "released before on_lost had ended"
            go_on.set()
            assert await resigning

    run(main())


def test_one_that_never_ends_delays_the_release_by_the_drain_timeout_only(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")

        @elector.on_lost
        async def stopped(leadership: Leadership, reason: LossReason) -> None:
            await asyncio.Event().wait()

        async with elector:
            assert await elector.wait_elected(5)
            async with asyncio.timeout(elector.timing.stop_timeout + 1):
                await elector.resign()
            assert store._election("e").holder is None

    run(main())


@pytest.mark.parametrize("how", ["stop", "resign"])
def test_one_may_stop_or_resign_and_does_not_wait_for_itself(store: Store, how: str) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        done = asyncio.Event()

        @elector.on_elected
        async def started(leadership: Leadership) -> None:
            await getattr(elector, how)()
            assert not leadership.is_valid
            done.set()

        async with elector:
            async with asyncio.timeout(elector.timing.drain_timeout):
                await done.wait()
                await eventually(lambda: store._election("e").holder is None or how == "resign")

    run(main())


def test_what_one_raises_is_told_and_stops_nothing(store: Store) -> None:
    async def main() -> None:
        elector, events, ran = LeaderElector(store, "e"), list[Event](), list[str]()
        elector.subscribe(events.append)

        @elector.on_elected
        async def fails(leadership: Leadership) -> None:
            raise asyncio.CancelledError

        @elector.on_elected
        def next_one(leadership: Leadership) -> None:
            ran.append("next")

        async with elector:
            await eventually(lambda: ran)
        failed = [event for event in events if isinstance(event, CallbackFailed)]
        assert [event.callback for event in failed] == ["on_elected"]

    run(main())


def test_what_cannot_be_called_is_refused(store: Store) -> None:
    async def generator(leadership: Leadership) -> object:
        yield leadership

    elector = LeaderElector(store, "e")
    with pytest.raises(ConfigurationError, match="asynchronous generator"):
        elector.on_elected(generator)
    with pytest.raises(ConfigurationError, match="2 positional"):
        elector.on_lost(lambda leadership: None)  # type: ignore[arg-type, misc]


def test_many_electors_of_one_client_take_no_thread_each(store: Store) -> None:
    """Not to wait, not to be told, and not to end."""

    async def main() -> None:
        before = threading.active_count()
        async with connect(store) as client, connect(store.sibling()) as other:
            leaders = [other.elector(f"e{number}") for number in range(200)]
            for leader in leaders:
                leader.start()
            await asyncio.gather(*(leader.wait_elected(20) for leader in leaders))
            electors = [client.elector(f"e{number}") for number in range(200)]
            told: list[int] = []

            async def work(elector: LeaderElector) -> None:
                async with elector.lead(timeout=60) as leadership:
                    told.append(leadership.token.value)

            tasks = [asyncio.create_task(work(elector)) for elector in electors]
            await eventually(lambda: all(elector._candidate.answered for elector in electors))
            assert threading.active_count() - before <= 2 * 8
            await asyncio.gather(*(leader.stop() for leader in leaders))
            await asyncio.gather(*tasks)
            assert threading.active_count() - before <= 2 * 8
            assert len(told) == 200

    run(main())


def test_callbacks_outlive_a_cancellation_of_every_task(store: Store) -> None:
    """As programs end: what is owed is told, and the elector can be elected again."""

    async def main() -> None:
        record, hangs = Record(), asyncio.Event()
        elector = LeaderElector(store, "e", on_elected=record.elected, on_lost=record.lost)

        @elector.on_elected
        async def started(leadership: Leadership) -> None:
            if len(record.of("elected")) == 1:
                hangs.set()
                await asyncio.Event().wait()

        elector.start()
        await hangs.wait()
        elector._candidate.step_down(LossReason.TAKEN)
        await asyncio.sleep(0)
        own = asyncio.current_task()
        for task in asyncio.all_tasks() - {own}:
            task.cancel()
        await eventually(lambda: record.of("lost") == [LossReason.TAKEN])
        assert await elector.wait_elected(5)
        assert await elector.stop()

    run(main())


def test_one_that_cancels_its_own_task_costs_the_others_nothing(store: Store) -> None:
    async def main() -> None:
        record = Record()
        elector = LeaderElector(store, "e")

        @elector.on_elected
        async def started(leadership: Leadership) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

        elector.on_elected(record.elected)
        elector.on_lost(record.lost)
        async with elector:
            for _ in range(5):
                assert await elector.wait_elected(5)
                await elector.resign()
        kinds = [kind for kind, _ in record.told]
        assert kinds == ["elected", "lost"] * (len(kinds) // 2) and len(kinds) >= 10

    run(main())


def test_what_a_loop_that_ended_has_not_told_is_told_by_the_next_one(store: Store) -> None:
    record = Record()
    elector = LeaderElector(store, "e", on_lost=record.lost)

    @elector.on_elected
    def started(leadership: Leadership) -> None:
        record.told.append(("elected", leadership.token.value))

    async def begin() -> None:
        elector.start()
        assert await elector.wait_elected(5)
        # The end of the loop comes before it has had a turn for what is told now.
        elector._candidate.step_down(LossReason.TAKEN)

    async def go_on() -> None:
        async with elector:
            assert await elector.wait_elected(5)

    asyncio.run(begin())
    run(go_on())
    kinds = [kind for kind, _ in record.told]
    assert kinds == ["elected", "lost"] * 2


def test_what_nobody_can_tell_any_more_does_not_hold_up_the_end(store: Store) -> None:
    elector = LeaderElector(store, "e", on_lost=lambda leadership, reason: None)

    async def main() -> None:
        elector.start()
        assert await elector.wait_elected(5)
        elector._candidate.step_down(LossReason.TAKEN)

    asyncio.run(main())
    elector._candidate.begin_stop()
    assert elector._candidate.wait_rest(elector.timing.drain_timeout / 2), "on_lost is waited for"
    assert elector._client.close()


def test_an_eager_loop_tells_them_too(store: Store) -> None:
    factory = getattr(asyncio, "eager_task_factory", None)

    async def main() -> None:
        if factory is not None:  # Python 3.12 and newer
            asyncio.get_running_loop().set_task_factory(factory)
        record = Record()

        def plain(leadership: Leadership) -> None:
            record.told.append(("elected", leadership.token.value))

        elector = LeaderElector(store, "e", on_elected=plain, on_lost=record.lost)
        async with elector:
            for _ in range(3):
                assert await elector.wait_elected(5)
                await elector.resign()
        assert [kind for kind, _ in record.told][:6] == ["elected", "lost"] * 3

    run(main())


def test_close_in_one_does_not_wait_for_itself(store: Store) -> None:
    async def main() -> None:
        client, took = connect(store), list[float]()

        async def started(leadership: Leadership) -> None:
            began = asyncio.get_running_loop().time()
            await client.close()
            took.append(asyncio.get_running_loop().time() - began)

        elector = client.elector("e", on_elected=started)
        elector.start()
        await eventually(lambda: took)
        assert took[0] < elector.timing.drain_timeout / 2
        await eventually(lambda: store._election("e").holder is None)

    run(main())
