"""A candidacy whose every answer is held against the rules, by an account of its own.

`Checked` passes each call on to a `Candidacy` and raises `Violation` as soon as an answer breaks a
rule that one candidate alone can break. It keeps its own books (which term is open, what was
proved, whose work still runs) and reads only the machine's public state. What takes several
candidates to break, such as two leaders at once, is checked by the cluster.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence

from leaderlock.machine import (
    Candidacy,
    Elected,
    LossReason,
    Lost,
    Notice,
    Orphaned,
    Regressed,
    Request,
    State,
    Verb,
)
from leaderlock.timing import Timing


class Violation(AssertionError):
    """A rule is broken. `rule` is its short name, by which mutants say what must catch them."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


class Checked:
    """One candidacy under observation.

    Args:
        elected_ids: the attempts that were ever elected, shared by all candidates of a run.
        store_intact: whether the store keeps its token counter; if so nothing may be `Regressed`.
        lenient: let everything pass. For mutants that the cluster has to catch without this help.
    """

    def __init__(
        self,
        machine: Candidacy,
        timing: Timing,
        elected_ids: set[str],
        *,
        store_intact: bool = True,
        lenient: bool = False,
    ) -> None:
        self.machine = machine
        self.timing = timing
        self.open = ""  # the attempt whose term was elected and not yet lost
        self.undrained = ""  # the attempt whose work has not ended
        self.broken = False
        self._elected_ids = elected_ids
        self._store_intact = store_intact
        self._lenient = lenient
        self._highest_token = -math.inf
        self._believed = False
        self._proved_until = -math.inf
        self._lease_until = -math.inf
        self._drain_by = math.inf
        self._refused = False
        self._unreleased = ""  # the attempt that the store was asked for, and not yet asked to end

    # The calls of the owner

    def start(self) -> None:
        self.machine.start()

    def stop(self, now: float) -> Sequence[Notice]:
        self._before(now)
        self._note_resignation(now)
        return self._after(now, self.machine.stop(now), (LossReason.STOPPED,))

    def resign(self, now: float) -> Sequence[Notice]:
        self._before(now)
        self._note_resignation(now)
        return self._after(now, self.machine.resign(now), (LossReason.RESIGNED,))

    def take_request(self, now: float) -> Request | None:
        request = self.machine.take_request(now)
        if request is not None and self.undrained:
            if request.verb is Verb.CAMPAIGN:
                self._fail("campaign after drain", f"asked while {self.undrained} still works")
            if request.attempt_id == self.undrained and not self._is_too_late_to_wait(now):
                self._fail("release after drain", f"released while {self.undrained} still works")
        if request is not None:
            self._note_request(request)
        return request

    def granted(
        self, attempt_id: str, token: int, *, source: str, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        before = self._before(now)
        fresh = sent_at + self.timing.window_for(ttl) > now
        contending = self.machine.state is State.CAMPAIGNING
        current = attempt_id == self.machine.attempt_id
        if current and contending:
            self._proved_until = sent_at + self.timing.window_for(ttl)
            self._lease_until = sent_at + ttl
        notices = self.machine.granted(
            attempt_id, token, source=source, sent_at=sent_at, ttl=ttl, now=now
        )
        if not current:
            self._changed_nothing(before)
            if tuple(notices) != (Orphaned(attempt_id),):
                self._fail("orphans are released", f"{attempt_id} was granted, got {notices}")
        elif notices and not (contending and fresh):
            self._fail("late grant", f"granted too late, or twice, and got {notices}")
        return self._after(now, notices, ())

    def renewed(
        self, attempt_id: str, *, sent_at: float, ttl: float, now: float
    ) -> Sequence[Notice]:
        before = self._before(now)
        proof = sent_at + self.timing.window_for(ttl)
        current = attempt_id == self.machine.attempt_id
        if current:
            self._proved_until = max(self._proved_until, proof)
            if now < self._lease_until:  # once too late to wait, always too late
                self._lease_until = max(self._lease_until, sent_at + ttl)
        notices = self.machine.renewed(attempt_id, sent_at=sent_at, ttl=ttl, now=now)
        if not current:
            self._changed_nothing(before, notices)
        elif self.open and self._believed and self.machine.valid_until < proof:
            self._fail("a proof counts", f"renewed until {proof:.6g}, believed for less")
        return self._after(now, notices, ())

    def refused(self, attempt_id: str, reason: LossReason, now: float) -> Sequence[Notice]:
        before = self._before(now)
        current = attempt_id == self.machine.attempt_id
        if current:
            self._refused = True
        notices = self.machine.refused(attempt_id, reason, now)
        if not current:
            self._changed_nothing(before, notices)
        elif self.open and not any(isinstance(notice, Lost) for notice in notices):
            self._fail("expiry is noticed", f"{self.open} goes on after the store's refusal")
        return self._after(now, notices, (reason,))

    def released(self, attempt_id: str) -> None:
        before = self._state() if attempt_id != self.machine.attempt_id else None
        if attempt_id == self._unreleased:
            self._unreleased = ""
        self.machine.released(attempt_id)
        if before is not None:
            self._changed_nothing(before)

    def drained(self, attempt_id: str, now: float) -> None:
        before = self._before(now)
        current = attempt_id == self.machine.attempt_id
        if attempt_id == self.undrained and attempt_id != self.open:
            self.undrained = ""
        self.machine.drained(attempt_id, now)
        if not current:
            self._changed_nothing(before)
        self._after(now, (), ())

    def tick(self, now: float) -> Sequence[Notice]:
        self._before(now)
        deadline = self.machine.deadline
        notices = self.machine.tick(now)
        if now >= deadline:
            if self.machine.deadline <= deadline:
                self._fail("expiry is noticed", f"nothing happens at the deadline {deadline:.6g}")
        elif notices:
            self._fail("silence ends nothing", f"{notices} before the deadline {deadline:.6g}")
        return self._after(now, notices, ())

    def abandon(self) -> None:
        if not (self.open or self.machine.wanted):
            self._refused = True  # the lease is let go; nothing is gained by waiting
            self._unreleased = ""
        self.machine.abandon()

    def fork(self, now: float) -> tuple[Checked, Sequence[Notice]]:
        """The copy that a forked child has, after it was told what it is."""
        child = copy.copy(self)
        child.machine = copy.copy(self.machine)
        child._before(now)
        child.undrained = ""  # the threads of the work do not exist in the child
        child._unreleased = ""
        notices = child._after(now, child.machine.forked(), (LossReason.FORKED,), forked=True)
        if child.open or child.machine.believes(now) or child.machine.holds_lease:
            self._fail("a child does not lead", "the fork goes on with the term of its parent")
        return child, notices

    # The account

    def _before(self, now: float) -> tuple[object, ...] | None:
        self._believed = self.machine.believes(now)
        return self._state()

    def _state(self) -> tuple[object, ...]:
        machine = self.machine
        return machine.state, machine.valid_until, machine.attempt_id, machine.deadline

    def _note_resignation(self, now: float) -> None:
        if self.open and self._believed:
            self._drain_by = now + self.timing.drain_timeout

    def _after(
        self,
        now: float,
        notices: Sequence[Notice],
        reasons: Container[LossReason],
        *,
        forked: bool = False,
    ) -> Sequence[Notice]:
        elected = False
        for notice in notices:
            if isinstance(notice, Elected):
                elected = True
                self._note_elected(notice)
            elif isinstance(notice, Lost):
                self._note_lost(notice, reasons, forked=forked)
            elif isinstance(notice, Regressed) and self._store_intact:
                self._fail("tokens rise", f"{notice}, and the store has lost nothing")
        if self.machine.believes(now):
            if not (self._believed or elected):
                self._fail("no revival", f"{self.machine.attempt_id} believes again")
            if not self.open or self.open != self.machine.attempt_id:
                self._fail("pairing", "believes without an open term")
            if self.machine.valid_until > self._proved_until:
                self._fail("window", f"believes longer than {self._proved_until:.6g}")
        elif elected:
            self._fail("late grant", "elected, and does not believe it")
        if self.open and self.machine.state is not State.LEADING:
            self._fail("pairing", f"{self.open} has ended without a word")
        if self._is_waiting_for_work(now) and not self.machine.holds_lease:
            self._fail("renewed while draining", f"the lease of {self.undrained} is let go")
        return notices

    def _note_request(self, request: Request) -> None:
        if request.verb is Verb.RELEASE:
            self._unreleased = ""
        elif self._unreleased not in ("", request.attempt_id):
            self._fail("every attempt is released", f"nobody was asked to end {self._unreleased}")
        else:
            self._unreleased = request.attempt_id

    def _note_elected(self, notice: Elected) -> None:
        if self.open:
            self._fail("pairing", f"{notice} while {self.open} is not lost")
        if notice.attempt_id in self._elected_ids:
            self._fail("one term per attempt", f"{notice.attempt_id} was elected before")
        if self.undrained:
            self._fail("campaign after drain", f"{notice} while {self.undrained} still works")
        if notice.token <= self._highest_token:
            self._fail("tokens rise", f"{notice} after {self._highest_token}")
        self._elected_ids.add(notice.attempt_id)
        self.open = self.undrained = notice.attempt_id
        self._highest_token = notice.token
        self._drain_by = math.inf
        self._refused = False

    def _note_lost(self, notice: Lost, reasons: Container[LossReason], *, forked: bool) -> None:
        if notice.attempt_id != self.open:
            self._fail("pairing", f"{notice} while the open term is {self.open or 'none'}")
        if notice.reason is LossReason.EXPIRED:
            if self._believed:
                self._fail("silence ends nothing", f"{notice} while it was believed")
        elif notice.reason not in reasons or not (self._believed or forked):
            self._fail("the true reason", f"{notice}")
        self.open = ""

    def _is_waiting_for_work(self, now: float) -> bool:
        """Resigned, and the store still keeps others out."""
        resigned = bool(self.undrained) and not self.open and self._drain_by < math.inf
        return resigned and not self._is_too_late_to_wait(now)

    def _is_too_late_to_wait(self, now: float) -> bool:
        """Rule 7: the store said no, the lease has run out, or the drain took too long."""
        return self._refused or now >= self._lease_until or now >= self._drain_by

    def _changed_nothing(
        self, before: tuple[object, ...] | None, notices: Sequence[Notice] = ()
    ) -> None:
        if notices or self._state() != before:
            self._fail("others' attempts", f"{before} became {self._state()}, {notices}")

    def _fail(self, rule: str, text: str) -> None:
        self.broken = True
        if not self._lenient:
            raise Violation(rule, text)
