"""`async with elector.lead()`: cancelled when the term is lost, and only then."""

from __future__ import annotations

import asyncio
import contextlib
import time

import anyio
import pytest
import uvloop

from leaderlock import (
    BackendRefused,
    CampaignTimeout,
    LeaderLockError,
    LeadershipLost,
    LossReason,
)
from leaderlock.aio import LeaderElector
from leaderlock.telemetry.events import TermEnded
from tests.aio.tools import eventually, run
from tests.elector.tools import Store


def nobody_holds(store: Store) -> bool:
    return store._election("e").holder is None and not store._election("e").waiting


def test_the_block_leads_and_resigns_at_its_end(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        async with elector.lead(timeout=5) as leadership:
            leadership.check()
            assert elector.is_leader and elector.leadership is leadership
        assert leadership.reason is LossReason.RESIGNED
        assert nobody_holds(store)

    run(main())


def test_the_body_is_cancelled_when_the_store_says_nothing_any_more(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        seen: list[str] = []
        with pytest.raises(LeadershipLost) as lost:
            async with elector.lead(timeout=5) as leadership:
                store.fail("renew")
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    assert not leadership.is_valid and not elector.is_leader
                    raise
        assert seen == ["cancelled"]
        assert lost.value.reason is LossReason.EXPIRED
        assert lost.value.token == leadership.token
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        await asyncio.sleep(0)  # nothing of it is left to come

    run(main())


@pytest.mark.parametrize("how", ["resign", "stop"])
def test_the_body_is_cancelled_when_somebody_else_gives_the_term_up(store: Store, how: str) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(LeadershipLost) as lost:
            async with elector.lead(timeout=5):
                giving_up = asyncio.create_task(getattr(elector, how)())
                await asyncio.sleep(60)
        assert lost.value.reason is (LossReason.RESIGNED if how == "resign" else LossReason.STOPPED)
        assert await giving_up
        assert nobody_holds(store)

    run(main())


@pytest.mark.parametrize("how", ["resign", "stop"])
def test_the_body_itself_may_give_the_term_up_and_does_not_wait_for_itself(
    store: Store, how: str
) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        began = time.monotonic()
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5):
                await getattr(elector, how)()
                assert not elector.is_leader
                await asyncio.sleep(60)
        assert time.monotonic() - began < elector.timing.drain_timeout
        assert nobody_holds(store)

    run(main())


def test_a_cancellation_from_outside_stays_one_and_resigns(store: Store) -> None:
    async def main() -> None:
        told: list[LossReason] = []
        elector = LeaderElector(store, "e", on_lost=lambda _, reason: told.append(reason))

        async def lead() -> None:
            async with elector.lead(timeout=5):
                await asyncio.sleep(60)

        task = asyncio.create_task(lead())
        await eventually(lambda: elector.is_leader)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == [LossReason.RESIGNED]
        assert nobody_holds(store)

    run(main())


def test_a_cancellation_from_outside_at_the_same_time_as_the_loss_wins(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")

        async def lead() -> None:
            async with elector.lead(timeout=5):
                await asyncio.sleep(60)

        task = asyncio.create_task(lead())
        await eventually(lambda: elector.is_leader)
        elector._candidate.step_down(LossReason.TAKEN)  # the loss is scheduled
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_timeout_around_the_block_stays_a_timeout(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(TimeoutError) as timeout:
            async with asyncio.timeout(0.3), elector.lead(timeout=5):
                await asyncio.sleep(60)
        assert not isinstance(timeout.value, CampaignTimeout)

    run(main())


def test_a_timeout_within_the_block_is_its_own(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store, "e").lead(timeout=5) as leadership:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            leadership.check()

    run(main())


def test_a_body_that_swallows_the_cancellation_has_lost_all_the_same(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5):
                elector._candidate.step_down(LossReason.TAKEN)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)

    run(main())


def test_what_the_body_raises_comes_out_and_the_term_has_failed(store: Store) -> None:
    async def main() -> None:
        told: list[LossReason] = []
        elector = LeaderElector(store, "e", on_lost=lambda _, reason: told.append(reason))
        with pytest.raises(KeyError):
            async with elector.lead(timeout=5):
                raise KeyError("body")
        assert told == [LossReason.WORK_FAILED]

    run(main())


def test_what_the_clean_up_of_a_cancelled_body_raises_comes_out(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(KeyError):
            async with elector.lead(timeout=5):
                elector._candidate.step_down(LossReason.TAKEN)
                try:
                    await asyncio.sleep(60)
                finally:
                    raise KeyError("clean-up")
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0

    run(main())


def test_who_is_not_elected_in_time_leaves_nothing_behind(store: Store) -> None:
    async def main() -> None:
        other = LeaderElector(store.sibling(), "e")
        async with other.lead(timeout=5):
            late = LeaderElector(store, "e")
            with pytest.raises(CampaignTimeout, match=r"within 0\.1 s"):
                async with late.lead(timeout=0.1):
                    raise AssertionError("elected")
            assert not store._election("e").waiting
        assert nobody_holds(store)

    run(main())


def test_a_refusal_comes_out_of_the_wait(store: Store) -> None:
    async def main() -> None:
        store.fail("campaign", error=BackendRefused("wrong password"))
        with pytest.raises(BackendRefused, match="wrong password"):
            async with LeaderElector(store, "e").lead(timeout=5):
                raise AssertionError("elected")

    run(main())


def test_two_at_once_are_an_error(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        async with elector.lead(timeout=5):
            with pytest.raises(LeaderLockError, match="another lead"):
                async with elector.lead(timeout=5):
                    raise AssertionError("entered")

    run(main())


def test_on_a_started_elector_the_block_ends_the_term_and_not_the_candidacy(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store, "e") as elector:
            async with elector.lead(timeout=5) as first:
                pass
            async with elector.lead(timeout=5) as second:
                assert second.token > first.token
            assert elector._candidate.contends

    run(main())


def test_stopped_while_waiting_is_said(store: Store) -> None:
    async def main() -> None:
        async with LeaderElector(store.sibling(), "e").lead(timeout=5):
            waiter = LeaderElector(store, "e")

            async def wait() -> None:
                async with waiter.lead():
                    raise AssertionError("elected")

            task = asyncio.create_task(wait())
            await eventually(lambda: waiter._candidate.answered)
            await waiter.stop()
            with pytest.raises(LeaderLockError, match="stopped while waiting"):
                await task

    run(main())


def test_renewals_go_on_while_the_loop_is_blocked(store: Store) -> None:
    """And a term that is lost meanwhile is over for `check()` at once."""

    async def main() -> None:
        elector = LeaderElector(store, "e")
        async with elector.lead(timeout=5) as leadership:
            time.sleep(1.5 * elector.timing.belief_window)
            leadership.check()
            await asyncio.sleep(0)
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5) as leadership:
                store.fail("renew")
                time.sleep(1.2 * elector.timing.belief_window)
                assert not leadership.is_valid
                with pytest.raises(LeadershipLost):
                    leadership.check()
                await asyncio.sleep(60)

    run(main())


def test_a_task_group_in_the_block_is_cancelled_as_a_whole(store: Store) -> None:
    async def main() -> None:
        elector, ended = LeaderElector(store, "e"), []

        async def child(number: int) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(number)

        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5), asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(child(number))
                await asyncio.sleep(0)
                elector._candidate.step_down(LossReason.TAKEN)
        assert sorted(ended) == [0, 1, 2]

    run(main())


def test_a_block_in_a_task_group_fails_it_with_the_loss(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")

        async def lead() -> None:
            async with elector.lead(timeout=5):
                elector._candidate.step_down(LossReason.TAKEN)
                await asyncio.sleep(60)

        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.TaskGroup() as group:
                group.create_task(lead())
                await asyncio.sleep(60)
        assert failed.group_contains(LeadershipLost)

    run(main())


def test_it_works_under_anyio(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5), anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 60)
                elector._candidate.step_down(LossReason.TAKEN)
        with anyio.move_on_after(0.2) as scope:
            async with elector.lead(timeout=5) as leadership:
                await anyio.sleep(60)
        assert scope.cancelled_caught and leadership.reason is LossReason.RESIGNED
        await eventually(lambda: nobody_holds(store))  # anyio cancels what waits for it, too

    anyio.run(main)


def test_it_works_on_uvloop(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        events: list[object] = []
        elector.subscribe(events.append)
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5):
                elector._candidate.step_down(LossReason.TAKEN)
                await asyncio.sleep(60)
        assert any(isinstance(event, TermEnded) for event in events)
        assert nobody_holds(store)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_loss_that_no_await_has_noticed_comes_at_the_end(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5):
                elector._candidate.step_down(LossReason.TAKEN)
        with pytest.raises(LeadershipLost) as lost:
            async with elector.lead(timeout=5):
                await elector.resign()
        assert lost.value.reason is LossReason.RESIGNED

    run(main())


async def fail_in_a_group() -> None:
    """Python 3.11 and 3.12 leave the group's own cancellation counted."""

    async def child() -> None:
        raise KeyError("child")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
    except* KeyError:
        pass


def test_a_group_that_has_failed_before_does_not_hide_the_loss(store: Store) -> None:
    async def main() -> None:
        elector = LeaderElector(store, "e")
        with pytest.raises(LeadershipLost):
            async with elector.lead(timeout=5):
                await fail_in_a_group()
                elector._candidate.step_down(LossReason.TAKEN)
                await asyncio.sleep(60)

    run(main())


def test_a_group_that_has_failed_before_does_not_hide_a_cancellation(store: Store) -> None:
    """Also when the term is lost while the body cleans up."""

    async def main() -> None:
        elector = LeaderElector(store, "e")

        async def lead() -> None:
            async with elector.lead(timeout=5):
                await fail_in_a_group()
                leads.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    elector._candidate.step_down(LossReason.TAKEN)
                    await asyncio.sleep(60)

        leads = asyncio.Event()
        task = asyncio.create_task(lead())
        await leads.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
