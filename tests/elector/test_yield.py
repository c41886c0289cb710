"""A candidate that has resigned lets the others go first, and costs nobody any time."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from leaderlock import LeaderElector, Leadership, LossReason
from tests.elector.tools import eventually


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"memory://{tmp_path.name}" if request.param == "memory" else f"sqlite://{tmp_path}/e.db"


def test_a_resigned_leader_is_succeeded_by_who_waited(url: str) -> None:
    with ExitStack() as stack:
        electors = []
        for number in range(3):
            elector = LeaderElector(url, "billing", candidate_id=f"c{number}")
            electors.append(stack.enter_context(elector))
            assert electors[0].wait_elected(timeout=10)  # before the others come
        first = electors[0]
        for _ in range(10):
            assert first.wait_elected(timeout=10)
            first.resign()
            others = [elector for elector in electors if elector is not first]
            leader = None
            while leader is None:
                leader = next((e for e in electors if e.is_leader), None)
            assert leader in others, "the one that resigned won again at once"
            first = leader


def test_a_hand_over_between_two_that_keep_resigning_takes_milliseconds(url: str) -> None:
    with LeaderElector(url, "billing") as one:
        assert one.wait_elected(timeout=10)
        with LeaderElector(url, "billing") as other:
            times = []
            for _ in range(20):
                leader, follower = (one, other) if one.is_leader else (other, one)
                started = time.perf_counter()
                leader.resign()
                assert follower.wait_elected(timeout=10)
                times.append(time.perf_counter() - started)
    # 20 ms is the promise; the rest is for a machine that runs the other tests meanwhile.
    assert statistics.median(times) < 0.2


def test_a_resigned_leader_without_rivals_leads_again_soon(url: str) -> None:
    with LeaderElector(url, "billing", ttl=3) as elector:
        assert elector.wait_elected(timeout=10)
        first = elector.leadership
        assert first is not None
        elector.resign()
        assert elector.wait_elected(timeout=10)
        second = elector.leadership
        assert second is not None and second.token > first.token


def test_a_leader_whose_work_takes_long_to_end_lets_another_one_lead(url: str) -> None:
    """It holds back from its release on, not from when it gave the term up."""

    def slowly(leadership: Leadership, reason: LossReason) -> None:
        threading.Event().wait(1.5)

    with LeaderElector(url, "billing", on_lost=slowly) as first:
        assert first.wait_elected(timeout=10)
        told: list[str] = []
        first.on_elected(lambda leadership: told.append("first"))
        with LeaderElector(url, "billing", on_elected=lambda _: told.append("second")) as second:
            first.resign()
            assert second.wait_elected(timeout=10)
            eventually(lambda: told)
            assert told[0] == "second"
