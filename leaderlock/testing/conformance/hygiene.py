"""What a backend leaves behind, lets out, and has to bear."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from pathlib import Path

from leaderlock.backends.base import Backend, Granted, Renewal
from leaderlock.testing.conformance.contender import Contender, Follower, requests
from leaderlock.testing.conformance.tools import (
    after,
    at_once,
    in_time,
    must_be_ours,
    new_name,
    no_thread_dies,
    prompt,
    until,
    until_answered,
)
from leaderlock.testing.harness import NAMESPACE, BackendHarness
from leaderlock.timing import Timing

_CHILD_OK = 42


class HygieneCases:
    def test_backend_says_what_it_is(self, harness: BackendHarness) -> None:
        backend = harness.new_backend(ttl=harness.short_ttl, request_timeout=harness.short_timeout)
        settings, limits = backend.settings, backend.capabilities
        asked = (harness.short_ttl, harness.short_timeout, NAMESPACE, harness.clock)
        kept = (settings.ttl, settings.request_timeout, settings.namespace, settings.clock)
        assert kept == asked, "settings has to be what the backend was made with"
        assert backend.schemes and all(scheme.islower() for scheme in backend.schemes), (
            f"schemes has to name the URL schemes in lower case, not {backend.schemes}"
        )
        assert 0 < limits.belief_ratio < 1 and limits.expiry_factor >= 1, f"{limits}"
        # Electors have to accept what the cases use.
        Timing(ttl=settings.ttl, request_timeout=settings.request_timeout, capabilities=limits)

    def test_close_is_idempotent(self, harness: BackendHarness) -> None:
        unused, used = harness.new_backend(), _use(harness)
        for backend in (unused, used):
            for _ in range(2):
                in_time(harness, backend, functools.partial(must_be_ours, "close", backend.close))
        concurrent = _use(harness)
        at_once([functools.partial(must_be_ours, "close", concurrent.close)] * 3)

    def test_nothing_foreign_leaves_a_closed_backend(self, harness: BackendHarness) -> None:
        leader = Contender(harness, new_name())
        leader.win()
        follower = Follower(harness, leader.backend, leader.attempt.election)
        leader.backend.close()
        calls = requests(leader) | {
            "watch": lambda: leader.backend.watch(new_name(), lambda: None),
            "unwatch": follower.unwatch,
        }
        for method, call in calls.items():
            in_time(harness, leader.backend, functools.partial(must_be_ours, method, call))

    def test_closing_during_requests_is_harmless(self, harness: BackendHarness) -> None:
        for _ in range(5):
            backend = _use(harness)
            calls = requests(Contender(harness, new_name(), backend)) | {"close": backend.close}
            with no_thread_dies():
                at_once(
                    [functools.partial(must_be_ours, name, call) for name, call in calls.items()]
                )

    def test_no_thread_and_no_file_is_left_after_close(self, harness: BackendHarness) -> None:
        """Closed with a leader, a waiter and a watch still open (python-etcd3#1227)."""
        _use(harness).close()  # what is made once for all clients is no leak
        threads, files = set(threading.enumerate()), _open_files()
        for _ in range(3):
            _use(harness).close()

        def left() -> tuple[list[str], int]:
            new = set(threading.enumerate()) - threads
            return [thread.name for thread in new], _open_files() - files

        until(
            lambda: not left()[0] and left()[1] <= 0,
            harness.slack,
            f"three clients are closed, but have left threads and open files: {left()}",
        )

    def test_wakes_after_close_are_harmless(self, harness: BackendHarness) -> None:
        election = new_name()
        leader, waiter = Contender(harness, election), Contender(harness, election)
        heir = Contender(harness, election)
        leader.win()
        waiter.wait()
        Follower(harness, waiter.backend, election)
        with no_thread_dies():
            waiter.backend.close()
            leader.release()
            heir.win_soon(
                prompt(harness, heir.backend),
                "the leader has released and the waiter has closed its client, which ends sessions",
            )

    def test_one_client_serves_many_threads(self, harness: BackendHarness) -> None:
        backend = harness.new_backend()
        with no_thread_dies():
            at_once(
                [functools.partial(_campaign_round, harness, backend)] * 6, 2 * harness.patience
            )

    def test_leading_and_renewing_race_with_releases(self, harness: BackendHarness) -> None:
        """A heartbeat round may overlap with anything (tooz LP#1557593)."""
        backend, rival = harness.new_backend(), harness.new_backend()
        for race in range(10):
            election = new_name()
            leader = Contender(harness, election, backend)
            leader.win()
            at_once(
                [
                    functools.partial(until_answered, harness, leader.renewal),
                    functools.partial(after, race / 2000, leader.release),
                ]
            )
            leader.must_not_hold("it was released, whatever a renewal beside it was told")
            Contender(harness, election, rival).win()

    def test_forked_child_leaves_the_parent_alone(self, harness: BackendHarness) -> None:
        """A child shares sockets, never sessions (kazoo#554, grpc#31885)."""
        leader = Contender(harness, new_name())
        rival = Contender(harness, leader.attempt.election)
        leader.win()
        rival.wait()
        assert _abandon_in_child(harness, leader.backend) == _CHILD_OK, (
            "abandon() failed, or did not return, in a forked child"
        )
        until_answered(harness, leader.renewal)
        leader.must_hold("only a forked child has ended")
        leader.must_lead(rival.backend)
        rival.wait()


def _use(harness: BackendHarness) -> Backend:
    """A client with a leader, a waiter and an observer."""
    leader = Contender(harness, new_name())
    leader.win()
    waiter = Contender(harness, leader.attempt.election, leader.backend)
    waiter.wait()
    Follower(harness, leader.backend, leader.attempt.election)
    leader.must_hold("it was just granted")
    return leader.backend


def _open_files() -> int:
    """0 where the system does not tell."""
    for place in (Path("/proc/self/fd"), Path("/dev/fd")):
        if place.is_dir():
            return len(list(place.iterdir()))
    return 0


def _campaign_round(harness: BackendHarness, backend: Backend) -> None:
    for _ in range(3):
        contender = Contender(harness, new_name(), backend)
        granted = contender.campaign_until_answered()
        assert isinstance(granted, Granted), f"{granted} for an election of its own"
        outcome = until_answered(harness, contender.renewal)
        assert outcome is Renewal.RENEWED, f"threads were mixed up: {outcome} for a leader"
        unwatch = backend.watch(contender.attempt.election, lambda: None)
        reading = until_answered(harness, lambda: backend.leader(contender.attempt.election))  # noqa: B023
        assert reading.payload == contender.payload, f"threads were mixed up: {reading}"
        unwatch()
        until_answered(harness, contender.release)


def _abandon_in_child(harness: BackendHarness, backend: Backend) -> int:
    """The exit status of a forked child that abandons the backend."""
    if not hasattr(os, "fork"):
        return _CHILD_OK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid == 0:
        status: list[int] = []
        try:
            # On a thread of its own, so that even a child that hangs comes to an end.
            abandoning = threading.Thread(target=_abandon, args=(backend, status), daemon=True)
            abandoning.start()
            abandoning.join(harness.request_timeout + harness.slack)
        finally:
            os._exit(status[0] if status else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _abandon(backend: Backend, status: list[int]) -> None:
    backend.abandon()
    status.append(_CHILD_OK)
