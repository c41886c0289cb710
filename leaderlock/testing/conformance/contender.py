"""The candidates and observers of a case: they do what the core does, by hand."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

from leaderlock.backends.base import (
    Attempt,
    Backend,
    Granted,
    Reading,
    Renewal,
    Waiting,
)
from leaderlock.errors import BackendUnavailable
from leaderlock.testing.conformance.tools import LOOK, until, until_answered
from leaderlock.testing.harness import NAMESPACE, BackendHarness

T = TypeVar("T")


class Contender:
    """One attempt at one election, by a client of its own unless one is given."""

    def __init__(
        self,
        harness: BackendHarness,
        election: str,
        backend: Backend | None = None,
        *,
        ttl: float | None = None,
        request_timeout: float | None = None,
        namespace: str = NAMESPACE,
        payload: bytes | None = None,
        attempt_id: str | None = None,
    ) -> None:
        self.harness = harness
        self.backend = backend or harness.new_backend(
            ttl=ttl, request_timeout=request_timeout, namespace=namespace
        )
        attempt_id = attempt_id or uuid.uuid4().hex
        self.payload = f"payload of {attempt_id}".encode() if payload is None else payload
        self.woken = threading.Event()
        self.attempt = Attempt(election, attempt_id, self.payload, self.woken.set)
        self.ttl = self.backend.settings.ttl
        self.sent_at = 0.0
        self._ask_again_at = float("inf")

    def campaign(self) -> Granted | Waiting:
        self.woken.clear()
        self.sent_at = self.harness.clock.now()
        answer = self.backend.campaign(self.attempt)
        if isinstance(answer, Granted):
            self.ttl = self.backend.settings.ttl if answer.ttl is None else answer.ttl
        elif answer.retry_after is not None:
            self._ask_again_at = self.harness.clock.now() + answer.retry_after
        return answer

    def campaign_until_answered(self) -> Granted | Waiting:
        """For cases that load the store: `BackendUnavailable` is allowed, and asks for more."""
        return until_answered(self.harness, self.campaign)

    def win(self) -> Granted:
        """Campaign for an election that is free."""
        answer = _answer_of(self.harness, self.backend, "campaign", self.campaign)
        assert isinstance(answer, Granted), (
            f"campaign() for {self.attempt.election!r} answered {answer}, though nobody leads it"
        )
        return answer

    def win_soon(self, within: float, why: str) -> Granted:
        """Campaign until it is granted."""
        answers: list[Granted | Waiting] = []

        def granted() -> bool:
            with contextlib.suppress(BackendUnavailable):
                answers.append(self.campaign())
            return bool(answers) and isinstance(answers[-1], Granted)

        until(granted, within, f"{why}: campaign() was not granted within {within:.3g} s")
        answer = answers[-1]
        assert isinstance(answer, Granted)
        return answer

    def wait(self) -> Waiting:
        """Campaign for an election that somebody else leads."""
        answer = _answer_of(self.harness, self.backend, "campaign", self.campaign)
        assert isinstance(answer, Waiting), (
            f"campaign() for {self.attempt.election!r} answered {answer}, though another attempt "
            "leads it: two leaders"
        )
        return answer

    def hears(self, within: float) -> bool:
        """Whether it is woken, or was told to ask again by now, within so many seconds."""
        end = time.monotonic() + within
        while not self.woken.wait(LOOK):
            if self.harness.clock.now() >= self._ask_again_at:
                return True
            if time.monotonic() >= end:
                return False
        return True

    def renewal(self) -> Renewal | None:
        return self.backend.renew([self.attempt]).outcomes.get(self.attempt.attempt_id)

    def must_hold(self, because: str) -> None:
        """The store must confirm the term."""
        outcome = _answer_of(self.harness, self.backend, "renew", self.renewal)
        assert outcome is Renewal.RENEWED, f"renew() answered {outcome}, though {because}"

    def must_not_hold(self, because: str) -> None:
        outcome = _answer_of(self.harness, self.backend, "renew", self.renewal)
        assert outcome is not Renewal.RENEWED, f"renew() answered RENEWED, though {because}"
        assert isinstance(outcome, Renewal), (
            f"renew() left out an attempt, though {because}: no answer is not a no"
        )

    def release(self) -> None:
        self.backend.release(self.attempt)

    @property
    def belief_window(self) -> float:
        """How long a leader may believe in the lease it was granted."""
        return self.backend.capabilities.belief_ratio * self.ttl

    @property
    def longest_lease(self) -> float:
        """After that time without a renewal the election has to be free."""
        limits = self.backend.capabilities
        return limits.expiry_factor * self.ttl + limits.expiry_slack + limits.hold_off

    def lapse(self) -> None:
        """Do not renew until the lease has certainly run out."""
        with self.harness.stalled(self.backend):
            self.harness.pass_time(self.longest_lease + LOOK)

    def keep(self, seconds: float) -> None:
        """Renew in time, for so long."""
        end = self.harness.clock.now() + seconds
        while (left := end - self.harness.clock.now()) > 0:
            self.harness.pass_time(min(left, self.ttl / 2))
            self.must_hold("it was renewed twice in every ttl")

    def must_lead(self, reader: Backend, token: int | None = None) -> Reading:
        """What `leader()` says has to be this attempt, under this token if one is given."""
        reading = reader.leader(self.attempt.election)
        assert reading.payload == self.payload, (
            f"leader() of {self.attempt.election!r} shows {reading.payload!r} instead of the "
            f"leader's payload {self.payload!r}"
        )
        assert token in (None, reading.token), (
            f"leader() shows token {reading.token} for the term with token {token}"
        )
        return reading


class Follower:
    """Reads who leads after each wake and each `recheck_after`, as the core does."""

    def __init__(self, harness: BackendHarness, backend: Backend, election: str) -> None:
        self._harness = harness
        self._backend = backend
        self._election = election
        self.woken = threading.Event()
        self.unwatch = backend.watch(election, self.woken.set)
        self.reading = _answer_of(harness, backend, "leader", self._read)

    def must_see(self, payload: bytes | None, within: float, what: str) -> None:
        self.must_see_one_of((payload,), within, what)

    def must_see_one_of(self, payloads: Sequence[bytes | None], within: float, what: str) -> None:
        end = time.monotonic() + within
        while self.reading.payload not in payloads:
            assert time.monotonic() < end, (
                f"an observer that reads after every wake and every recheck_after still sees "
                f"{self.reading} {within:.3g} s after {what}: watch() missed it"
            )
            if self.woken.wait(LOOK) or self._harness.clock.now() >= self._recheck_at:
                with contextlib.suppress(BackendUnavailable):
                    self.reading = self._read()

    def _read(self) -> Reading:
        self.woken.clear()
        reading = self._backend.leader(self._election)
        recheck = reading.recheck_after
        self._recheck_at = float("inf") if recheck is None else self._harness.clock.now() + recheck
        return reading


def requests(contender: Contender) -> dict[str, Callable[[], object]]:
    """The requests of an attempt, by the names of their methods."""
    backend, attempt = contender.backend, contender.attempt
    return {
        "campaign": lambda: backend.campaign(attempt),
        "renew": lambda: backend.renew([attempt]),
        "release": lambda: backend.release(attempt),
        "leader": lambda: backend.leader(attempt.election),
    }


def _answer_of(harness: BackendHarness, backend: Backend, method: str, call: Callable[[], T]) -> T:
    """What a store says that is well.

    A timeout that is for silence is too short to tell whether it is: on a busy machine a healthy
    store may miss it.
    """
    if backend.settings.request_timeout < harness.request_timeout:
        return until_answered(harness, call)
    try:
        return call()
    except BackendUnavailable as error:
        raise AssertionError(
            f"{method}() raised {error!r}, though the store is well: a no is a value"
        ) from error
