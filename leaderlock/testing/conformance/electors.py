"""The backend under the electors that it is for."""

from __future__ import annotations

import contextlib
import time

from leaderlock.machine import LossReason
from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.fronts import Front
from leaderlock.testing.conformance.history import History, HistoryCases, longest_take_over
from leaderlock.testing.conformance.tools import frozen, until
from leaderlock.testing.harness import BackendHarness


class ElectorCases(HistoryCases):
    def test_resigning_leader_hands_over(self, history: History, harness: BackendHarness) -> None:
        with history.elector() as first:
            history.must_elect(1, harness.patience)
            with history.elector() as second:
                history.must_wait(second)
                assert first.resign(), "the release got no answer"
                history.must_elect(2, longest_take_over(harness, second))
                _must_have_followed(second, first)
        history.must_be_sound()

    def test_stopped_leader_is_succeeded_at_once(
        self, history: History, harness: BackendHarness
    ) -> None:
        """Nobody waits out a lease after a clean stop (kubernetes-client#1669, tooz LP#1815330)."""
        with history.elector() as first:
            history.must_elect(1, harness.patience)
            assert first.stop(), "the release got no answer"
            Contender(harness, history.election).win()
        history.must_be_sound()

    def test_silent_leader_is_succeeded_when_its_lease_has_run_out(
        self, history: History, harness: BackendHarness
    ) -> None:
        faulty = history.faulty_backend()
        with history.elector(faulty) as first:
            history.must_elect(1, harness.patience)
            with history.elector() as second, faulty.losing_requests():
                history.must_wait(second)
                with harness.stalled(faulty.inner):
                    harness.pass_time(first.elector.timing.longest_lease)
                    history.must_elect(2, longest_take_over(harness, second))
                _must_have_followed(second, first)
        history.must_be_sound()

    def test_loss_is_told_by_the_deadline_when_the_store_is_frozen(
        self, history: History, harness: BackendHarness
    ) -> None:
        """Noticed in time, though nobody says a word (consul#18271, curator#980)."""
        with history.elector() as elector:
            history.must_elect(1, harness.patience)
            with frozen(harness):
                if "renew" in harness.frozen_requests:
                    harness.pass_time(elector.elector.timing.belief_window)
                    assert not elector.is_leader, "still leader a belief window after the silence"
                    history.must_lose(1, LossReason.EXPIRED)
                else:
                    assert elector.is_leader, "nothing can freeze the store, but the term was lost"
                _stop_in_time(harness, elector)
        history.must_be_sound()

    def test_leader_is_elected_again_after_a_frozen_store(
        self, history: History, harness: BackendHarness
    ) -> None:
        with history.elector() as elector:
            history.must_elect(1, harness.patience)
            with frozen(harness):
                if "renew" in harness.frozen_requests:
                    harness.pass_time(elector.elector.timing.belief_window)
                    history.must_lose(1, LossReason.EXPIRED)
                else:
                    elector.resign()
            history.must_elect(2, harness.patience)
        history.must_be_sound()

    def test_backend_that_hangs_for_ever_delays_neither_loss_nor_stop(
        self, history: History, harness: BackendHarness
    ) -> None:
        """kazoo#588, kubernetes#67651: a call without an end outlives the lease."""
        faulty = history.faulty_backend()
        with history.elector(faulty) as elector:
            history.must_elect(1, harness.patience)
            with faulty.hanging() as fault:
                assert fault.wait_hit(), "no renewal was due"
                harness.pass_time(elector.elector.timing.belief_window)
                assert not elector.is_leader, "still leader a belief window after the silence"
                history.must_lose(1, LossReason.EXPIRED)
                assert not _stop_in_time(harness, elector), "nobody can know of a release"
        history.must_be_sound()

    def test_grant_that_arrives_after_its_lease_does_not_elect(
        self, history: History, harness: BackendHarness
    ) -> None:
        """etcd#11456, curator#1211."""
        faulty, observer = history.faulty_backend(), harness.new_backend()
        with contextlib.ExitStack() as stack:
            with faulty.delaying_replies("campaign"):
                elector = stack.enter_context(history.elector(faulty))
                until(
                    lambda: observer.leader(history.election).payload is not None,
                    harness.patience,
                    "the campaign did not reach the store",
                )
                too_late = observer.leader(history.election).token
                with harness.stalled(faulty.inner):
                    harness.pass_time(elector.elector.timing.longest_lease)
            history.must_elect(1, harness.patience)
            assert history.elected[0].token.value > too_late, (
                "elected by a reply that came after the end of the lease"
            )
        history.must_be_sound()

    def test_one_lost_renewal_costs_nothing(
        self, history: History, harness: BackendHarness
    ) -> None:
        """A renewer that gives up after one failure is of no use (redisson#775)."""
        faulty = history.faulty_backend()
        with history.elector(faulty) as elector:
            history.must_elect(1, harness.patience)
            with faulty.losing_requests("renew", times=1) as fault:
                assert fault.wait_hit(), "no renewal was due"
                history.must_renew(faulty)
            for _ in range(4):
                harness.pass_time(elector.elector.timing.belief_window / 2)
                history.must_renew(faulty)
            assert elector.is_leader and len(history.elected) == 1, (
                f"one renewal was lost, and the term with it: {history}"
            )
        history.must_be_sound()

    def test_followers_are_told_of_every_leader(
        self, history: History, harness: BackendHarness
    ) -> None:
        seen: list[str | None] = []
        first = history.elector(candidate_id="first")
        second = history.elector(candidate_id="second")
        second.elector.on_leader_change(
            lambda info: seen.append(info.candidate_id if info else None)
        )
        bound = longest_take_over(harness, second)
        with first:
            history.must_elect(1, harness.patience)
            with second:
                for leader in ("first", "second"):
                    until(
                        lambda: seen[-1:] == [leader],  # noqa: B023
                        bound,
                        f"{leader} leads, but a follower has only been told of {seen}",
                    )
                    first.stop()


def _must_have_followed(heir: Front, predecessor: Front) -> None:
    assert heir.is_leader, f"{heir} was told that it leads, but does not"
    assert not predecessor.is_leader, f"{predecessor} still believes to lead"


def _stop_in_time(harness: BackendHarness, elector: Front) -> bool:
    began = time.monotonic()
    released = elector.stop(harness.short_timeout)
    took = time.monotonic() - began
    assert took < harness.short_timeout + harness.slack, (
        f"stop({harness.short_timeout:g}) took {took:.3g} s"
    )
    return released
