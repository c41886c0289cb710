"""Clients that misbehave when the store does not answer, or breaks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from leaderlock.backends.base import Attempt, Granted, Reading, Renewal, Renewed, Waiting
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.testing import Fault, FaultyBackend
from tests.conformance.mutants import broken_client

T = TypeVar("T")

_EACH_REQUEST = (
    "test_campaign_without_an_answer_is_unavailable",
    "test_renewal_without_an_answer_is_unavailable",
    "test_release_without_an_answer_is_unavailable",
    "test_reading_without_an_answer_is_unavailable",
)


@broken_client(*_EACH_REQUEST)
class SilenceIsNo(FaultyBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with contextlib.suppress(BackendUnavailable):
            return super().campaign(attempt)
        return Waiting()

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        with contextlib.suppress(BackendUnavailable):
            return super().renew(attempts)
        return Renewed(outcomes={a.attempt_id: Renewal.TAKEN for a in attempts})

    def release(self, attempt: Attempt) -> None:
        with contextlib.suppress(BackendUnavailable):
            super().release(attempt)

    def leader(self, election: str) -> Reading:
        with contextlib.suppress(BackendUnavailable):
            return super().leader(election)
        return Reading()


@broken_client("test_broken_store_is_unavailable_or_refuses")
class FailureIsNo(SilenceIsNo):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with contextlib.suppress(BackendRefused):
            return super().campaign(attempt)
        return Waiting()


@broken_client(
    "test_loser_is_told_to_wait_and_sees_the_leader",
    "test_renewal_after_a_take_over_is_a_no_and_hurts_nobody",
)
class NoIsSilence(FaultyBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        if isinstance(answer, Waiting):
            raise BackendUnavailable("the lock could not be acquired")
        return answer

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        answer = super().renew(attempts)
        if Renewal.TAKEN in answer.outcomes.values():
            raise BackendUnavailable("not the owner")
        return answer


@broken_client(*_EACH_REQUEST, "test_broken_store_is_unavailable_or_refuses")
class ForeignErrors(FaultyBackend):
    def _call(self, method: str, request: Callable[[], T]) -> T:
        try:
            return super()._call(method, request)
        except (BackendUnavailable, BackendRefused) as error:
            raise ConnectionError("timed out") from error


@broken_client(*_EACH_REQUEST, "test_requests_without_an_answer_do_not_queue_for_each_other")
class HangsPastTheTimeout(FaultyBackend):
    def freezing(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        return self.hanging(*methods, times=times)


@broken_client("test_requests_without_an_answer_do_not_queue_for_each_other")
class OneConnectionForAll(FaultyBackend):
    """Each request waits for the one before, and its own time begins only then."""

    def _call(self, method: str, request: Callable[[], T]) -> T:
        with vars(self).setdefault("line", threading.Lock()):
            began = time.monotonic()
            try:
                return super()._call(method, request)
            except BackendUnavailable:
                threading.Event().wait(began + 0.3 - time.monotonic())
                raise


@broken_client(
    "test_everything_works_again_after_an_outage",
    "test_waiter_and_observer_are_woken_after_an_outage",
    "test_leader_is_elected_again_after_a_frozen_store",
)
class NeverRecovers(FaultyBackend):
    """Its connection does not outlive an outage, however short."""

    broken = False

    def freezing(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        self.broken = True
        return super().freezing(*methods, times=times)

    def _call(self, method: str, request: Callable[[], T]) -> T:
        if self.broken:
            raise BackendUnavailable("no connection")
        return super()._call(method, request)


@broken_client("test_waiter_and_observer_are_woken_after_an_outage")
class WatchesEndWithAnOutage(FaultyBackend):
    def freezing(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        store = vars(self.inner)["_store"]
        for election in store._elections.values():
            election.waiting.clear()
            election.watchers.clear()
        return super().freezing(*methods, times=times)
