"""What contends in a candidate's process: leaderlock's elector, or anything else with a lock.

A kind of contender is a factory, found by name: "leaderlock", or "module:function" for one that
is called as `make(url, election, note)`. What `note("elected", token=..., ...)` tells is logged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from leaderlock.backends.base import Attempt, Backend, Granted, Settings, Waiting
from leaderlock.config import resolve
from leaderlock.elector import LeaderElector
from leaderlock.leadership import Leadership
from leaderlock.machine import LossReason

Note = Callable[..., None]


class Contender(Protocol):
    """One who contends, as the harness sees it. Every method may be called from any thread."""

    @property
    def is_leader(self) -> bool:
        """Whether it says now that it leads."""

    @property
    def token(self) -> int | None:
        """The present term's, None if it has none."""

    def start(self) -> None:
        """Contend from now on, and again after every loss."""

    def resign(self) -> None:
        """Give the present term up."""

    def stop(self) -> bool:
        """End, and return whether the store is known to hold nothing any more."""


class Elector:
    """leaderlock's own: a `LeaderElector` on a backend that logs the attempts.

    Args:
        break_backend: changes the backend first; for negative controls.
    """

    def __init__(
        self,
        url: str,
        election: str,
        note: Note,
        break_backend: Callable[[Backend], Backend] = lambda backend: backend,
    ) -> None:
        self._note = note
        self._attempts: dict[int, str] = {}  # by token
        self._last_attempt = ""
        self._backend = break_backend(_connect(url))
        self._campaign = self._backend.campaign
        self._backend.campaign = self._noted_campaign  # type: ignore[method-assign]
        self._elector = LeaderElector(
            self._backend, election, on_elected=self._elected, on_lost=self._lost
        )

    @property
    def is_leader(self) -> bool:
        return self._elector.is_leader

    @property
    def token(self) -> int | None:
        leadership = self._elector.leadership
        return None if leadership is None else leadership.token.value

    def start(self) -> None:
        self._elector.start()

    def resign(self) -> None:
        self._elector.resign()

    def stop(self) -> bool:
        released = self._elector.stop()
        self._backend.close()
        return released

    def _noted_campaign(self, attempt: Attempt) -> Granted | Waiting:
        if attempt.attempt_id != self._last_attempt:
            self._last_attempt = attempt.attempt_id
            self._note("attempt", attempt=attempt.attempt_id)
        answer = self._campaign(attempt)
        if isinstance(answer, Granted):
            self._attempts[answer.token] = attempt.attempt_id
        return answer

    def _elected(self, leadership: Leadership) -> None:
        token = leadership.token
        attempt = self._attempts[token.value]
        self._note("elected", token=token.value, source=token.source, attempt=attempt)

    def _lost(self, leadership: Leadership, reason: LossReason) -> None:
        self._note("lost", token=leadership.token.value, reason=reason.value)


def find(kind: str) -> Callable[[str, str, Note], Contender]:
    """The factory of a kind of contender."""
    if kind == "leaderlock":
        return Elector
    module, _, name = kind.partition(":")
    made: Any = getattr(importlib.import_module(module), name)
    return made  # type: ignore[no-any-return]


def _connect(url: str) -> Backend:
    config = resolve({"url": url}, election_required=False)
    settings = Settings(
        ttl=config.timing.ttl,
        request_timeout=config.timing.request_timeout,
        namespace=config.namespace,
    )
    return config.backend.from_url(config.url, settings)
