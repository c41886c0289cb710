"""Stores that elect, lease and count wrongly."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from leaderlock.backends.base import (
    Attempt,
    Granted,
    Renewal,
    Renewed,
    Waiting,
)
from leaderlock.backends.memory import MemoryBackend, _Election
from tests.conformance.mutants import mutant


@mutant(
    "test_loser_is_told_to_wait_and_sees_the_leader",
    "test_one_of_many_concurrent_clients_is_elected",
    "test_attempt_that_asks_again_after_a_take_over_waits",
)
class TwoLeaders(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        return answer if isinstance(answer, Granted) else Granted(token=9, source=self._source)


@mutant(
    "test_attempts_of_one_client_are_strangers",
    "test_one_of_many_concurrent_attempts_of_one_client_is_elected",
)
class OneClientIsOneAttempt(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        mine: set[str] = vars(self).setdefault("mine", set())
        mine.add(attempt.attempt_id)
        election = self._election(attempt.election)
        if election.holder and election.holder.attempt_id in mine:
            return Granted(token=election.token, source=self._source)
        return answer


@mutant("test_similar_attempt_ids_are_strangers")
class ComparesPrefixes(MemoryBackend):
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        outcomes = {}
        for attempt in attempts:
            holder = self._election(attempt.election).holder
            led = holder is not None and holder.attempt_id.startswith(attempt.attempt_id)
            outcomes[attempt.attempt_id] = Renewal.RENEWED if led else Renewal.TAKEN
        return Renewed(outcomes=outcomes)


@mutant("test_namespaces_do_not_touch_each_other")
class NoNamespaces(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return self._store.election(("", name))


@mutant("test_namespace_and_name_do_not_run_into_each_other")
class JoinsNames(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return self._store.election(("", f"{self.settings.namespace}/{name}"))


@mutant("test_elections_do_not_touch_each_other", "test_one_client_leads_many_elections")
class OneElection(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return self._store.election((self.settings.namespace, ""))


@mutant("test_ugly_names_are_elections_of_their_own")
class TruncatesNames(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return super()._election(name[:254])


@mutant("test_ugly_names_are_elections_of_their_own")
class NormalizesNames(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return super()._election(unicodedata.normalize("NFC", name))


@mutant("test_ugly_names_are_elections_of_their_own")
class EndsNamesAtNul(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return super()._election(name.partition("\0")[0])


@mutant("test_ugly_names_are_elections_of_their_own")
class StripsNames(MemoryBackend):
    def _election(self, name: str) -> _Election:
        return super()._election(name.strip())


# Tokens


@mutant(
    "test_token_rises_over_releases",
    "test_old_attempt_that_asks_again_after_its_release_is_a_new_term",
    "test_campaign_asked_again_leaves_one_lease",
    "test_everything_works_again_after_an_outage",
    "test_losses_are_each_told_once_and_made_good",
)
class TokenResetOnRelease(MemoryBackend):
    def release(self, attempt: Attempt) -> None:
        super().release(attempt)
        election = self._election(attempt.election)
        if election.holder is None:
            election.token = 0


@mutant("test_token_rises_over_an_expiry")
class TokenUsedAgainAfterExpiry(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        if election.holder is not None and election.is_free(self._now()):
            election.token -= 1
        return super().campaign(attempt)


@mutant("test_token_rises_after_a_time_without_leader")
class TokenRunsOutWithTheLease(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        if election.holder is None and self._now() >= election.expires_at:
            election.token = 0
        return super().campaign(attempt)


@mutant(
    "test_token_rises_when_the_same_client_is_elected_again",
    "test_grant_that_arrives_after_its_lease_does_not_elect",
)
class TokenRisesByClient(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        if election.holder is None and vars(self).get("led") == attempt.election:
            election.token -= 1
        answer = super().campaign(attempt)
        vars(self)["led"] = attempt.election
        return answer


@mutant("test_token_rises_for_a_new_client_after_all_have_closed")
class TokenEndsWithTheClient(MemoryBackend):
    def close(self) -> None:
        for election in self._store._elections.values():
            election.token = 0


@mutant("test_token_rises_over_a_deletion_by_an_operator")
class TokenEndsWithTheKey(MemoryBackend):
    """The operator's client is a sound one: this one sees that a key is new to it."""

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        for attempt in attempts:
            election = self._election(attempt.election)
            if election.holder is None:
                election.token = 0
        return super().renew(attempts)


@mutant("test_token_is_a_number_that_a_fence_can_keep")
class TokenTooLarge(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        return (
            replace(answer, token=answer.token + 2**63) if isinstance(answer, Granted) else answer
        )


@mutant("test_all_clients_see_one_source")
class SourceByClient(MemoryBackend):
    @property
    def _source(self) -> str:
        return f"memory:{id(self)}"


_regrants = itertools.count(1000)


@mutant("test_campaign_asked_again_is_the_same_grant")
class CampaignIsNotIdempotent(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        return replace(answer, token=next(_regrants)) if isinstance(answer, Granted) else answer


@mutant("test_campaign_asked_again_is_the_same_grant")
class LockedOutBehindItself(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        election = self._election(attempt.election)
        if election.leads(attempt.attempt_id, self._now()):
            return Waiting(retry_after=election.expires_at - self._now())
        return super().campaign(attempt)


@mutant("test_campaign_asked_again_leaves_one_lease")
class OneLeaseForEachRequest(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        asked: dict[str, int] = vars(self).setdefault("asked", {})
        asked[attempt.attempt_id] = asked.get(attempt.attempt_id, 0) + 1
        return super().campaign(attempt)

    def release(self, attempt: Attempt) -> None:
        asked: dict[str, int] = vars(self).setdefault("asked", {})
        asked[attempt.attempt_id] = asked.get(attempt.attempt_id, 0) - 1
        if asked[attempt.attempt_id] <= 0:
            super().release(attempt)


@mutant("test_campaign_whose_reply_was_lost_can_be_given_up", "test_late_request_can_be_taken_back")
class ReleasesOnlyWhatItHeardOf(MemoryBackend):
    """It forgets what it leads unless it was asked to renew it."""

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        heard: set[str] = vars(self).setdefault("heard", set())
        heard.update(attempt.attempt_id for attempt in attempts)
        return super().renew(attempts)

    def release(self, attempt: Attempt) -> None:
        if attempt.attempt_id in vars(self).get("heard", ()):
            super().release(attempt)
