"""Stores that keep, end and hand over terms wrongly."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from leaderlock.backends.base import Attempt, Granted, Renewal, Renewed, Waiting
from leaderlock.backends.memory import MemoryBackend, _Election
from tests.conformance.mutants import behind_a_network, mutant


@mutant(
    "test_renewal_after_a_take_over_is_a_no_and_hurts_nobody",
    "test_released_attempt_leads_no_more",
    "test_one_round_answers_for_each_attempt",
    "test_waiting_is_renewed_if_and_only_if_the_store_keeps_a_place",
    "test_deleted_leader_is_told_and_contends_again",
)
class RenewsWithoutOwnerCheck(MemoryBackend):
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        for attempt in attempts:
            self._election(attempt.election).expires_at = self._now() + self.settings.ttl
        return Renewed(outcomes={a.attempt_id: Renewal.RENEWED for a in attempts})


@mutant("test_renewal_of_a_lease_that_ran_out_is_truthful")
class RenewsTheDead(MemoryBackend):
    def _renew(self, attempt: Attempt, now: float) -> Renewal:
        outcome = super()._renew(attempt, now)
        holder = self._election(attempt.election).holder
        return outcome if holder != attempt else Renewal.RENEWED


@mutant("test_renewal_after_a_take_over_is_a_no_and_hurts_nobody")
class RenewalTakesBack(MemoryBackend):
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        for attempt in attempts:
            self._election(attempt.election).holder = attempt
        return super().renew(attempts)


@mutant(
    "test_release_of_a_stale_attempt_leaves_the_new_leader_alone",
    "test_second_release_leaves_the_new_leader_alone",
    "test_release_of_an_attempt_that_never_asked_is_harmless",
    "test_release_asked_again_hurts_nobody",
    "test_release_of_a_waiting_attempt_takes_it_out_of_the_queue",
)
class ReleasesWithoutOwnerCheck(MemoryBackend):
    def release(self, attempt: Attempt) -> None:
        holder = self._election(attempt.election).holder
        super().release(attempt if holder is None else holder)


@mutant("test_one_client_leads_many_elections", "test_leases_of_one_client_end_one_by_one")
class ReleasesTheWholeSession(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        vars(self).setdefault("held", []).append(attempt)
        return super().campaign(attempt)

    def release(self, attempt: Attempt) -> None:
        for held in [attempt, *vars(self).get("held", ())]:
            super().release(held)


class _Lease(MemoryBackend):
    """Grants another lease than it says."""

    factor = 1.0

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        if isinstance(answer, Granted):
            self._election(attempt.election).expires_at = self._expiry(self._now())
        return answer

    def _renew(self, attempt: Attempt, now: float) -> Renewal:
        outcome = super()._renew(attempt, now)
        if outcome is Renewal.RENEWED:  # else the first heartbeat would mend it
            self._election(attempt.election).expires_at = self._expiry(now)
        return outcome

    def _expiry(self, now: float) -> float:
        return now + self.factor * self.settings.ttl


@mutant("test_unrenewed_term_ends_after_the_lease_and_not_before")
class LeaseTooShort(_Lease):
    factor = 0.5


@behind_a_network(
    "test_unrenewed_term_ends_after_the_lease_and_not_before",
    "test_nobody_leads_after_an_expiry",
    "test_late_request_binds_nobody_for_longer_than_a_lease",
    "test_silent_leader_is_succeeded_when_its_lease_has_run_out",
)
class LeaseTooLong(_Lease):
    factor = 50.0


@mutant(
    "test_renewals_outlive_the_ttl",
    "test_a_renewal_gives_a_whole_lease",
    "test_waiter_whose_own_lease_ran_out_is_elected_for_real",
    "test_one_lost_renewal_costs_nothing",
)
class RenewalDoesNotExtend(MemoryBackend):
    def _renew(self, attempt: Attempt, now: float) -> Renewal:
        leads = self._election(attempt.election).leads(attempt.attempt_id, now)
        return Renewal.RENEWED if leads else Renewal.TAKEN


@mutant("test_one_round_extends_each_lease")
class RenewsOnlyTheFirst(MemoryBackend):
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        super().renew(attempts[:1])
        return Renewed(outcomes={a.attempt_id: Renewal.RENEWED for a in attempts})


@mutant("test_one_round_answers_for_each_attempt")
class OneOutcomeForAll(MemoryBackend):
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        outcomes = super().renew(attempts).outcomes
        worst = Renewal.TAKEN if Renewal.TAKEN in outcomes.values() else Renewal.RENEWED
        return Renewed(outcomes=dict.fromkeys(outcomes, worst))


@mutant("test_one_round_answers_for_each_attempt", "test_released_attempt_leads_no_more")
class LeavesOutWhatWasLost(MemoryBackend):
    """No reported as silence."""

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        outcomes = super().renew(attempts).outcomes
        return Renewed(outcomes={k: v for k, v in outcomes.items() if v is Renewal.RENEWED})


@mutant("test_renewing_nothing_is_harmless")
class AnswersForNothing(MemoryBackend):
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        return super().renew(attempts) if attempts else Renewed(outcomes={"": Renewal.TAKEN})


@mutant("test_renewal_asked_again_is_renewed")
class RenewsOnce(MemoryBackend):
    """As with a value that is compared, and changes with each renewal."""

    def _renew(self, attempt: Attempt, now: float) -> Renewal:
        seen: set[str] = vars(self).setdefault("seen", set())
        if attempt.attempt_id in seen:
            return Renewal.TAKEN
        seen.add(attempt.attempt_id)
        return super()._renew(attempt, now)


@mutant("test_what_the_store_grants_is_reported")
class ReportsAnotherLease(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        return replace(answer, ttl=1e9) if isinstance(answer, Granted) else answer


@mutant("test_what_the_store_grants_is_reported")
class CountsFromTheReply(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        later = self._now() + 0.1
        return replace(answer, sent_at=later) if isinstance(answer, Granted) else answer


@mutant("test_campaign_asked_again_gives_a_whole_lease")
class CampaignAgainDoesNotExtend(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        led, until = election.leads(attempt.attempt_id, self._now()), election.expires_at
        answer = super().campaign(attempt)
        if led:
            election.expires_at = until
        return answer


@mutant("test_waiter_whose_own_lease_ran_out_is_elected_for_real")
class PhantomLeader(MemoryBackend):
    """Who has waited is told that it leads, though it has no key any more."""

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        if attempt.attempt_id in election.waiting and election.is_free(self._now()):
            return Granted(token=election.token + 1, source=self._source)
        return super().campaign(attempt)


@mutant("test_leading_and_renewing_race_with_releases")
class RenewsInTwoSteps(MemoryBackend):
    """Reads the owner, then writes it back: a release in between is undone."""

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        answer = super().renew(attempts)
        threading.Event().wait(0.02)
        for attempt in attempts:
            if answer.outcomes[attempt.attempt_id] is Renewal.RENEWED:
                self._election(attempt.election).holder = attempt
        return answer


@mutant(
    "test_release_of_a_waiting_attempt_takes_it_out_of_the_queue",
    "test_waiter_that_asks_again_keeps_one_place",
    "test_those_behind_a_released_waiter_move_up",
    "test_wakes_after_close_are_harmless",
)
class KeepsPlacesForEver(MemoryBackend):
    """A queue in which nobody moves up past an attempt that has gone."""

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        queue = self._queue(election)
        if attempt.attempt_id not in queue:
            queue.append(attempt.attempt_id)
        if election.is_free(self._now()) and queue[0] != attempt.attempt_id:
            return Waiting()
        return super().campaign(attempt)

    def release(self, attempt: Attempt) -> None:
        queue = self._queue(self._election(attempt.election))
        if queue[:1] == [attempt.attempt_id]:
            del queue[0]
        super().release(attempt)

    def _queue(self, election: _Election) -> list[str]:
        queues: dict[int, list[str]] = vars(self._store).setdefault("queues", {})
        return queues.setdefault(id(election), [])


@mutant(
    "test_stopped_leader_is_succeeded_at_once", "test_waiter_is_woken_by_a_release",
    "test_resigning_leader_hands_over", "test_late_request_can_be_taken_back",
    "test_nobody_leads_after_a_release",
)  # fmt: skip
class ReleasesNothing(MemoryBackend):
    def release(self, attempt: Attempt) -> None:
        pass
