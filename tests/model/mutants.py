"""Deliberately wrong rules. Each breaks one thing, and has to be caught for that very thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderlock.machine import (
    NEVER,
    Candidacy,
    Elected,
    LossReason,
    Lost,
    Notice,
    Orphaned,
    State,
)
from tests.model.store import Answer, Said, Store

# Rules of the machine


class WindowFromTheReply(Candidacy):
    def _proved_until(self, sent_at: float, ttl: float, now: float) -> float:
        return super()._proved_until(now, ttl, now)


class WindowOfTheWholeLease(Candidacy):
    """No margin for a store whose clock runs faster than the leader's."""

    def _proved_until(self, sent_at: float, ttl: float, now: float) -> float:
        return sent_at + ttl


class SilenceExtendsBelief(Candidacy):
    def tick(self, now: float) -> Sequence[Notice]:
        if self.state is State.LEADING and now >= self.deadline:
            self.valid_until = now + self._timing.heartbeat
            return ()
        return super().tick(now)


class ExpiryIsNotNoticed(Candidacy):
    def tick(self, now: float) -> Sequence[Notice]:
        return () if self.state is State.LEADING else super().tick(now)


class SilenceEndsATerm(Candidacy):
    def tick(self, now: float) -> Sequence[Notice]:
        if self.state is State.LEADING and now > self.valid_until - self._timing.heartbeat:
            return super().tick(self.valid_until)
        return super().tick(now)

    @property
    def deadline(self) -> float:
        early = self._timing.heartbeat if self.state is State.LEADING else 0.0
        return super().deadline - early


