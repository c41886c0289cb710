"""The fencing token: higher with every term, whatever happened in between."""

from __future__ import annotations

from leaderlock.backends.base import Granted
from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.tools import new_name, prompt
from leaderlock.testing.harness import BackendHarness
from leaderlock.tokens import MAX_VALUE


class TokenCases:
    def test_token_is_a_number_that_a_fence_can_keep(self, harness: BackendHarness) -> None:
        token = Contender(harness, new_name()).win().token
        assert type(token) is int and 0 <= token <= MAX_VALUE, (
            f"token {token!r} is not an int from 0 to 2**63 - 1"
        )

    def test_token_rises_over_releases(self, harness: BackendHarness) -> None:
        election = new_name()
        clients = [harness.new_backend(), harness.new_backend()]
        grants: list[Granted] = []
        for term in range(6):
            leader = Contender(harness, election, clients[term % 2])
            grants.append(leader.win())
            leader.release()
        _must_rise(grants, "each term but the first followed a release")

    def test_token_rises_when_the_same_client_is_elected_again(
        self, harness: BackendHarness
    ) -> None:
        election, backend = new_name(), harness.new_backend()
        grants = []
        for _ in range(3):
            leader = Contender(harness, election, backend)
            grants.append(leader.win())
            leader.release()
        _must_rise(grants, "one client was elected again and again")

    def test_token_rises_over_an_expiry(self, harness: BackendHarness) -> None:
        election = new_name()
        grants = []
        for _ in range(2):
            leader = Contender(harness, election, ttl=harness.short_ttl)
            grants.append(leader.win())
            leader.lapse()
        grants.append(Contender(harness, election).win())
        _must_rise(grants, "the terms before had run out")

    def test_token_rises_after_a_time_without_leader(self, harness: BackendHarness) -> None:
        """A counter must not run out with the lease."""
        election = new_name()
        first = Contender(harness, election, ttl=harness.short_ttl)
        grants = [first.win()]
        first.release()
        first.lapse()
        grants.append(Contender(harness, election).win())
        _must_rise(grants, "nobody had led for longer than a lease")

    def test_token_rises_over_a_deletion_by_an_operator(self, harness: BackendHarness) -> None:
        """Consul's LockIndex starts anew with a new key. A store without keys goes on as before."""
        election = new_name()
        leader, heir = Contender(harness, election), Contender(harness, election)
        grants = [leader.win()]
        harness.delete_leader(election)
        if not harness.deletes:
            leader.must_hold("the harness says that nobody can delete its lease")
            heir.wait()
            return
        leader.must_not_hold("its lease was deleted")
        bound = prompt(harness, heir.backend) + heir.backend.capabilities.hold_off
        grants.append(heir.win_soon(bound, "after the deletion of the leader's lease"))
        _must_rise(grants, "the lease before was deleted")

    def test_token_rises_for_a_new_client_after_all_have_closed(
        self, harness: BackendHarness
    ) -> None:
        election = new_name()
        old = Contender(harness, election)
        grants = [old.win()]
        old.release()
        harness.close_backends()
        grants.append(Contender(harness, election).win())
        _must_rise(grants, "every client of before has closed")

    def test_all_clients_see_one_source(self, harness: BackendHarness) -> None:
        election = new_name()
        sources = set()
        for name in (election, election, new_name()):
            leader = Contender(harness, name)
            sources.add(leader.win().source)
            sources.add(leader.backend.leader(name).source)
            leader.release()
        assert len(sources) == 1 and all(sources), (
            f"one store has to have one source that is not empty, not {sources}"
        )


def _must_rise(grants: list[Granted], because: str) -> None:
    tokens = [granted.token for granted in grants]
    assert tokens == sorted(set(tokens)), (
        f"tokens {tokens} do not strictly rise, though {because}: a fence would let a deposed "
        "leader through, or keep the new one out"
    )
    assert len({granted.source for granted in grants}) == 1, (
        f"the source changed from term to term: {grants}"
    )
