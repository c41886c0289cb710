"""Pauses between tries: growing, with jitter, bounded."""

from __future__ import annotations

import pytest

from leaderlock.backoff import Backoff
from tests.elector.tools import python


@pytest.mark.parametrize("longest", [0.1, 0.5, 2.0])
def test_pauses_are_bounded_and_never_nothing(longest: float) -> None:
    backoff = Backoff(longest)
    pauses = [backoff.pause() for _ in range(2000)]
    assert all(0 < pause <= longest for pause in pauses)


def test_pauses_grow() -> None:
    means = []
    for failures in (1, 3, 6):
        total = 0.0
        for _ in range(200):
            backoff = Backoff(2.0)
            for _ in range(failures):
                pause = backoff.pause()
            total += pause
        means.append(total / 200)
    assert means == sorted(means)
    assert means[0] < 0.6 < 1.3 < means[2]


def test_pauses_are_jittered() -> None:
    pauses = {Backoff(2.0).pause() for _ in range(50)}
    assert len(pauses) > 40
    assert max(pauses) - min(pauses) > 0.2


def test_a_success_begins_anew() -> None:
    backoff = Backoff(2.0)
    for _ in range(20):
        backoff.pause()
    backoff.reset()
    assert backoff.pause() <= 0.05 + 0.5


def test_very_many_failures_are_no_overflow() -> None:
    backoff = Backoff(1.0)
    backoff._failures = 10**6
    assert backoff.pause() <= 1.0


def test_the_first_pause_opens_no_file() -> None:
    """The first failure may be that there are no file descriptors left."""
    done = python(
        "import sys\n"
        "from leaderlock.backoff import Backoff\n"
        "backoff = Backoff(1.0)\n"
        "events = []\n"
        "sys.addaudithook(lambda event, _: events.append(event))\n"
        "backoff.pause()\n"
        "print([event for event in events if event in ('import', 'open')])\n"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
