"""A short run on every store, with a fixed seed: all kinds of faults, and nothing is violated."""

from __future__ import annotations

import pytest

from leaderlock.testing.chaos.runner import Settings, run
from leaderlock.testing.chaos.verdicts import Status

NEVER_ON_REDIS = {"I9"}


@pytest.mark.parametrize(
    ("backend", "seed"), [("etcd", 36), ("zookeeper", 19), ("consul", 2), ("redis", 7)]
)
def test_nothing_is_violated(backend: str, seed: int) -> None:
    settings = Settings(backend=backend, candidates=4, seconds=15.0, ttl=2.0, seed=seed)
    done = run(settings)
    assert done.violations == ()
    held = {v.invariant for v in done.verdicts if v.status in (Status.HELD, Status.REPORTED)}
    missing = {v.invariant for v in done.verdicts} - held
    assert missing == (NEVER_ON_REDIS if backend == "redis" else set())
