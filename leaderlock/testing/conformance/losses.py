"""One loss after the other: each is told once, and each is followed by another term."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice

from leaderlock.machine import LossReason
from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.fronts import Front
from leaderlock.testing.conformance.history import History, HistoryCases
from leaderlock.testing.faults import FaultyBackend
from leaderlock.testing.harness import BackendHarness


class LossCases(HistoryCases):
    def test_losses_are_each_told_once_and_made_good(
        self, history: History, harness: BackendHarness
    ) -> None:
        """An election is not a single shot (kuberhealthy#1533, consul#4902)."""
        faulty = history.faulty_backend()
        with history.elector(faulty) as elector:
            history.must_elect(1, harness.patience)
            ways = cycle(_ways_to_lose(harness, history, faulty, elector))
            for term, lose in enumerate(islice(ways, history.losses), start=1):
                lose()
                history.must_lose(term)
                history.must_elect(term + 1, harness.patience)
        history.must_be_sound()
        assert len(history.elected) == history.losses + 1, f"terms that nobody ended: {history}"
        Contender(harness, history.election).win()  # nothing was left behind

    def test_deleted_leader_is_told_and_contends_again(
        self, history: History, harness: BackendHarness
    ) -> None:
        """An operator has taken its lease away (kazoo#2, etcd#19597)."""
        with history.elector() as elector:
            history.must_elect(1, harness.patience)
            harness.delete_leader(history.election)
            if harness.deletes:
                history.must_lose(1, LossReason.TAKEN, LossReason.SESSION_LOST)
                history.must_elect(2, harness.patience)
            else:
                Contender(harness, history.election).wait()
                assert elector.is_leader, "nobody can delete its lease, but the term was lost"
        history.must_be_sound()


def _ways_to_lose(
    harness: BackendHarness, history: History, faulty: FaultyBackend, elector: Front
) -> Iterator[Callable[[], object]]:
    def lose_requests() -> None:
        with faulty.losing_requests(), harness.stalled(faulty.inner):
            harness.pass_time(elector.elector.timing.belief_window)
            history.must_lose(len(history.elected), LossReason.EXPIRED)

    def lose_replies() -> None:
        with faulty.losing_replies("renew"):
            harness.pass_time(elector.elector.timing.belief_window)
            history.must_lose(len(history.elected), LossReason.EXPIRED)

    def delete() -> None:
        harness.delete_leader(history.election)

    def resign() -> None:
        elector.resign(0.0)

    yield resign
    yield lose_requests
    yield delete if harness.deletes else resign
    yield resign
    yield lose_replies
    yield delete if harness.deletes else resign
