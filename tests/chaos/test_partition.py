"""Split brain: five servers, two and the leader's candidate on one side, three on the other."""

from __future__ import annotations

import pytest

from leaderlock.testing.chaos.faults import Faults
from leaderlock.testing.chaos.history import History
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.runner import Settings, run

TTL = 2.0


def cut_the_leaders_off(faults: Faults) -> None:
    """The leader of the store, another server, and the candidate that leads."""
    leader = faults.leader()
    first = faults.store.leader()
    assert leader is not None
    assert first is not None
    second = next(server for server in faults.store.nodes if server is not first)
    others = [candidate for candidate in faults.candidates if candidate is not leader]
    faults.partition([first, second], [leader, others[0]], 6 * TTL)
    faults.wait(6 * TTL + 0.5)


@pytest.mark.parametrize("backend", ["etcd", "zookeeper", "consul"])
def test_the_minority_elects_nobody_and_the_majority_does(backend: str) -> None:
    settings = Settings(
        backend=backend, nodes=5, candidates=4, ttl=TTL, seed=0, faults=["partition"]
    )
    done = run(settings, script=cut_the_leaders_off)
    assert done.violations == ()
    before, during = _leaders(done)
    minority = set(History(done.events).faults[0].whom)
    assert before <= minority
    assert during
    assert not during & minority
    assert [v.text for v in done.verdicts if v.invariant == "I9"] == [
        "nobody elected in 1 silences"
    ]


def _leaders(done: Run) -> tuple[set[str], set[str]]:
    """Who led when it began, and who was elected while it lasted."""
    history = History(done.events)
    partition = history.faults[0]
    before = {b.who for b in history.beliefs if b.since < partition.since < b.until}
    during = {b.who for b in history.beliefs if partition.since < b.since < partition.healed}
    return before, during
