"""Who may lead: one at a time, everybody in turn, each election by itself."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable

from leaderlock.backends.base import Granted, Waiting
from leaderlock.testing.conformance.contender import Contender
from leaderlock.testing.conformance.tools import after, at_once, new_name, prompt, until
from leaderlock.testing.harness import BackendHarness

_CROWD = 8
_RACES = 15

UGLY_NAMES = (
    "größe", "日本語", "𝄞", "e\u0301", "é", "a", "A", "\uff41", "\u202ea", "\ufeffa",
    " ", " a", "a ", "a b", "\t", "\n", "a\n", "\r\n", "\0", "a\0", "a\0b", "\x7f", "\x1b[31m",
    "/", "//", "/a", "a/", "a/b", "a//b", "a%2Fb", "a%2fb", ".", "..", "../a", "a/../b", "a/.",
    "\\", "a\\b", "a\\/b", "'", "a'b", '"', 'a"b', "`", "a;b", "'; DROP TABLE leaderlock; --",
    "%", "%%", "%s", "%00", "%25", "_", "*", "?", "[a]", "{a}", "{}", "{a}b", "$a", "#", "&", "=",
    "a:b", "a:token", "a-token", "a.b", "a|b", "a,b", "~", "+", "leaderlock", "None", "0", "1",
    "x" * 255, "x" * 254, "x" * 254 + "y", "y" + "x" * 254, "ß" * 255, "日" * 255, "𝄞" * 255,
    "/" * 255, "%" * 255, "\0" * 255,
)  # fmt: skip

# Pairs of namespace and election that become one when they are merely joined.
SHIFTED_NAMES = (
    ("a", "b/c"), ("a/b", "c"), ("a", "b:c"), ("a:b", "c"), ("a", "b\0c"), ("a\0b", "c"),
    ("a", "b.c"), ("a.b", "c"), ("a", "b-c"), ("a-b", "c"), ("ab", "c"), ("a", "bc"),
    ("a%2Fb", "c"), ("a", "../a"), ("..", "a"), ("a", "a/a"), ("a/a", "a"), ("{a}", "b"),
)  # fmt: skip


class ElectionCases:
    def test_one_of_many_concurrent_clients_is_elected(self, harness: BackendHarness) -> None:
        election = new_name()
        crowd = [Contender(harness, election) for _ in range(_CROWD)]
        answers = at_once([contender.campaign_until_answered for contender in crowd])
        leaders = [c for c, a in zip(crowd, answers, strict=True) if isinstance(a, Granted)]
        assert len(leaders) == 1, f"{len(leaders)} of {_CROWD} concurrent clients were granted"
        leaders[0].must_lead(crowd[0].backend)

    def test_one_of_many_concurrent_attempts_of_one_client_is_elected(
        self, harness: BackendHarness
    ) -> None:
        """A store that knows only sessions takes two attempts of one session for the same."""
        election, backend = new_name(), harness.new_backend()
        crowd = [Contender(harness, election, backend) for _ in range(_CROWD)]
        answers = at_once([contender.campaign_until_answered for contender in crowd])
        granted = sum(isinstance(answer, Granted) for answer in answers)
        assert granted == 1, f"{granted} of {_CROWD} attempts of one client were granted"

    def test_loser_is_told_to_wait_and_sees_the_leader(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, loser = Contender(harness, election), Contender(harness, election)
        leader.win()
        waiting = loser.wait()
        assert waiting.retry_after is None or waiting.retry_after > 0, (
            f"retry_after={waiting.retry_after} would have the core ask without a pause"
        )
        leader.must_lead(loser.backend)

    def test_waiter_is_woken_by_a_release(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, waiter = Contender(harness, election), Contender(harness, election)
        leader.win()
        waiter.wait()
        leader.release()
        bound = prompt(harness, waiter.backend)
        if waiter.backend.capabilities.event_driven:
            assert waiter.woken.wait(bound), (
                f"the store is event_driven, but wake() did not come within {bound:.3g} s of the "
                "release"
            )
        else:
            assert waiter.hears(bound), (
                f"neither wake() nor retry_after came within {bound:.3g} s of the release"
            )
        waiter.win_soon(bound, "after a release")

    def test_waiter_is_woken_by_a_release_that_overtook_its_answer(
        self, harness: BackendHarness
    ) -> None:
        """Between the refusal and the watch nothing may get lost."""
        clients = [harness.new_backend(), harness.new_backend()]
        bound = prompt(harness, clients[0])
        for race in range(_RACES):
            election = new_name()
            leader, waiter = (Contender(harness, election, client) for client in clients)
            leader.win()
            release: Callable[[], object] = functools.partial(after, race / 1000, leader.release)
            answer, _ = at_once([waiter.campaign_until_answered, release])
            if isinstance(answer, Waiting):
                assert waiter.hears(bound), (
                    f"race {race}: the release came while campaign() was under way, and wake() "
                    f"did not come within {bound:.3g} s of its return: look again after you have "
                    "begun to watch"
                )
                waiter.win_soon(bound, "after a release")
            waiter.release()

    def test_every_waiter_has_its_turn(self, harness: BackendHarness) -> None:
        """Also when wakes go to one waiter at a time, and whatever the others do (curator#1137)."""
        election = new_name()
        leader, *waiters = [Contender(harness, election) for _ in range(4)]
        leader.win()
        for waiter in waiters:
            waiter.wait()
        while waiters:
            leader.release()
            elected: list[Contender] = []
            until(
                functools.partial(_contend, waiters, elected),
                prompt(harness, leader.backend),
                f"{len(waiters)} wait, and none that was woken got the term after a release",
            )
            leader = elected[0]
            waiters.remove(leader)
            for waiter in waiters:
                waiter.wait()

    def test_elections_do_not_touch_each_other(self, harness: BackendHarness) -> None:
        one, other = new_name(), new_name()
        first, second = Contender(harness, one), Contender(harness, other)
        first.win()
        second.win()
        second.release()
        first.must_hold("only the leader of another election released")
        first.must_lead(second.backend)
        reading = second.backend.leader(other)
        assert reading.payload is None, f"leader() shows {reading} of another election"
        Contender(harness, one, second.backend).wait()

    def test_one_client_leads_many_elections(self, harness: BackendHarness) -> None:
        backend = harness.new_backend()
        held = [Contender(harness, new_name(), backend) for _ in range(5)]
        for contender in held:
            contender.win()
        held[2].release()
        for contender in held[:2] + held[3:]:
            contender.must_hold("only another attempt of its client was released")
            contender.must_lead(backend)

    def test_namespaces_do_not_touch_each_other(self, harness: BackendHarness) -> None:
        election = new_name()
        first = Contender(harness, election)
        second = Contender(harness, election, namespace=f"other-{uuid.uuid4().hex}")
        first.win()
        second.win()
        second.must_lead(second.backend)
        second.release()
        first.must_hold("only the leader of another namespace released")
        first.must_lead(first.backend)

    def test_ugly_names_are_elections_of_their_own(self, harness: BackendHarness) -> None:
        namespace = f"ugly-{uuid.uuid4().hex}"
        ours = harness.new_backend(namespace=namespace)
        theirs = harness.new_backend(namespace=namespace)
        leaders = [Contender(harness, name, ours) for name in UGLY_NAMES]
        for leader in leaders:
            leader.win()
        for leader in leaders:
            leader.must_lead(theirs)
        for leader in leaders[::7]:
            waiter = Contender(harness, leader.attempt.election, theirs)
            waiter.wait()
            waiter.release()  # where candidates queue, it would lead below
        for leader in leaders[::2]:
            leader.release()
        outcomes = ours.renew([leader.attempt for leader in leaders[1::2]]).outcomes
        for leader in leaders[1::2]:
            assert outcomes[leader.attempt.attempt_id].name == "RENEWED", (
                f"the term of {leader.attempt.election!r} ended with that of another election"
            )
        for leader in leaders[::2]:
            reading = theirs.leader(leader.attempt.election)
            assert reading.payload is None, (
                f"{leader.attempt.election!r} was released, but leader() shows {reading}"
            )

    def test_namespace_and_name_do_not_run_into_each_other(self, harness: BackendHarness) -> None:
        unique = uuid.uuid4().hex
        leaders = [
            Contender(harness, name, namespace=unique + namespace)
            for namespace, name in SHIFTED_NAMES
        ]
        for leader in leaders:
            leader.win()
        for leader in leaders:
            leader.must_lead(leader.backend)
            leader.must_hold("every other term is of another namespace or election")


def _contend(waiters: list[Contender], elected: list[Contender]) -> bool:
    """Those who have been woken ask again."""
    woken = [waiter for waiter in waiters if waiter.hears(0.0)]
    elected += [waiter for waiter in woken if isinstance(waiter.campaign(), Granted)]
    assert len(elected) < 2, "two waiters were granted the same term"
    return bool(elected)
