"""pytest: what a program does when it is elected and deposed, without a store and without waiting.

    pytest -p leaderlock.testing.plugin examples/recipes/test_service.py

In a project of yours, a conftest.py says `pytest_plugins = ["leaderlock.testing.plugin"]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from leaderlock import LeaderElector, Leadership, LeadershipLost, LossReason
from leaderlock.testing import FakeElection

# The program under test: in real life, this stands in a module of yours, and is imported.
elector = LeaderElector("sqlite:////var/lib/app/election.db", "billing")
scheduler = {"runs": False}


@elector.on_elected
def start_scheduler(leadership: Leadership) -> None:
    scheduler["runs"] = True


@elector.on_lost
def stop_scheduler(leadership: Leadership, reason: LossReason) -> None:
    scheduler["runs"] = False


@elector.leader_only
def charge(customers: Iterable[str], leadership: Leadership) -> list[str]:
    charged = []
    for customer in customers:
        leadership.check()
        charged.append(customer)
    return charged


# Its tests.


def test_the_scheduler_runs_while_we_lead() -> None:
    with FakeElection(elector) as election:  # no store is asked from here to the end of the block
        election.elect()
        assert scheduler["runs"]  # the callbacks have run
        election.lose(LossReason.EXPIRED)
        assert not scheduler["runs"]
        election.someone_else_leads("web-2")
        assert charge(["a"]) is None


def test_charging_stops_when_the_term_is_over() -> None:
    with FakeElection(elector) as election:
        election.elect()
        assert charge(["a", "b"]) == ["a", "b"]

        def customers() -> Iterator[str]:
            yield "a"
            election.expire()  # a pause, a partition, a dead store
            yield "b"

        with pytest.raises(LeadershipLost):
            charge(customers())


def test_with_the_fixture(fake_election: FakeElection) -> None:
    """For code that is given its elector."""
    job = fake_election.elector.leader_only(lambda: "done")
    assert job() is None
    fake_election.elect()
    assert job() == "done"
