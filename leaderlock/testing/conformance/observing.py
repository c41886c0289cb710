"""Who leads, for anybody who asks."""

from __future__ import annotations

from leaderlock.backends.base import Reading
from leaderlock.testing.conformance.contender import Contender, Follower
from leaderlock.testing.conformance.tools import new_name, prompt
from leaderlock.testing.harness import BackendHarness

_PAYLOADS = (
    b"", b"\0", b"null", b"\xff\xfe\x80", "größe".encode(), b"'\"%s\\", bytes(range(256)),
    b"x" * 4096,
)  # fmt: skip


class ObservingCases:
    def test_nobody_leads_an_election_that_nobody_has_heard_of(
        self, harness: BackendHarness
    ) -> None:
        _must_be_free(harness.new_backend().leader(new_name()), "nobody has ever campaigned")

    def test_anybody_sees_the_leader_with_its_token(self, harness: BackendHarness) -> None:
        election = new_name()
        leader = Contender(harness, election)
        granted = leader.win()
        reading = leader.must_lead(harness.new_backend())
        assert (reading.token, reading.source) == (granted.token, granted.source), (
            f"leader() shows {reading} for the leader with {granted}"
        )
        assert reading.recheck_after is None or reading.recheck_after > 0, (
            f"recheck_after={reading.recheck_after} would have the core read without a pause"
        )

    def test_payload_is_shown_as_it_was_given(self, harness: BackendHarness) -> None:
        """An empty one is a payload too: only None means that nobody leads."""
        backend = harness.new_backend()
        for payload in _PAYLOADS:
            leader = Contender(harness, new_name(), payload=payload)
            leader.win()
            leader.must_lead(backend)

    def test_nobody_leads_after_a_release(self, harness: BackendHarness) -> None:
        leader = Contender(harness, new_name())
        leader.win()
        leader.release()
        _must_be_free(harness.new_backend().leader(leader.attempt.election), "it was released")

    def test_nobody_leads_after_an_expiry(self, harness: BackendHarness) -> None:
        """Also when nobody has campaigned since."""
        leader = Contender(harness, new_name(), ttl=harness.short_ttl)
        leader.win()
        leader.lapse()
        _must_be_free(harness.new_backend().leader(leader.attempt.election), "it has run out")

    def test_waiting_is_not_leading(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, waiter = Contender(harness, election), Contender(harness, election)
        leader.win()
        waiter.wait()
        leader.must_lead(waiter.backend)
        leader.release()
        reading = leader.backend.leader(election)
        if reading.payload is not None:  # a queue may have made it leader by itself
            waiter.must_lead(leader.backend)
            waiter.win()

    def test_observer_sees_every_change(self, harness: BackendHarness) -> None:
        """Elected, released, elected again, run out (etcd#18163)."""
        election, backend = new_name(), harness.new_backend()
        bound = prompt(harness, backend)
        follower = Follower(harness, backend, election)
        follower.must_see(None, bound, "nobody has campaigned")
        first = Contender(harness, election)
        first.win()
        follower.must_see(first.payload, bound, "an election")
        first.release()
        follower.must_see(None, bound, "a release")
        second = Contender(harness, election, ttl=harness.short_ttl)
        second.win()
        follower.must_see(second.payload, bound, "another election")
        second.lapse()
        follower.must_see(None, bound, "a lease ran out")

    def test_observer_sees_a_change_under_the_same_leader(self, harness: BackendHarness) -> None:
        """The next term is another leader, even if the same client leads it."""
        election, backend = new_name(), harness.new_backend()
        terms = [Contender(harness, election, backend) for _ in range(3)]
        follower = Follower(harness, harness.new_backend(), election)
        for term in terms:
            term.win()
            follower.must_see(term.payload, prompt(harness, backend), "an election")
            term.release()

    def test_unwatch_stops_one_observer_only(self, harness: BackendHarness) -> None:
        election, backend = new_name(), harness.new_backend()
        bound = prompt(harness, backend)
        stopped = Follower(harness, backend, election)
        follower = Follower(harness, backend, election)
        first = Contender(harness, election)
        first.win()
        for observer in (stopped, follower):
            observer.must_see(first.payload, bound, "an election")
        stopped.unwatch()
        stopped.unwatch()  # harmless
        first.release()
        follower.must_see(None, bound, "a release")
        # What was on its way when it was stopped has arrived by now.
        stopped.woken.clear()
        second = Contender(harness, election)
        second.win()
        follower.must_see(second.payload, bound, "another election")
        assert not stopped.woken.is_set(), "wake() came after unwatch()"

    def test_observing_writes_nothing(self, harness: BackendHarness) -> None:
        election, backend = new_name(), harness.new_backend()
        leader = Contender(harness, election)
        leader.win()
        leader.must_lead(backend)  # now it is connected
        never = new_name()
        before = harness.written()
        follower = Follower(harness, backend, election)
        for _ in range(3):
            leader.must_lead(backend)
            backend.leader(never)
            harness.pass_time(0.01)
        follower.unwatch()
        assert harness.written() == before, "leader() or watch() wrote to the store"

    def test_reading_does_not_keep_a_term_alive(self, harness: BackendHarness) -> None:
        election, backend = new_name(), harness.new_backend()
        leader = Contender(harness, election, ttl=harness.short_ttl)
        leader.win()
        step = leader.longest_lease / 4
        with harness.stalled(leader.backend):
            for _ in range(5):
                backend.leader(election)
                leader.backend.leader(election)
                harness.pass_time(step)
        _must_be_free(backend.leader(election), "nobody renewed, it was only read")


def _must_be_free(reading: Reading, because: str) -> None:
    assert reading.payload is None, f"leader() shows {reading}, though {because}"
