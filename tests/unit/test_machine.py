"""The rules of the state machine, one by one. The numbers are those of its docstring."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import pytest

from leaderlock.capabilities import Capabilities
from leaderlock.machine import (
    FOREVER,
    Candidacy,
    Displaced,
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

TTL = 9.0
WINDOW = 6.0  # belief_ratio 2/3
DRAIN = 4.0
TIMING = Timing(ttl=TTL, heartbeat=1.5, request_timeout=1.0, drain_timeout=DRAIN)


def new_candidate(timing: Timing = TIMING) -> Candidacy:
    numbers = itertools.count(1)
    return Candidacy(timing, lambda: f"a{next(numbers)}")


def campaigning(timing: Timing = TIMING) -> Candidacy:
    """Has asked the store, under the attempt "a1"."""
    machine = new_candidate(timing)
    machine.start()
    assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a1")
    return machine


def grant(
    machine: Candidacy,
    *,
    token: int = 1,
    source: str = "store",
    sent_at: float = 0.0,
    ttl: float = TTL,
    now: float | None = None,
) -> Sequence[Notice]:
    return machine.granted(
        machine.attempt_id,
        token,
        source=source,
        sent_at=sent_at,
        ttl=ttl,
        now=sent_at if now is None else now,
    )


def renew(
    machine: Candidacy, *, sent_at: float, now: float | None = None, ttl: float = TTL
) -> Sequence[Notice]:
    at = sent_at if now is None else now
    return machine.renewed(machine.attempt_id, sent_at=sent_at, ttl=ttl, now=at)


def leading(timing: Timing = TIMING) -> Candidacy:
    """Leads by a request sent at 0: believed until 6, leased until 9."""
    machine = campaigning(timing)
    assert grant(machine) == (Elected("a1", 1),)
    return machine


def resigned(at: float = 1.0) -> Candidacy:
    """Has resigned, and its work still runs."""
    machine = leading()
    assert machine.resign(at) == (Lost("a1", LossReason.RESIGNED),)
    return machine


def expired() -> Candidacy:
    """Its belief has run out at 6, and its work still runs."""
    machine = leading()
    assert machine.tick(WINDOW) == (Lost("a1", LossReason.EXPIRED),)
    return machine


def releasing() -> Candidacy:
    """Its work has drained at 2."""
    machine = resigned()
    machine.drained("a1", 2.0)
    return machine


def public_state(machine: Candidacy) -> tuple[object, ...]:
    request = machine.take_request(0.0)  # first: it may bring the deadline closer
    return (
        machine.state,
        machine.valid_until,
        machine.attempt_id,
        machine.wanted,
        machine.holds_lease,
        machine.deadline,
        request,
    )


class TestRule1BeliefIsCountedFromTheRequest:
    @pytest.mark.parametrize(
        ("now", "believes"), [(0.0, True), (5.999, True), (6.0, False), (1e9, False)]
    )
    def test_belief_ends_one_window_after_the_request_was_sent(
        self, now: float, believes: bool
    ) -> None:
        assert leading().believes(now) is believes

    def test_a_slow_grant_does_not_stretch_the_belief(self) -> None:
        machine = campaigning()
        grant(machine, sent_at=10.0, now=15.0)
        assert machine.valid_until == 10.0 + WINDOW

    def test_a_slow_renewal_does_not_stretch_the_belief(self) -> None:
        machine = leading()
        renew(machine, sent_at=2.0, now=5.0)
        assert machine.valid_until == 2.0 + WINDOW

    def test_every_renewal_moves_the_belief_on(self) -> None:
        machine = leading()
        for sent_at in (1.5, 3.0, 4.5):
            assert renew(machine, sent_at=sent_at) == ()
            assert machine.valid_until == sent_at + WINDOW

    def test_an_overtaken_renewal_does_not_shorten_the_belief(self) -> None:
        machine = leading()
        renew(machine, sent_at=3.0, now=4.0)
        renew(machine, sent_at=1.5, now=5.0)
        assert machine.valid_until == 3.0 + WINDOW

    @pytest.mark.parametrize("granted_ttl", [3.0, 9.0, 30.0])
    def test_the_window_is_that_of_the_ttl_really_granted(self, granted_ttl: float) -> None:
        machine = campaigning()
        grant(machine, ttl=granted_ttl)
        assert machine.valid_until == pytest.approx(granted_ttl * 2 / 3)

    def test_the_stop_grace_ends_the_belief_earlier(self) -> None:
        machine = leading(Timing(ttl=TTL, stop_grace=1.5))
        assert machine.valid_until == WINDOW - 1.5

    @pytest.mark.parametrize("make", [new_candidate, campaigning, resigned, expired, releasing])
    def test_nobody_believes_without_a_term(self, make: Callable[[], Candidacy]) -> None:
        assert not make().believes(0.0)


class TestRule2SilenceProvesNothing:
    def test_silence_does_not_end_a_term_before_its_deadline(self) -> None:
        machine = leading()
        before = public_state(machine)
        assert machine.tick(5.999) == ()
        assert public_state(machine) == before

    def test_silence_until_the_deadline_ends_the_term_as_expired(self) -> None:
        machine = leading()
        assert machine.deadline == WINDOW
        assert machine.tick(WINDOW) == (Lost("a1", LossReason.EXPIRED),)

    def test_a_late_tick_ends_the_term_all_the_same(self) -> None:
        machine = leading()
        assert machine.tick(1e6) == (Lost("a1", LossReason.EXPIRED),)


class TestRule3NoTermIsRevived:
    def test_a_late_renewal_reply_does_not_revive_an_expired_term(self) -> None:
        machine = leading()
        assert renew(machine, sent_at=5.0, now=6.0) == (Lost("a1", LossReason.EXPIRED),)
        assert not machine.believes(6.0)

    @pytest.mark.parametrize("make", [resigned, expired, releasing])
    def test_a_late_renewal_reply_does_not_revive_a_lost_term(
        self, make: Callable[[], Candidacy]
    ) -> None:
        machine = make()
        state = machine.state
        assert renew(machine, sent_at=5.9, now=6.1) == ()
        assert (machine.state, machine.believes(6.1)) == (state, False)

    @pytest.mark.parametrize("make", [resigned, expired, releasing])
    def test_a_repeated_grant_does_not_revive_a_lost_term(
        self, make: Callable[[], Candidacy]
    ) -> None:
        machine = make()
        assert grant(machine, token=2, sent_at=6.0) == ()
        assert not machine.believes(6.0)

    def test_resigning_too_late_is_an_expiry(self) -> None:
        machine = leading()
        assert machine.resign(WINDOW) == (Lost("a1", LossReason.EXPIRED),)
        assert not machine.holds_lease

    def test_a_refusal_that_comes_too_late_is_an_expiry(self) -> None:
        machine = leading()
        notices = machine.refused("a1", LossReason.TAKEN, WINDOW)
        assert notices == (Lost("a1", LossReason.EXPIRED),)


class TestRule4ALateGrantIsGivenBack:
    @pytest.mark.parametrize("now", [6.0, 100.0])
    def test_a_grant_after_its_window_does_not_elect(self, now: float) -> None:
        machine = campaigning()
        assert grant(machine, now=now) == ()
        assert not machine.believes(now)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_a_late_grant_is_followed_by_a_new_attempt(self) -> None:
        machine = campaigning()
        grant(machine, now=WINDOW)
        machine.released("a1")
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")

    def test_a_grant_that_comes_after_stop_is_given_back(self) -> None:
        machine = campaigning()
        machine.stop(1.0)
        assert grant(machine, now=1.0) == ()
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_a_grant_to_an_attempt_that_is_over_is_an_orphan(self) -> None:
        machine = campaigning()
        machine.stop(1.0)
        machine.released("a1")
        notices = machine.granted("a1", 1, source="store", sent_at=0.0, ttl=TTL, now=2.0)
        assert notices == (Orphaned("a1"),)
        assert machine.state is State.IDLE


class TestRule5OneLostForEachElected:
    @pytest.mark.parametrize("make", [resigned, expired, releasing])
    @pytest.mark.parametrize(
        "event",
        [
            lambda machine: machine.resign(6.5),
            lambda machine: machine.stop(6.5),
            lambda machine: machine.tick(6.5),
            lambda machine: machine.tick(1e6),
            lambda machine: machine.refused("a1", LossReason.TAKEN, 6.5),
            lambda machine: machine.forked(),
        ],
        ids=["resign", "stop", "tick", "late tick", "refused", "forked"],
    )
    def test_a_lost_term_is_not_lost_again(
        self,
        make: Callable[[], Candidacy],
        event: Callable[[Candidacy], Sequence[Notice]],
    ) -> None:
        assert event(make()) == ()

    @pytest.mark.parametrize("make", [new_candidate, campaigning])
    def test_nothing_is_lost_without_a_term(self, make: Callable[[], Candidacy]) -> None:
        assert make().resign(1.0) == ()
        assert make().stop(1.0) == ()
        assert make().tick(1e6) == ()

    def test_a_repeated_grant_does_not_elect_twice(self) -> None:
        machine = leading()
        before = public_state(machine)
        assert grant(machine, token=1, sent_at=1.0) == ()
        assert public_state(machine) == before

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (lambda m: m.resign(1.0), LossReason.RESIGNED),
            (lambda m: m.resign(1.0, LossReason.WORK_FAILED), LossReason.WORK_FAILED),
            (lambda m: m.stop(1.0), LossReason.STOPPED),
            (lambda m: m.tick(WINDOW), LossReason.EXPIRED),
            (lambda m: m.refused("a1", LossReason.TAKEN, 1.0), LossReason.TAKEN),
            (lambda m: m.refused("a1", LossReason.SESSION_LOST, 1.0), LossReason.SESSION_LOST),
            (lambda m: m.forked(), LossReason.FORKED),
        ],
    )
    def test_every_end_of_a_term_is_told_with_its_reason(
        self, event: Callable[[Candidacy], Sequence[Notice]], reason: LossReason
    ) -> None:
        machine = leading()
        assert event(machine) == (Lost("a1", reason),)
        assert not machine.believes(0.0)


class TestRule6AnAttemptIdIsUsedForOneTerm:
    def test_asking_again_keeps_the_id(self) -> None:
        machine = campaigning()
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a1")

    @pytest.mark.parametrize("make", [resigned, expired])
    def test_the_next_term_is_sought_under_a_new_id(self, make: Callable[[], Candidacy]) -> None:
        machine = make()
        machine.drained("a1", 6.0)
        machine.released("a1")
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")
        assert grant(machine, token=2, sent_at=7.0) == (Elected("a2", 2),)

    def test_a_lost_place_in_the_queue_is_sought_under_a_new_id(self) -> None:
        machine = campaigning()
        notices = machine.refused("a1", LossReason.SESSION_LOST, 1.0)
        assert notices == (Displaced("a1", LossReason.SESSION_LOST),)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")
        machine.released("a1")
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")

    def test_starting_after_a_stop_takes_a_new_id(self) -> None:
        machine = new_candidate()
        machine.start()
        machine.stop(0.0)
        machine.start()
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")


class TestRule7AReleaseWaitsForTheWork:
    @pytest.mark.parametrize("make", [resigned, expired])
    def test_no_release_while_the_work_runs(self, make: Callable[[], Candidacy]) -> None:
        machine = make()
        assert machine.take_request(0.0) is None
        machine.tick(machine.deadline - 0.001)
        assert machine.take_request(0.0) is None

    @pytest.mark.parametrize("make", [resigned, expired])
    def test_the_release_follows_the_drain_at_once(self, make: Callable[[], Candidacy]) -> None:
        machine = make()
        machine.drained("a1", 6.5)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_after_the_drain_timeout_it_releases_all_the_same(self) -> None:
        machine = resigned(at=1.0)
        assert machine.deadline == 1.0 + DRAIN
        assert machine.tick(1.0 + DRAIN) == ()
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_an_expired_term_is_not_kept_longer_than_its_lease(self) -> None:
        machine = expired()
        assert machine.deadline == TTL
        machine.tick(TTL)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_a_refused_term_is_released_at_once(self) -> None:
        machine = leading()
        machine.refused("a1", LossReason.TAKEN, 1.0)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_a_refusal_while_the_work_drains_ends_the_wait(self) -> None:
        machine = resigned()
        machine.refused("a1", LossReason.TAKEN, 2.0)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_the_lease_is_renewed_while_the_work_drains(self) -> None:
        machine = resigned(at=5.0)
        assert machine.holds_lease
        renew(machine, sent_at=5.0)
        # Without the renewal the lease would run out at 9, and so would the waiting.
        machine.tick(8.999)
        assert machine.deadline == 5.0 + DRAIN

    def test_a_resigned_term_nobody_could_renew_is_not_kept_longer_than_its_lease(self) -> None:
        machine = resigned(at=5.9)
        assert machine.deadline == TTL

    def test_an_expired_term_is_not_renewed(self) -> None:
        assert not expired().holds_lease

    def test_a_renewal_too_late_for_the_belief_still_gives_the_work_its_time(self) -> None:
        machine = leading()
        renew(machine, sent_at=4.0, now=WINDOW)
        assert machine.deadline == 4.0 + TTL

    def test_a_renewal_that_arrives_after_the_loss_still_gives_the_work_its_time(self) -> None:
        machine = expired()
        renew(machine, sent_at=4.0, now=WINDOW + 0.5)
        assert machine.deadline == 4.0 + TTL

    def test_work_cannot_drain_before_its_term_is_lost(self) -> None:
        machine = leading()
        machine.drained("a1", 1.0)
        machine.resign(2.0)
        assert machine.take_request(0.0) is None


class TestRule8NoCampaignBeforeTheDrain:
    def released_too_early(self) -> Candidacy:
        machine = resigned(at=1.0)
        machine.tick(1.0 + DRAIN)
        machine.released("a1")
        return machine

    def test_a_released_candidate_waits_for_its_work(self) -> None:
        machine = self.released_too_early()
        assert machine.state is State.STEPPING_DOWN
        assert machine.take_request(0.0) is None
        assert machine.deadline == FOREVER

    def test_the_campaign_follows_the_drain_at_once(self) -> None:
        machine = self.released_too_early()
        machine.drained("a1", 20.0)
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")

    def test_work_that_drains_while_the_release_is_asked_for_is_noted(self) -> None:
        machine = resigned(at=1.0)
        machine.tick(1.0 + DRAIN)
        machine.drained("a1", 5.5)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")
        machine.released("a1")
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")

    def test_a_restart_does_not_hurry_the_work(self) -> None:
        machine = resigned()
        machine.stop(2.0)
        machine.start()
        assert machine.take_request(0.0) is None

    def test_a_restart_after_an_abandoned_release_does_not_hurry_the_work(self) -> None:
        machine = resigned()
        machine.stop(2.0)
        machine.abandon()
        machine.start()
        assert machine.take_request(0.0) is None
        machine.drained("a1", 3.0)
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")


class TestRule9TokensRise:
    def after_a_term(self) -> Candidacy:
        """Has led with token 5 of "store", and contends again as "a2"."""
        machine = campaigning()
        grant(machine, token=5)
        machine.resign(1.0)
        machine.drained("a1", 1.0)
        machine.released("a1")
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")
        return machine

    @pytest.mark.parametrize(("token", "source"), [(5, "store"), (4, "store"), (6, "other")])
    def test_a_store_that_forgot_or_changed_elects_nobody(self, token: int, source: str) -> None:
        machine = self.after_a_term()
        notices = grant(machine, token=token, source=source, sent_at=2.0)
        assert notices == (Regressed(token, source, 5, "store"),)
        assert not machine.believes(2.0)
        assert not machine.wanted

    def test_what_it_granted_is_given_back(self) -> None:
        machine = self.after_a_term()
        grant(machine, token=5, sent_at=2.0)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a2")
        machine.released("a2")
        assert machine.state is State.IDLE

    def test_the_highest_token_is_remembered(self) -> None:
        machine = self.after_a_term()
        grant(machine, token=3, sent_at=2.0)
        machine.released("a2")
        machine.start()
        assert grant(machine, token=4, sent_at=3.0) == (Regressed(4, "store", 5, "store"),)

    def test_a_higher_token_of_the_same_store_elects(self) -> None:
        assert grant(self.after_a_term(), token=6, sent_at=2.0) == (Elected("a2", 6),)

    def test_the_first_token_may_be_any(self) -> None:
        assert grant(campaigning(), token=0) == (Elected("a1", 0),)


class TestRule10OthersAttemptsChangeNothing:
    @pytest.mark.parametrize(
        "make", [new_candidate, campaigning, leading, resigned, expired, releasing]
    )
    @pytest.mark.parametrize(
        "event",
        [
            lambda m: m.renewed("other", sent_at=5.0, ttl=TTL, now=5.0),
            lambda m: m.refused("other", LossReason.TAKEN, 5.0),
            lambda m: m.released("other") or (),
            lambda m: m.drained("other", 5.0) or (),
        ],
        ids=["renewed", "refused", "released", "drained"],
    )
    def test_an_answer_about_another_attempt_changes_nothing(
        self, make: Callable[[], Candidacy], event: Callable[[Candidacy], Sequence[Notice]]
    ) -> None:
        machine = make()
        before = public_state(machine)
        assert event(machine) == ()
        assert public_state(machine) == before

    @pytest.mark.parametrize("make", [campaigning, leading, resigned, expired, releasing])
    def test_a_grant_to_another_attempt_is_an_orphan(self, make: Callable[[], Candidacy]) -> None:
        machine = make()
        before = public_state(machine)
        notices = machine.granted("other", 9, source="store", sent_at=5.0, ttl=TTL, now=5.0)
        assert notices == (Orphaned("other"),)
        assert public_state(machine) == before


class TestStartAndStop:
    def test_a_new_candidate_asks_nothing(self) -> None:
        machine = new_candidate()
        assert public_state(machine)[3:] == (False, False, FOREVER, None)

    def test_starting_twice_begins_one_attempt(self) -> None:
        machine = new_candidate()
        machine.start()
        machine.start()
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a1")

    def test_stopping_before_anything_was_asked_needs_no_release(self) -> None:
        machine = new_candidate()
        machine.start()
        machine.stop(0.0)
        assert machine.state is State.IDLE

    def test_stopping_after_asking_takes_back_what_may_have_arrived(self) -> None:
        machine = campaigning()
        machine.stop(0.0)
        assert machine.take_request(0.0) == Request(Verb.RELEASE, "a1")
        machine.released("a1")
        assert (machine.state, machine.attempt_id) == (State.IDLE, "")

    def test_a_stopped_leader_is_idle_after_drain_and_release(self) -> None:
        machine = leading()
        machine.stop(1.0)
        machine.drained("a1", 2.0)
        machine.released("a1")
        assert machine.state is State.IDLE

    def test_a_start_during_the_release_is_followed(self) -> None:
        machine = campaigning()
        machine.stop(0.0)
        machine.start()
        machine.released("a1")
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")

    def test_a_stop_while_the_work_drains_is_followed(self) -> None:
        machine = resigned()
        machine.stop(2.0)
        machine.drained("a1", 3.0)
        machine.released("a1")
        assert machine.state is State.IDLE

    def test_a_release_is_repeated_until_it_is_confirmed(self) -> None:
        machine = releasing()
        assert machine.take_request(0.0) == machine.take_request(0.0) == Request(Verb.RELEASE, "a1")

    def test_a_release_is_given_up_when_the_lease_has_certainly_run_out(self) -> None:
        limits = Capabilities(
            linearizable=True,
            event_driven=True,
            min_ttl=1.0,
            max_ttl=60.0,
            expiry_factor=2.0,
            expiry_slack=0.5,
            hold_off=3.0,
        )
        machine = leading(Timing(ttl=TTL, request_timeout=1.0, capabilities=limits))
        machine.resign(1.0)
        machine.drained("a1", 2.0)
        machine.take_request(2.5)
        machine.take_request(20.0)
        assert machine.deadline == 2.5 + (2 * TTL + 0.5 + 3.0) + 1.0
        machine.tick(machine.deadline)
        assert machine.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")

    def test_a_release_is_not_given_up_before_it_was_asked_for(self) -> None:
        """After a pause of the process, say, or while the campaign's request is still out."""
        machine = campaigning()
        machine.stop(0.0)
        machine.start()
        assert machine.deadline == FOREVER
        machine.tick(1000.0)
        assert machine.take_request(1000.0) == Request(Verb.RELEASE, "a1")
        assert 1000.0 < machine.deadline < FOREVER

    def test_a_confirmation_that_nobody_asked_for_changes_nothing(self) -> None:
        for make in (campaigning, leading, resigned, expired):
            machine = make()
            before = public_state(machine)
            machine.released("a1")
            assert public_state(machine) == before


