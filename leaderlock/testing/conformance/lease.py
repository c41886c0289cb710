"""How long a term lasts: as long as it is renewed, and not much longer."""

from __future__ import annotations

from leaderlock.backends.base import Granted, Renewal
from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.tools import new_name, prompt, until
from leaderlock.testing.harness import BackendHarness


class LeaseCases:
    def test_renewals_outlive_the_ttl(self, harness: BackendHarness) -> None:
        election = new_name()
        leader = Contender(harness, election, ttl=harness.short_ttl)
        rival = Contender(harness, election)
        token = leader.win().token
        leader.keep(2 * leader.ttl)
        rival.wait()
        leader.must_lead(rival.backend, token)

    def test_unrenewed_term_ends_after_the_lease_and_not_before(
        self, harness: BackendHarness
    ) -> None:
        election = new_name()
        leader = Contender(harness, election, ttl=harness.short_ttl)
        heir = Contender(harness, election, ttl=harness.short_ttl)
        granted = leader.win()
        _must_be_followed(harness, leader, granted, heir)

    def test_a_renewal_gives_a_whole_lease(self, harness: BackendHarness) -> None:
        election = new_name()
        leader = Contender(harness, election, ttl=harness.short_ttl)
        heir = Contender(harness, election, ttl=harness.short_ttl)
        granted = leader.win()
        harness.pass_time(leader.ttl / 2)
        leader.sent_at = harness.clock.now()
        leader.must_hold("only half of the ttl has passed")
        _must_be_followed(harness, leader, granted, heir)

    def test_what_the_store_grants_is_reported(self, harness: BackendHarness) -> None:
        """A store may grant another ttl than the one asked, if it says so (etcd, ZooKeeper)."""
        leader = Contender(harness, new_name())
        before = harness.clock.now()
        granted = leader.win()
        renewed = leader.backend.renew([leader.attempt])
        after = harness.clock.now()
        limits = leader.backend.capabilities
        for answer in (granted, renewed):
            assert answer.ttl is None or limits.min_ttl <= answer.ttl <= limits.max_ttl, (
                f"{answer} is outside the capabilities, {limits.min_ttl} to {limits.max_ttl} s"
            )
            assert answer.sent_at is None or before <= answer.sent_at <= after, (
                f"{answer}: sent_at is not a reading of settings.clock during the call"
            )

    def test_renewal_after_a_take_over_is_a_no_and_hurts_nobody(
        self, harness: BackendHarness
    ) -> None:
        """Without an owner check two holders keep each other alive (redbeat#127)."""
        election = new_name()
        old = Contender(harness, election, ttl=harness.short_ttl)
        new = Contender(harness, election)
        third = Contender(harness, election)
        old.win()
        old.lapse()
        new.win()
        old.must_not_hold("another attempt has been elected meanwhile")
        new.must_hold("only its predecessor asked for a renewal")
        new.must_lead(old.backend)
        third.wait()
        new.release()
        third.win_soon(prompt(harness, third.backend), "after a release")

    def test_renewal_of_a_lease_that_ran_out_is_truthful(self, harness: BackendHarness) -> None:
        """Renewing a dead lease must not look like success (python-etcd3, tooz LP#1975524)."""
        election = new_name()
        late = Contender(harness, election, ttl=harness.short_ttl)
        rival = Contender(harness, election)
        late.win()
        late.lapse()
        if late.renewal() is Renewal.RENEWED:
            late.must_lead(rival.backend)
            rival.wait()
        else:
            rival.win()

    def test_one_round_answers_for_each_attempt(self, harness: BackendHarness) -> None:
        backend = harness.new_backend(ttl=harness.short_ttl)
        lost = Contender(harness, new_name(), backend)
        lost.win()
        lost.lapse()
        Contender(harness, lost.attempt.election).win()
        held = [Contender(harness, new_name(), backend) for _ in range(3)]
        for contender in held:
            contender.win()
        stranger = Contender(harness, new_name(), backend)
        round_ = [held[0], lost, held[1], stranger, held[2]]
        outcomes = backend.renew([contender.attempt for contender in round_]).outcomes
        assert set(outcomes) == {contender.attempt.attempt_id for contender in round_}, (
            "renew() has to answer for the attempts that it is asked about, and no others"
        )
        for contender in round_:
            outcome = outcomes[contender.attempt.attempt_id]
            assert (outcome is Renewal.RENEWED) == (contender in held), (
                f"one round of renewals mixed up its attempts: {outcome} for one that "
                f"{'leads' if contender in held else 'does not lead'}"
            )

    def test_one_round_extends_each_lease(self, harness: BackendHarness) -> None:
        backend = harness.new_backend(ttl=harness.short_ttl)
        held = [Contender(harness, new_name(), backend) for _ in range(3)]
        for contender in held:
            contender.win()
        for _ in range(3):
            harness.pass_time(held[0].ttl / 2)
            outcomes = backend.renew([contender.attempt for contender in held]).outcomes
            assert set(outcomes.values()) == {Renewal.RENEWED}, (
                f"renewed together twice in every ttl, but the store says {outcomes}"
            )
        for contender in held:
            Contender(harness, contender.attempt.election).wait()

    def test_renewing_nothing_is_harmless(self, harness: BackendHarness) -> None:
        assert not harness.new_backend().renew([]).outcomes, "renew([]) answered for an attempt"

    def test_waiting_is_renewed_if_and_only_if_the_store_keeps_a_place(
        self, harness: BackendHarness
    ) -> None:
        election = new_name()
        leader, waiter = Contender(harness, election), Contender(harness, election)
        leader.win()
        waiter.wait()
        if waiter.backend.capabilities.renews_waiting:
            waiter.must_hold("it has a place in the queue, and the store renews_waiting")
        else:
            waiter.must_not_hold("it only waits, and the store does not say renews_waiting")
        leader.must_hold("only a waiting attempt asked for a renewal")
        leader.must_lead(waiter.backend)

    def test_waiter_whose_own_lease_ran_out_is_elected_for_real(
        self, harness: BackendHarness
    ) -> None:
        """It must neither be shut out for ever, nor lead without a key (etcd#19597)."""
        election = new_name()
        leader = Contender(harness, election, ttl=harness.short_ttl)
        waiter = Contender(harness, election, ttl=harness.short_ttl)
        rival = Contender(harness, election)
        leader.win()
        waiter.wait()
        with harness.stalled(waiter.backend):
            leader.keep(waiter.longest_lease)
        leader.release()
        waiter.win_soon(prompt(harness, waiter.backend), "after a release")
        waiter.must_lead(rival.backend)
        rival.wait()
        waiter.must_hold("it has just been elected")

    def test_leases_of_one_client_end_one_by_one(self, harness: BackendHarness) -> None:
        backend = harness.new_backend(ttl=harness.short_ttl)
        kept, dropped = (Contender(harness, new_name(), backend) for _ in range(2))
        kept.win()
        dropped.win()
        dropped.release()
        kept.keep(1.5 * kept.ttl)
        heir = Contender(harness, dropped.attempt.election)
        heir.win()
        heir.must_hold("it has just been elected")


def _must_be_followed(
    harness: BackendHarness, leader: Contender, granted: Granted, heir: Contender
) -> None:
    """From the last proof on nobody renews: when does the heir get in?"""
    sent_at = leader.sent_at
    allowed = leader.longest_lease + leader.backend.capabilities.notice
    step = leader.ttl / 20

    def followed() -> bool:
        if isinstance(heir.campaign(), Granted):
            return True
        if harness.clock.now() - sent_at < allowed + step:
            harness.pass_time(step)
        return False

    with harness.stalled(leader.backend):
        until(
            followed,
            allowed + harness.slack,
            f"nobody renewed, and {allowed:.3g} s later the election was still not free: "
            "expiry_factor, expiry_slack and hold_off promise an earlier end",
        )
    after = harness.clock.now() - sent_at
    assert after >= leader.belief_window, (
        f"another attempt was let in {after:.3g} s after the last proof, while the leader may "
        f"believe in its term for {leader.belief_window:.3g} s: two leaders"
    )
    leader.must_not_hold("another attempt has been elected meanwhile")
    heir.must_lead(leader.backend)
