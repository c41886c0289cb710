"""A store that does not answer: silence is an exception, comes in time, and leaves nothing."""

from __future__ import annotations

import functools
from typing import Any

from leaderlock.backends.base import Granted, Renewal
from leaderlock.testing.conformance.contender import Contender, Follower, requests
from leaderlock.testing.conformance.tools import (
    at_once,
    broken,
    frozen,
    in_time,
    must_be_ours,
    must_be_silent,
    new_name,
    prompt,
    until_answered,
)
from leaderlock.testing.harness import BackendHarness


class NoAnswerCases:
    def test_campaign_without_an_answer_is_unavailable(self, harness: BackendHarness) -> None:
        """Neither led nor waiting, and never later than request_timeout (kazoo#588)."""
        answer = _ask_frozen(harness, "campaign", _connected(harness))
        assert answer is None or isinstance(answer, Granted), (
            f"campaign() answered {answer}, though nobody leads"
        )

    def test_renewal_without_an_answer_is_unavailable(self, harness: BackendHarness) -> None:
        """No answer must not end a term, nor extend it (consul#18271, redisson#775)."""
        leader = _connected(harness)
        leader.win()
        answer = _ask_frozen(harness, "renew", leader)
        assert answer is None or answer.outcomes == {leader.attempt.attempt_id: Renewal.RENEWED}, (
            f"renew() answered {answer} for the leader"
        )

    def test_release_without_an_answer_is_unavailable(self, harness: BackendHarness) -> None:
        """Whoever resigns must neither hang nor be told that it is done."""
        leader = _connected(harness)
        leader.win()
        _ask_frozen(harness, "release", leader)

    def test_reading_without_an_answer_is_unavailable(self, harness: BackendHarness) -> None:
        """Not even "nobody leads" may be made up."""
        leader = _connected(harness)
        leader.win()
        answer = _ask_frozen(harness, "leader", leader)
        assert answer is None or answer.payload == leader.payload, (
            f"leader() answered {answer} while somebody leads"
        )

    def test_requests_without_an_answer_do_not_queue_for_each_other(
        self, harness: BackendHarness
    ) -> None:
        """A campaign that is stuck must not make a renewal late."""
        backend = _connected(harness).backend
        leaders = [Contender(harness, new_name(), backend) for _ in range(3)]
        for leader in leaders:
            leader.win()
        free = Contender(harness, new_name(), backend)
        calls = [requests(free)["campaign"]] + [
            requests(leader)[method]
            for leader, method in zip(leaders, ("renew", "release", "leader"), strict=True)
        ]
        with frozen(harness):
            # No rule says which are answered, only how long each may take.
            at_once(
                [functools.partial(must_be_ours, "a request", call) for call in calls],
                backend.settings.request_timeout + harness.slack,
            )

    def test_everything_works_again_after_an_outage(self, harness: BackendHarness) -> None:
        leader = _connected(harness)
        token = leader.win().token
        with frozen(harness):
            for method in ("renew", "leader"):
                must_be_ours(method, requests(leader)[method])
        outcome = until_answered(harness, leader.renewal)
        assert outcome is Renewal.RENEWED, f"renew() answered {outcome} after an outage in its ttl"
        leader.must_lead(leader.backend, token)
        until_answered(harness, leader.release)
        again = Contender(harness, leader.attempt.election, leader.backend)
        granted = again.win_soon(harness.patience, "after an outage")
        assert granted.token > token, f"token {granted.token} after {token}"

    def test_waiter_and_observer_are_woken_after_an_outage(self, harness: BackendHarness) -> None:
        """A watch that died in silence waits for ever (python-etcd3#1227, patroni#3426)."""
        leader = _impatient(harness)
        election = leader.attempt.election
        waiter = Contender(harness, election, request_timeout=harness.short_timeout)
        leader.win()
        waiter.wait()
        follower = Follower(harness, waiter.backend, election)
        with frozen(harness):
            must_be_ours("renew", requests(leader)["renew"])
            must_be_ours("leader", requests(waiter)["leader"])
        until_answered(harness, leader.release)
        bound = prompt(harness, waiter.backend) + harness.request_timeout
        assert waiter.hears(bound), (
            f"no wake() came within {bound:.3g} s of a release that followed an outage"
        )
        # Where candidates queue, the waiter leads as soon as the leader is gone.
        follower.must_see_one_of((None, waiter.payload), bound, "a release that followed an outage")

    def test_late_request_binds_nobody_for_longer_than_a_lease(
        self, harness: BackendHarness
    ) -> None:
        """The client has given up and is gone; the store carries its request out nevertheless."""
        dead = _connected(harness, ttl=harness.short_ttl)
        heir = Contender(harness, dead.attempt.election)
        with frozen(harness):
            must_be_ours("campaign", requests(dead)["campaign"])
        dead.lapse()
        heir.win_soon(prompt(harness, heir.backend), "a lease after an outage")

    def test_late_request_can_be_taken_back(self, harness: BackendHarness) -> None:
        given_up = _impatient(harness)
        heir = Contender(harness, given_up.attempt.election)
        with frozen(harness):
            must_be_ours("campaign", requests(given_up)["campaign"])
        until_answered(harness, given_up.release)
        heir.win_soon(
            prompt(harness, heir.backend), "after the release of an attempt that got no answer"
        )

    def test_broken_store_is_unavailable_or_refuses(self, harness: BackendHarness) -> None:
        leader = _impatient(harness)
        leader.win()
        for method, call in requests(leader).items():
            with broken(harness):
                ask = functools.partial(must_be_ours, method, call)
                answered = in_time(harness, leader.backend, ask)
            assert answered is not harness.breaks, (
                f"{method}() answered, but the store is broken"
                if answered
                else f"{method}() failed, though nothing can break the store"
            )


def _impatient(harness: BackendHarness, ttl: float | None = None) -> Contender:
    return Contender(harness, new_name(), ttl=ttl, request_timeout=harness.short_timeout)


def _connected(harness: BackendHarness, ttl: float | None = None) -> Contender:
    """By a client that has talked to the store before."""
    contender = _impatient(harness, ttl)
    Contender(harness, new_name(), contender.backend).win()
    return contender


def _ask_frozen(harness: BackendHarness, method: str, contender: Contender) -> Any:
    """The answer, if it is a method that a frozen store still answers."""
    call = requests(contender)[method]
    with frozen(harness):
        if method not in harness.frozen_requests:
            return in_time(harness, contender.backend, call)
        must_be_silent(harness, contender.backend, method, call)
    return None