class LateReplyRevivesALostTerm(Candidacy):
    def renewed(
        self, attempt_id: str, *, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        if attempt_id == self.attempt_id and self.state is State.STEPPING_DOWN:
            self.state = State.LEADING
        return super().renewed(attempt_id, sent_at=sent_at, ttl=ttl, now=sent_at)


class LateReplyRevivesAnExpiredTerm(Candidacy):
    """The deadline has passed, only nobody has ticked yet."""

    def renewed(
        self, attempt_id: str, *, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        return super().renewed(attempt_id, sent_at=sent_at, ttl=ttl, now=min(now, sent_at))


class LateGrantIsAccepted(Candidacy):
    def granted(
        self, attempt_id: str, token: int, *, source: str, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        return super().granted(
            attempt_id, token, source=source, sent_at=sent_at, ttl=ttl, now=sent_at
        )


class GrantToAnEndedAttemptElects(Candidacy):
    def _orphan(self, attempt_id: str) -> Sequence[Notice]:
        return (Elected(attempt_id, self._highest_token + 1),)


class OrphansAreForgotten(Candidacy):
    def _orphan(self, attempt_id: str) -> Sequence[Notice]:
        return ()


class TheLiveTermIsTakenForAnOrphan(Candidacy):
    """A grant answered twice makes the leader release itself."""

    def _orphan(self, attempt_id: str) -> Sequence[Notice]:
        return (Orphaned(attempt_id),)


class LostTwice(Candidacy):
    def refused(self, attempt_id: str, reason: LossReason, now: float) -> Sequence[Notice]:
        stepping_down = self.state is State.STEPPING_DOWN and attempt_id == self.attempt_id
        notices = super().refused(attempt_id, reason, now)
        return (Lost(attempt_id, reason),) if stepping_down else notices


class LostIsSilent(Candidacy):
    def _lose(self, reason: LossReason) -> Sequence[Notice]:
        super()._lose(reason)
        return ()


class AttemptIdIsUsedAgain(Candidacy):
    def _begin_attempt(self) -> None:
        old = self._attempt_id
        super()._begin_attempt()
        self._attempt_id = old or self._attempt_id


class ReleaseBeforeDrain(Candidacy):
    def resign(self, now: float, reason: LossReason = LossReason.RESIGNED) -> Sequence[Notice]:
        leading = self.state is State.LEADING
        notices = super().resign(now, reason)
        if leading:
            self._release()
        return notices


class ReleaseIsGivenUpUnasked(Candidacy):
    """After a long pause the time for the store's word is over before it was asked."""

    @property
    def deadline(self) -> float:
        return NEVER if self.state is State.RELEASING else super().deadline


class NoRenewalWhileDraining(Candidacy):
    """The lease of a resigning leader runs out under its work."""

    @property
    def holds_lease(self) -> bool:
        return self.state is State.LEADING


class CampaignBeforeDrain(Candidacy):
    def _finish_attempt(self) -> None:
        self._drained = True
        super()._finish_attempt()


class AnothersRefusalEndsTheTerm(Candidacy):
    def refused(self, attempt_id: str, reason: LossReason, now: float) -> Sequence[Notice]:
        return super().refused(self.attempt_id, reason, now)


class RefusalIsIgnored(Candidacy):
    def refused(self, attempt_id: str, reason: LossReason, now: float) -> Sequence[Notice]:
        return ()


class LowerTokenIsAccepted(Candidacy):
    def _is_progress(self, token: int, source: str) -> bool:
        return True


class ForkedChildLeads(Candidacy):
    def forked(self) -> Sequence[Notice]:
        return ()


class StopKeepsContending(Candidacy):
    def stop(self, now: float) -> Sequence[Notice]:
        notices = super().stop(now)
        self._wanted = True
        return notices


class ReleaseIsRepeatedForEver(Candidacy):
    def released(self, attempt_id: str) -> None:
        pass


# Rules of the store, without which the machine cannot be safe


class RenewsForAnybody(Store):
    """No owner check: the deposed goes on being renewed."""

    def renew(self, attempt_id: str, now: float) -> Answer:
        self._extend(now)
        return Answer(Said.RENEWED, attempt_id)


class ReleasesForAnybody(Store):
    """No owner check: a late release takes the lease from the next leader."""

    def release(self, attempt_id: str, now: float) -> Answer:
        self.delete()
        return Answer(Said.RELEASED, attempt_id)


class LetsInTooEarly(Store):
    def _is_free(self, now: float) -> bool:
        return not self.holder or now >= self.expires_at - 0.5 * self.timing.ttl


class NeverExpires(Store):
    """The dead lead for ever."""

    def _extend(self, now: float) -> None:
        self.expires_at = math.inf


class TokenStandsStill(Store):
    def _next_token(self, attempt_id: str) -> int:
        return max(self.token, 1)


class TokenPerAttempt(Store):
    """Idempotent beyond the term: an id that comes again gets its old token."""

    def _next_token(self, attempt_id: str) -> int:
        self._tokens: dict[str, int] = getattr(self, "_tokens", {})
        return self._tokens.setdefault(attempt_id, len(self._tokens) + 1)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong rule, and the names of the checks of which one has to catch it.

    Attributes:
        operator: it takes an operator to bring it to light.
        lenient: only what takes several candidates to break may catch it.
    """

    caught_by: tuple[str, ...]
    machine: type[Candidacy] = Candidacy
    store: type[Store] = Store
    operator: bool = False
    lenient: bool = False

    @property
    def name(self) -> str:
        parts = [part for part in (self.machine, self.store) if part not in (Candidacy, Store)]
        return "-".join(part.__name__ for part in parts) + "-alone" * self.lenient


MUTANTS = (
    Mutant(("window", "late grant"), WindowFromTheReply),
    Mutant(("window", "late grant"), WindowOfTheWholeLease),
    Mutant(("no revival",), SilenceExtendsBelief),
    Mutant(("expiry is noticed",), ExpiryIsNotNoticed),
    Mutant(("silence ends nothing",), SilenceEndsATerm),
    Mutant(("no revival", "pairing"), LateReplyRevivesALostTerm),
    Mutant(("no revival",), LateReplyRevivesAnExpiredTerm),
    Mutant(("late grant",), LateGrantIsAccepted),
    Mutant(("orphans are released", "late grant"), GrantToAnEndedAttemptElects),
    Mutant(("orphans are released",), OrphansAreForgotten),
    Mutant(("late grant",), TheLiveTermIsTakenForAnOrphan),
    Mutant(("pairing",), LostTwice),
    Mutant(("pairing",), LostIsSilent),
    Mutant(("one term per attempt",), AttemptIdIsUsedAgain),
    Mutant(("tokens rise", "one term per attempt"), AttemptIdIsUsedAgain, TokenPerAttempt),
    Mutant(("release after drain", "renewed while draining"), ReleaseBeforeDrain),
    Mutant(("every attempt is released",), ReleaseIsGivenUpUnasked),
    Mutant(("renewed while draining",), NoRenewalWhileDraining),
    Mutant(("campaign after drain",), CampaignBeforeDrain),
    Mutant(("others' attempts",), AnothersRefusalEndsTheTerm),
    Mutant(("expiry is noticed",), RefusalIsIgnored, operator=True),
    Mutant(("tokens rise",), LowerTokenIsAccepted, operator=True),
    Mutant(("a child does not lead", "one term per attempt"), ForkedChildLeads),
    Mutant(("it comes to rest",), StopKeepsContending),
    Mutant(("expiry is noticed",), ReleaseIsRepeatedForEver),
    Mutant(("the deposed give up",), store=RenewsForAnybody, operator=True),
    Mutant(("exclusion",), store=ReleasesForAnybody),
    Mutant(("exclusion",), store=LetsInTooEarly),
    Mutant(("a leader is found",), store=NeverExpires),
    Mutant(("tokens rise",), store=TokenStandsStill),
    # The cluster alone, without the account that is kept of each candidate.
    Mutant(("exclusion",), WindowFromTheReply, lenient=True),
    Mutant(("exclusion",), WindowOfTheWholeLease, lenient=True),
    Mutant(("exclusion",), SilenceExtendsBelief, lenient=True),
    Mutant(("exclusion",), ForkedChildLeads, lenient=True),
    Mutant(("exclusion",), AttemptIdIsUsedAgain, lenient=True),
    Mutant(("exclusion",), TheLiveTermIsTakenForAnOrphan, lenient=True),
    Mutant(("tokens rise",), GrantToAnEndedAttemptElects, lenient=True),
    Mutant(("a leader is found",), SilenceEndsATerm, lenient=True),
    Mutant(("it comes to rest", "a leader is found"), LostIsSilent, lenient=True),
)
