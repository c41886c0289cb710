"""Everything of leaderlock.aio that is neither a block nor a callback."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    ConfigurationError,
    LeaderInfo,
    LeaderLockError,
    LossReason,
)
from leaderlock.aio import LeaderElector, Leadership, connect
from leaderlock.telemetry.events import CallbackFailed, Event
from tests.aio.tools import Record, eventually, run
from tests.elector.tools import Store, in_child, lasts_at_most
from tests.elector.tools import eventually as threaded_eventually


def test_run_works_once_per_term_until_it_is_stopped(store: Store) -> None:
    async def main() -> None:
        elector, tokens = LeaderElector(store, "e"), list[int]()

        async def work(leadership: Leadership) -> None:
            tokens.append(leadership.token.value)
            if len(tokens) == 3:
                await elector.stop()

        await elector.run(work)
        assert tokens == sorted(set(tokens)) and len(tokens) == 3
        assert store._election("e").holder is None

    run(main())


def test_the_work_of_run_is_cancelled_when_its_term_is_lost_and_begins_again(store: Store) -> None:
    async def main() -> None:
        elector, ended = LeaderElector(store, "e"), list[str]()

        async def work(leadership: Leadership) -> None:
            if ended:
                await elector.stop()
            try:
                elector._candidate.step_down(LossReason.TAKEN)
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        await elector.run(work)
        assert ended[0] == "cancelled"
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0

    run(main())


def test_work_that_raises_is_told_and_run_goes_on(store: Store) -> None:
    async def main() -> None:
        record, events = Record(), list[Event]()
        elector = LeaderElector(store, "e", on_lost=record.lost)
        elector.subscribe(events.append)

        async def work(leadership: Leadership) -> None:
            if not record.of("lost"):
                raise KeyError("work")
            await elector.stop()

        await elector.run(work)
        assert record.of("lost")[0] is LossReason.WORK_FAILED
        assert any(isinstance(event, CallbackFailed) for event in events)

    run(main())


def test_a_cancelled_run_ends_and_resigns(store: Store) -> None:
    async def main() -> None:
        record = Record()
        elector = LeaderElector(store, "e", on_lost=record.lost)
        task = asyncio.create_task(elector.run(lambda leadership: asyncio.sleep(60)))
        await eventually(lambda: elector.is_leader)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert record.of("lost") == [LossReason.RESIGNED]
        assert store._election("e").holder is None

    run(main())


def test_wait_elected_says_whether(store: Store) -> None:
    async def main() -> None:
        first, second = LeaderElector(store, "e"), LeaderElector(store.sibling(), "e")
        async with first:
            assert await first.wait_elected(5)
            second.start()
            assert not await second.wait_elected(0.05)
            waiting = asyncio.create_task(second.wait_elected())
            await first.stop()
            assert await waiting
            last = asyncio.create_task(LeaderElector(store.sibling(), "e").wait_elected(0.05))
            assert await last, "for who does not contend: anybody leads"
            await second.stop()
        assert not await first.wait_elected(0.05)

    run(main())


def test_waiting_ends_with_the_candidacy_or_with_a_refusal(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store.sibling(), "e") as leader:
            assert await leader.wait_elected(5)
            elector = LeaderElector(store, "e")
            elector.start()
            waiting = asyncio.create_task(elector.wait_elected())
            await asyncio.sleep(0)  # it waits for this candidate, not for anybody
            await eventually(lambda: elector._candidate.answered)
            await elector.stop()
            assert not await waiting
        store.fail("campaign", error=BackendRefused("no"))
        elector.start()
        with pytest.raises(BackendRefused):
            await elector.wait_elected(5)
        await elector.stop()

    run(main())


def test_who_leads_is_asked_of_the_store(store: Store) -> None:
    async def main() -> None:
        asker = LeaderElector(store, "e")
        assert await asker.leader() is None
        async with LeaderElector(store.sibling(), "e", candidate_id="a", metadata={"k": 1}) as a:
            await a.wait_elected(5)
            info = await asker.leader()
            assert isinstance(info, LeaderInfo)
            assert (info.candidate_id, info.metadata) == ("a", {"k": 1})
        await asker.stop()

    run(main())


def test_a_store_that_hangs_is_given_up_and_blocks_nobody(store: Store) -> None:
    async def main() -> None:
        asker = LeaderElector(store, "e")
        store.hang("leader")
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(BackendUnavailable, match="no answer"):
            await asker.leader()
        assert ticks > 10
        ticking.cancel()
        store.let_go()
        await asker.stop()

    run(main())


def test_observers_see_every_leader_until_they_are_stopped(store: Store) -> None:
    async def main() -> None:
        observer, seen = LeaderElector(store, "e"), list[str | None]()

        async def observe() -> None:
            async for info in observer.observe():
                seen.append(None if info is None else info.candidate_id)

        task = asyncio.create_task(observe())
        await eventually(lambda: seen == [None])
        for name in ("a", "b"):
            async with LeaderElector(store.sibling(), "e", candidate_id=name).lead(timeout=5):
                await eventually(lambda: seen[-1:] == [name])  # noqa: B023
            await eventually(lambda: seen[-1:] == [None])
        await observer.stop()
        await task
        assert seen == [None, "a", None, "b", None]

    run(main())


def test_an_observer_that_breaks_off_is_forgotten(store: Store) -> None:
    async def main() -> None:
        observer = LeaderElector(store, "e")
        async with aclosing(observer.observe()) as changes:
            async for info in changes:
                assert info is None
                break
        assert not observer._feed._subscribers
        await observer.stop()

    run(main())


def test_a_dead_store_holds_up_neither_stop_nor_close(store: Store) -> None:
    async def main() -> None:
        client = connect(store)
        elector = client.elector("e")
        elector.start()
        assert await elector.wait_elected(5)
        store.hang("release", "renew", "close")
        with lasts_at_most(0.2):
            assert not await elector.stop(0.2)
        with lasts_at_most(0.2):
            assert not await client.close(0.2)
        store.let_go()

    run(main())


def test_it_can_be_used_in_one_loop_after_the_other(store: Store) -> None:
    record = Record()
    elector = LeaderElector(store, "e", on_elected=record.elected, on_lost=record.lost)

    async def main() -> None:
        async with elector:
            assert await elector.wait_elected(5)

    for _ in range(3):
        run(main())
    assert [kind for kind, _ in record.told] == ["elected", "lost"] * 3


def test_a_loop_that_ends_without_a_stop_leaves_a_candidate_that_can_still_be_stopped(
    store: Store,
) -> None:
    record = Record()
    elector = LeaderElector(store, "e", on_lost=record.lost)

    async def main() -> None:
        elector.start()
        assert await elector.wait_elected(5)

    asyncio.run(main())
    assert elector.is_leader, "its threads renew it"
    assert elector._client.close(), "the end of the process does this"
    assert not elector.is_leader and store._election("e").holder is None


def test_start_needs_a_loop(store: Store) -> None:
    elector = LeaderElector(store, "e")
    with pytest.raises(LeaderLockError, match="start it in a coroutine"):
        elector.start()
    assert not elector._candidate.contends


def test_a_forked_child_does_not_lead_and_can_begin_anew(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        async with elector.lead(timeout=5) as leadership:

            def child() -> None:
                assert not elector.is_leader
                assert leadership.reason is LossReason.FORKED

                async def anew() -> None:
                    async with elector:
                        assert not await elector.wait_elected(0.05) or True

                thread = threading.Thread(target=lambda: asyncio.run(anew()))
                thread.start()
                thread.join(10)
                assert not thread.is_alive()

            assert in_child(child) == ""
            await asyncio.sleep(0.01)
            leadership.check()

    run(main())


def test_a_lost_term_can_be_waited_for_outside_of_its_block(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store, "e") as elector:
            assert await elector.wait_elected(5)
            leadership = elector.leadership
            assert leadership is not None
            assert not await leadership.wait_lost(0.01)
            waiting = asyncio.create_task(leadership.wait_lost())
            await asyncio.sleep(0)
            await elector.resign()
            assert await waiting
            assert await leadership.wait_lost(0.01)
            assert len(leadership._listeners) == 0

    run(main())


def test_a_leader_whose_loop_is_wedged_gives_the_term_up(store: Store) -> None:
    async def main() -> None:
        record, asked = Record(), list[bool]()

        async def healthy() -> bool:
            await asyncio.sleep(0)
            asked.append(True)
            return True

        elector = LeaderElector(store, "e", on_lost=record.lost, healthy=healthy)
        async with elector:
            assert await elector.wait_elected(5)
            await eventually(lambda: len(asked) >= 2)
            leadership = elector.leadership
            assert leadership is not None
            time.sleep(1.5 * elector.timing.ttl)
            assert leadership.reason is LossReason.WORK_FAILED
            await eventually(lambda: record.of("lost") == [LossReason.WORK_FAILED])

    run(main())


def test_an_elector_whose_loop_has_ended_stops_by_itself(store: Store) -> None:
    """Nobody is there to be told of a loss, or to be cancelled."""
    elector = LeaderElector(store, "e")

    async def main() -> None:
        elector.start()
        assert await elector.wait_elected(5)

    asyncio.run(main())
    threaded_eventually(lambda: not elector.is_leader)
    threaded_eventually(lambda: store._election("e").holder is None)
    assert elector._client.close()


def test_a_cancelled_stop_does_not_stop_what_is_started_after_it(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        for _ in range(100):
            elector.start()
            stopping = asyncio.create_task(elector.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            elector.start()
            await asyncio.wait([stopping])
            assert elector._candidate.contends
        await elector.stop()

    run(main())


def test_work_that_awaits_what_was_cancelled_has_failed_and_run_goes_on(store: Store) -> None:
    async def main() -> None:
        record = Record()
        elector = LeaderElector(store, "e", on_lost=record.lost)

        async def work(leadership: Leadership) -> None:
            if record.of("lost"):
                await elector.stop()
                return
            other = asyncio.create_task(asyncio.sleep(60))
            other.cancel()
            await other

        await elector.run(work)
        assert record.of("lost")[0] is LossReason.WORK_FAILED

    run(main())


def test_a_loss_in_a_group_of_tasks_is_no_failure_of_the_work(store: Store) -> None:
    async def main() -> None:
        events, terms = list[Event](), list[int]()
        elector = LeaderElector(store, "e")
        elector.subscribe(events.append)

        async def child(leadership: Leadership) -> None:
            elector._candidate.step_down(LossReason.TAKEN)
            leadership.check()

        async def work(leadership: Leadership) -> None:
            terms.append(leadership.token.value)
            if len(terms) == 2:
                await elector.stop()
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(child(leadership))

        await elector.run(work)
        assert not [event for event in events if isinstance(event, CallbackFailed)]

    run(main())


def test_work_that_cannot_be_awaited_is_refused(store: Store) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="make it a coroutine function"):
            await LeaderElector(store, "e").run(lambda leadership: None)  # type: ignore[arg-type, return-value]

    run(main())


def test_healthy_is_asked_again_by_the_next_loop(store: Store) -> None:
    asked: list[int] = []

    def healthy() -> bool:
        asked.append(1)
        return True

    elector = LeaderElector(store, "e", healthy=healthy)

    async def main() -> None:
        async with elector:
            assert await elector.wait_elected(5)
            before = len(asked)
            await eventually(lambda: len(asked) > before)

    for _ in range(2):
        run(main())


@pytest.mark.parametrize("caught", [True, False])
def test_run_outlasts_groups_of_tasks_that_fail(store: Store, caught: bool) -> None:
    async def main() -> None:
        events, terms = list[Event](), list[int]()
        elector = LeaderElector(store, "e")
        elector.subscribe(events.append)

        async def child() -> None:
            raise KeyError("child")

        async def work(leadership: Leadership) -> None:
            terms.append(leadership.token.value)
            if len(terms) == 3:
                await elector.stop()
                return
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(child())
            except* KeyError:
                if not caught:
                    raise
            elector._candidate.step_down(LossReason.TAKEN)
            await asyncio.sleep(60)

        await elector.run(work)
        assert len(terms) == 3
        failures = [event for event in events if isinstance(event, CallbackFailed)]
        assert len(failures) == (0 if caught else 2)

    run(main())


def test_who_cancels_run_waits_for_the_clean_up_of_its_work(store: Store) -> None:
    async def main() -> None:
        elector, cleaned_up = LeaderElector(store, "e"), list[bool]()

        async def work(leadership: Leadership) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                cleaned_up.append(elector.is_leader)

        task = asyncio.create_task(elector.run(work))
        await eventually(lambda: elector.is_leader)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned_up == [True], "the term was given up before the work had ended"
        assert store._election("e").holder is None

    run(main())
