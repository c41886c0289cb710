"""Never run: what type checkers have to see of the public API. Checked by test_typing.py.

An `ignore` marks what a checker has to complain of: one that does not fails the test.
"""

from __future__ import annotations

from typing import assert_type

import leaderlock
from leaderlock import LeaderElector, Leadership, LossReason, aio, leader_only
from leaderlock.telemetry.events import ElectionEvent, Event, Heartbeat, TermEnded

elector = LeaderElector("memory://", "e")
loop_elector = aio.LeaderElector("memory://", "e")


# Plain functions


@elector.leader_only
def skipping(a: int, *, b: str = "") -> float:
    return a


assert_type(skipping(1, b="x"), float | None)
skipping("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
skipping(1, c=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@elector.leader_only(otherwise="raise")
def raising(a: int) -> float:
    return a


assert_type(raising(1), float)


@elector.leader_only(otherwise="wait")
def waiting(leadership: Leadership, a: int) -> float:
    return a


assert_type(waiting(1), float)
waiting()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@elector.leader_only(default="elsewhere")
def with_default(a: int) -> float:
    return a


assert_type(with_default(1), float | str)


@elector.leader_only
def filled_in(leadership: Leadership) -> int:
    return leadership.token.value


assert_type(filled_in(), int | None)
filled_in(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@elector.leader_only
def takes_anything(a: object) -> int:
    return 1


takes_anything(1)
takes_anything(a=1)


class Service:
    @elector.leader_only
    def method(self, a: int) -> str:
        return str(a)

    @elector.leader_only(otherwise="raise")
    def with_term(self, leadership: Leadership, a: int) -> str:
        return str(a)

    @loop_elector.leader_only
    async def coroutine(self, leadership: aio.Leadership, a: int) -> str:
        return str(a)


assert_type(Service().method(1), str | None)
assert_type(Service().with_term(1), str)


@leader_only("memory://", "e", ttl=3)
def lazily(a: int) -> str:
    return str(a)


assert_type(lazily(1), str | None)


@leader_only("memory://", "e", otherwise="raise")
def lazily_or_not(a: int) -> str:
    return str(a)


assert_type(lazily_or_not(1), str)


# Coroutines


@loop_elector.leader_only
async def coroutine(a: int) -> str:
    return str(a)


@loop_elector.leader_only(otherwise="wait")
async def with_term(leadership: aio.Leadership, a: int) -> str:
    return str(a)


@aio.leader_only("memory://", "e", default=0)
async def lazily_awaited(a: int) -> str:
    return str(a)


async def awaits() -> None:
    assert_type(await coroutine(1), str | None)
    assert_type(await with_term(1), str)
    assert_type(await lazily_awaited(1), str | int)
    assert_type(await Service().coroutine(1), str | None)
    async with loop_elector.lead(timeout=1) as leadership:
        assert_type(leadership, aio.Leadership)
        assert_type(await leadership.wait_lost(1), bool)
    async with aio.connect("memory://") as client:
        assert_type(client.elector("e"), aio.LeaderElector)
    assert_type(await loop_elector.leader(), leaderlock.LeaderInfo | None)
    async for info in loop_elector.observe():
        assert_type(info, leaderlock.LeaderInfo | None)
    await loop_elector.run(work)


async def work(leadership: aio.Leadership) -> None:
    leadership.beat()


# Callbacks and the rest


@elector.on_lost
def stopped(leadership: Leadership, reason: LossReason) -> None: ...


@loop_elector.on_elected
async def started(leadership: aio.Leadership) -> None: ...


def takes_one(a: str) -> None: ...


LeaderElector("memory://", "e", on_lost=stopped, healthy=lambda: True)
LeaderElector("memory://", "e", on_lost=takes_one)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
aio.LeaderElector("memory://", "e", on_elected=started)
assert_type(elector.leadership, Leadership | None)
assert_type(loop_elector.leadership, aio.Leadership | None)
with elector.lead(timeout=1) as term:
    assert_type(term, Leadership)
    assert_type(term.wait_lost(1), bool)
with leaderlock.connect("memory://") as threaded:
    assert_type(threaded.elector("e"), LeaderElector)

# Events


@elector.subscribe
def of_an_election(event: ElectionEvent) -> str:
    return event.election


def of_a_client(event: Event) -> None:
    if isinstance(event, Heartbeat):
        assert_type(event.took, float)


assert_type(of_an_election(TermEnded.__new__(TermEnded)), str)
elector.subscribe(of_a_client, Heartbeat)
leaderlock.connect("memory://").subscribe(of_a_client, TermEnded, Heartbeat)
aio.connect("memory://").subscribe(of_a_client)
loop_elector.subscribe(of_an_election, TermEnded)
elector.subscribe(of_a_client, int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
