"""Whom a store's news wake, and how often who waits asks without any."""

from __future__ import annotations

import pytest

from leaderlock.backends.wakes import net


@pytest.mark.parametrize("waiting", [0, 1, 10, 100, 1_000, 10_000])
def test_those_who_wait_ask_together_no_more_often_than_a_hundred_do(waiting: int) -> None:
    pause = net(10.0, waiting)
    assert pause >= 10.0
    assert waiting / pause <= 10.0
