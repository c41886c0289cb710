"""Whose term it is: nobody touches what belongs to another attempt."""

from __future__ import annotations

import uuid

from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.tools import new_name, prompt
from leaderlock.testing.harness import BackendHarness


class OwnershipCases:
    def test_release_of_a_stale_attempt_leaves_the_new_leader_alone(
        self, harness: BackendHarness
    ) -> None:
        election = new_name()
        old = Contender(harness, election, ttl=harness.short_ttl)
        new = Contender(harness, election)
        old.win()
        old.lapse()
        token = new.win().token
        old.release()
        new.must_hold("only its predecessor was released")
        new.must_lead(old.backend, token)
        Contender(harness, election).wait()

    def test_second_release_leaves_the_new_leader_alone(self, harness: BackendHarness) -> None:
        election = new_name()
        old, new = Contender(harness, election), Contender(harness, election)
        old.win()
        old.release()
        new.win_soon(prompt(harness, new.backend), "after a release")
        old.release()
        new.must_hold("only its predecessor was released, a second time")
        new.must_lead(old.backend)
        Contender(harness, election).wait()

    def test_released_attempt_leads_no_more(self, harness: BackendHarness) -> None:
        leader = Contender(harness, new_name())
        leader.win()
        leader.release()
        leader.must_not_hold("it was released")
        reading = leader.backend.leader(leader.attempt.election)
        assert reading.payload is None, f"the leader was released, but leader() shows {reading}"

    def test_release_of_an_attempt_that_never_asked_is_harmless(
        self, harness: BackendHarness
    ) -> None:
        election = new_name()
        leader, stranger = Contender(harness, election), Contender(harness, election)
        stranger.release()
        leader.win()
        stranger.release()
        leader.must_hold("only an attempt that had never asked was released")
        leader.must_lead(stranger.backend)

    def test_release_of_a_waiting_attempt_takes_it_out_of_the_queue(
        self, harness: BackendHarness
    ) -> None:
        """What it leaves behind would block the election for ever (kazoo#732)."""
        election = new_name()
        leader, waiter, heir = (Contender(harness, election) for _ in range(3))
        leader.win()
        waiter.wait()
        waiter.release()
        leader.must_hold("only a waiting attempt was released")
        leader.must_lead(waiter.backend)
        leader.release()
        heir.win_soon(prompt(harness, heir.backend), "after the release of all others")

    def test_those_behind_a_released_waiter_move_up(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, first, second = (Contender(harness, election) for _ in range(3))
        leader.win()
        first.wait()
        second.wait()
        first.release()
        leader.release()
        bound = prompt(harness, second.backend)
        assert second.hears(bound), (
            f"the leader and the waiter in front have released, but no wake() came within "
            f"{bound:.3g} s"
        )
        second.win_soon(bound, "after the release of all others")

    def test_attempts_of_one_client_are_strangers(self, harness: BackendHarness) -> None:
        """The store must compare attempts; the same session or client does not mean the same."""
        election, backend = new_name(), harness.new_backend()
        leader, other = (Contender(harness, election, backend) for _ in range(2))
        token = leader.win().token
        other.wait()
        leader.must_hold("another attempt of its client was only told to wait")
        other.release()
        leader.must_hold("only another attempt of its client was released")
        leader.must_lead(backend, token)

    def test_similar_attempt_ids_are_strangers(self, harness: BackendHarness) -> None:
        election, stem = new_name(), uuid.uuid4().hex
        leader = Contender(harness, election, attempt_id=f"{stem}-1")
        leader.win()
        for similar in (stem, f"{stem}-", f"{stem}-11", f"{stem}-1".upper(), f"0{stem}-1"):
            other = Contender(harness, election, leader.backend, attempt_id=similar)
            other.must_not_hold(f"{similar} does not lead")
            other.wait()
            other.release()
            leader.must_hold(f"only {similar} was released")

    def test_old_attempt_that_asks_again_after_its_release_is_a_new_term(
        self, harness: BackendHarness
    ) -> None:
        """An old token under a new term would let two leaders through the fence."""
        election = new_name()
        leader = Contender(harness, election)
        before = leader.win().token
        leader.release()
        after = leader.win().token
        assert after > before, f"a released term came back with its old token {after}"

    def test_attempt_that_asks_again_after_a_take_over_waits(self, harness: BackendHarness) -> None:
        """A client that comes back sees its own old key and takes it for a term (curator#1211)."""
        election = new_name()
        old = Contender(harness, election, ttl=harness.short_ttl)
        new = Contender(harness, election)
        old.win()
        old.lapse()
        new.win()
        old.wait()
        new.must_hold("its predecessor only asked to wait")
        new.must_lead(old.backend)
