"""A store that elects whom a test says: what is behind `FakeElection`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

from leaderlock.backends.base import (
    Attempt,
    Backend,
    Granted,
    Reading,
    Renewal,
    Renewed,
    Settings,
    Waiting,
)
from leaderlock.capabilities import Capabilities
from leaderlock.errors import ConfigurationError
from leaderlock.url import StoreURL

_SOURCE = "stage"


class Stage(Backend):
    """One election, which nobody wins before `choose`. A heartbeat changes nothing here."""

    schemes = ("stage",)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._waiting: dict[str, Attempt] = {}
        self._holder: Attempt | None = None
        self._payload: bytes | None = None  # of whoever leads, here or elsewhere
        self._token = 0
        self._granted_at = 0.0
        self._chosen = False
        self._verdict = Renewal.TAKEN  # what one that does not lead is told
        self._watchers: dict[object, Callable[[], None]] = {}

    # For the test

    def choose(self) -> None:
        """The next campaign, or one that waits, wins."""
        with self._lock:
            self._chosen = True
            self._holder = self._payload = None
        self._wake()

    def withdraw(self) -> None:
        """The choice has not been taken up."""
        with self._lock:
            self._chosen = False

    def let_lead(self, payload: bytes | None, verdict: Renewal = Renewal.TAKEN) -> None:
        """Somebody else leads, or nobody; a leader hears `verdict` in its next heartbeat."""
        with self._lock:
            self._verdict = verdict
            self._holder, self._payload = None, payload
            self._token += payload is not None
        self._wake()

    # For the elector

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        # As with a queue, a candidate that resigned need not hold back: nobody else is there.
        return Capabilities(
            linearizable=True, event_driven=True, fifo=True, min_ttl=0.001, max_ttl=1e9
        )

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        raise ConfigurationError("a stage is made by leaderlock.testing.FakeElection")

    @property
    def capabilities(self) -> Capabilities:
        return self.limits(StoreURL(scheme="stage"))

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with self._lock:
            if self._chosen:
                self._chosen = False
                self._waiting.pop(attempt.attempt_id, None)
                self._holder, self._payload = attempt, attempt.payload
                self._token += 1
                self._granted_at = self.settings.clock.now()
            elif self._holder is None or self._holder.attempt_id != attempt.attempt_id:
                self._waiting[attempt.attempt_id] = attempt
                return Waiting()
            answer = Granted(token=self._token, source=_SOURCE, sent_at=self._granted_at)
        self._wake()
        return answer

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        # As of the grant: time passes, and leases end, only where the test says so.
        with self._lock:
            holder = self._holder.attempt_id if self._holder else ""
            outcomes = {
                a.attempt_id: Renewal.RENEWED if a.attempt_id == holder else self._verdict
                for a in attempts
            }
            return Renewed(outcomes=outcomes, sent_at=self._granted_at)

    def release(self, attempt: Attempt) -> None:
        with self._lock:
            self._waiting.pop(attempt.attempt_id, None)
            if self._holder is None or self._holder.attempt_id != attempt.attempt_id:
                return
            self._holder = self._payload = None
        self._wake()

    def leader(self, election: str) -> Reading:
        with self._lock:
            return Reading(payload=self._payload, token=self._token, source=_SOURCE)

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        key = object()
        with self._lock:
            self._watchers[key] = wake

        def unwatch() -> None:
            with self._lock:
                self._watchers.pop(key, None)

        return unwatch

    def close(self) -> None:
        """Nothing to let go of."""

    def _wake(self) -> None:
        with self._lock:
            waiting = [attempt.wake for attempt in self._waiting.values()] if self._chosen else []
            wakes = waiting + list(self._watchers.values())
        for wake in wakes:
            wake()
