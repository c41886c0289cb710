"""What was done, and whose reply was lost, is asked again: it must not be done twice."""

from __future__ import annotations

from leaderlock.errors import BackendUnavailable
from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.tools import new_name, prompt
from leaderlock.testing.faults import FaultyBackend
from leaderlock.testing.harness import BackendHarness


class LostReplyCases:
    def test_campaign_asked_again_is_the_same_grant(self, harness: BackendHarness) -> None:
        leader, faulty = _over_faults(harness, new_name())
        with faulty.losing_replies("campaign"):
            _lose(leader.campaign)
        first, second = leader.win(), leader.win()
        assert (first.token, first.source) == (second.token, second.source), (
            f"campaign() repeated for one attempt has to return the same grant: {first}, {second}"
        )
        reading = leader.must_lead(harness.new_backend())
        assert reading.token == first.token, (
            f"leader() shows token {reading.token}, the leader was granted {first.token}"
        )
        leader.must_hold("it was granted, and asked again after a lost reply")

    def test_campaign_asked_again_leaves_one_lease(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, faulty = _over_faults(harness, election)
        with faulty.losing_replies("campaign"):
            for _ in range(3):
                _lose(leader.campaign)
        token = leader.win().token
        leader.release()
        heir = Contender(harness, election)
        granted = heir.win_soon(
            prompt(harness, heir.backend),
            "after the release of an attempt that had asked four times: it left a second lease or "
            "place in the queue",
        )
        assert granted.token > token, f"token {granted.token} after {token}"

    def test_campaign_whose_reply_was_lost_can_be_given_up(self, harness: BackendHarness) -> None:
        """A grant that nobody has heard of would lock everybody out (etcd#21128, kazoo#732)."""
        election = new_name()
        leader, faulty = _over_faults(harness, election)
        with faulty.losing_replies("campaign"):
            _lose(leader.campaign)
        leader.release()
        heir = Contender(harness, election)
        heir.win_soon(prompt(harness, heir.backend), "after the release of an unheard grant")
        heir.must_hold("it has just been elected")

    def test_campaign_asked_again_gives_a_whole_lease(self, harness: BackendHarness) -> None:
        """The core believes from the last request on, unless `sent_at` tells otherwise."""
        election = new_name()
        leader = Contender(harness, election, ttl=harness.short_ttl)
        leader.win()
        harness.pass_time(leader.ttl * 0.5)
        again = leader.win()
        if again.sent_at is None:
            harness.pass_time(leader.ttl * 0.6)
            leader.must_hold("campaign() was granted again less than a ttl ago")
            Contender(harness, election).wait()

    def test_waiter_that_asks_again_keeps_one_place(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, heir = Contender(harness, election), Contender(harness, election)
        waiter, faulty = _over_faults(harness, election)
        leader.win()
        with faulty.losing_replies("campaign"):
            for _ in range(3):
                _lose(waiter.campaign)
        waiter.wait()
        waiter.release()
        leader.release()
        heir.win_soon(
            prompt(harness, heir.backend),
            "after the release of a waiter that had asked four times: it left a place in the queue",
        )

    def test_release_asked_again_hurts_nobody(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, faulty = _over_faults(harness, election)
        heir = Contender(harness, election)
        leader.win()
        with faulty.losing_replies("release"):
            _lose(leader.release)
        heir.win_soon(prompt(harness, heir.backend), "after a release whose reply was lost")
        leader.release()
        heir.must_hold("only the release of its predecessor was repeated")
        heir.must_lead(leader.backend)

    def test_renewal_asked_again_is_renewed(self, harness: BackendHarness) -> None:
        leader, faulty = _over_faults(harness, new_name())
        token = leader.win().token
        with faulty.losing_replies("renew"):
            _lose(leader.renewal)
        leader.must_hold("only the reply to a renewal was lost")
        leader.must_lead(leader.backend, token)


def _over_faults(harness: BackendHarness, election: str) -> tuple[Contender, FaultyBackend]:
    faulty = FaultyBackend(harness.new_backend())
    return Contender(harness, election, faulty), faulty


def _lose(request: object) -> None:
    assert callable(request)
    try:
        request()
    except BackendUnavailable:
        return
    raise AssertionError("the reply was to be lost")