class TestAbandon:
    def test_a_stopped_candidate_need_not_wait_for_the_store(self) -> None:
        machine = releasing()
        machine.stop(3.0)
        machine.abandon()
        assert machine.state is State.IDLE

    def test_abandoned_work_is_still_waited_for_but_not_renewed(self) -> None:
        machine = leading()
        machine.stop(1.0)
        machine.abandon()
        assert (machine.state, machine.holds_lease) == (State.STEPPING_DOWN, False)
        machine.drained("a1", 2.0)
        assert machine.state is State.IDLE

    @pytest.mark.parametrize("make", [new_candidate, campaigning, leading, resigned, releasing])
    def test_what_is_still_wanted_cannot_be_abandoned(self, make: Callable[[], Candidacy]) -> None:
        machine = make()
        before = public_state(machine)
        machine.abandon()
        assert public_state(machine) == before


class TestFork:
    @pytest.mark.parametrize(
        "make", [new_candidate, campaigning, leading, resigned, expired, releasing]
    )
    def test_a_child_holds_nothing_and_asks_nothing(self, make: Callable[[], Candidacy]) -> None:
        parent = make()
        before = public_state(parent)
        child = copy.copy(parent)
        child.forked()
        assert not child.believes(0.0)
        assert public_state(child)[2:] == ("", False, False, FOREVER, None)
        assert public_state(parent) == before

    def test_the_term_stays_with_the_parent(self) -> None:
        parent = leading()
        child = copy.copy(parent)
        assert child.forked() == (Lost("a1", LossReason.FORKED),)
        assert parent.believes(5.0)

    def test_a_child_that_is_started_contends_under_an_id_of_its_own(self) -> None:
        child = leading()
        child.forked()
        child.start()
        assert child.take_request(0.0) == Request(Verb.CAMPAIGN, "a2")
        assert grant(child, token=2, sent_at=3.0) == (Elected("a2", 2),)

    def test_a_child_remembers_the_tokens_of_its_parent(self) -> None:
        child = leading()
        child.forked()
        child.start()
        assert grant(child, token=1, sent_at=3.0) == (Regressed(1, "store", 1, "store"),)

    @pytest.mark.parametrize(
        "event", [lambda m: m.stop(9.0), lambda m: m.resign(9.0), lambda m: m.tick(1e6)]
    )
    def test_nothing_but_a_start_brings_a_child_back(
        self, event: Callable[[Candidacy], Sequence[Notice]]
    ) -> None:
        child = leading()
        child.forked()
        assert event(child) == ()
        assert child.state is State.FORKED
