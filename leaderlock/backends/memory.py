"""memory://name: elections inside one process, for tests and for learning.

One store per process and name. It is a complete backend (leases expire, tokens rise), but it
elects among the electors of this process only; a forked child starts with empty stores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Election:
    token: int = 0
    holder: Attempt | None = None
    expires_at: float = 0.0
    waiting: dict[str, Attempt] = field(default_factory=dict)
    watchers: dict[object, Callable[[], None]] = field(default_factory=dict)

    def leads(self, attempt_id: str, now: float) -> bool:
        held = self.holder is not None and self.holder.attempt_id == attempt_id
        return held and now < self.expires_at

    def is_free(self, now: float) -> bool:
        return self.holder is None or now >= self.expires_at

    def wakes(self) -> list[Callable[[], None]]:
        return [attempt.wake for attempt in self.waiting.values()] + list(self.watchers.values())


class _Store:
    """The elections of one name, by (namespace, election)."""

    def __init__(self, parent: _Store | None = None) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        # Tokens go on from the parent's: its children have seen them.
        self._elections: dict[tuple[str, str], _Election] = {
            key: _Election(token=election.token)
            for key, election in (parent._elections if parent else {}).items()
        }

    def election(self, key: tuple[str, str]) -> _Election:
        return self._elections.setdefault(key, _Election())

    def look_up(self, key: tuple[str, str]) -> _Election:
        """The same, without leaving a trace of a name that is only read."""
        return self._elections.get(key) or _Election()


_stores: dict[str, _Store] = {}


def _store_named(name: str) -> _Store:
    store = _stores.setdefault(name, _Store())
    if store.pid != os.getpid():  # in a forked child: the parent's holders and locks mean nothing
        store = _stores[name] = _Store(store)
    return store


class MemoryBackend(Backend):
    """The elections of this process under one name."""

    schemes = ("memory",)

    def __init__(self, settings: Settings, name: str = "") -> None:
        super().__init__(settings)
        self._name = name
        self._store = _store_named(name)

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        if url.path not in ("", "/") or url.username or url.password:
            raise ConfigurationError(
                f"{url} has more than a name: write memory:// or memory://name"
            )
        return Capabilities(linearizable=True, event_driven=True, min_ttl=0.05, max_ttl=86_400.0)

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(settings, url.authority)

    @property
    def capabilities(self) -> Capabilities:
        return self.limits(StoreURL.parse("memory://"))

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with self._store.lock:
            election, now = self._election(attempt.election), self._now()
            if election.leads(attempt.attempt_id, now):
                election.expires_at = now + self.settings.ttl
            elif election.is_free(now):
                election.waiting.pop(attempt.attempt_id, None)
                election.token += 1
                election.holder = attempt
                election.expires_at = now + self.settings.ttl
            else:
                election.waiting[attempt.attempt_id] = attempt
                return Waiting(retry_after=election.expires_at - now)
            granted = Granted(token=election.token, source=self._source)
            watchers = list(election.watchers.values())
        _call_all(watchers)
        return granted

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        with self._store.lock:
            now = self._now()
            return Renewed(outcomes={a.attempt_id: self._renew(a, now) for a in attempts})

    def release(self, attempt: Attempt) -> None:
        with self._store.lock:
            election = self._election(attempt.election)
            election.waiting.pop(attempt.attempt_id, None)
            if election.holder is None or election.holder.attempt_id != attempt.attempt_id:
                return
            election.holder = None
            wakes = election.wakes()
        _call_all(wakes)

    def leader(self, election: str) -> Reading:
        with self._store.lock:
            now = self._now()
            state = self._store.look_up((self.settings.namespace, election))
            if state.holder is None or state.is_free(now):
                return Reading(token=state.token, source=self._source)
            return Reading(
                payload=state.holder.payload,
                token=state.token,
                source=self._source,
                recheck_after=state.expires_at - now,
            )

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        key = object()
        with self._store.lock:
            self._election(election).watchers[key] = wake

        def unwatch() -> None:
            with self._store.lock:
                self._election(election).watchers.pop(key, None)

        return unwatch

    def close(self) -> None:
        """Nothing to let go of: the store belongs to the process."""

    def abandon(self) -> None:
        self._store = _store_named(self._name)

    @property
    def _source(self) -> str:
        return f"memory:{self._name}"

    def _now(self) -> float:
        return self.settings.clock.now()

    def _election(self, name: str) -> _Election:
        return self._store.election((self.settings.namespace, name))

    def _renew(self, attempt: Attempt, now: float) -> Renewal:
        election = self._election(attempt.election)
        if not election.leads(attempt.attempt_id, now):
            return Renewal.TAKEN
        election.expires_at = now + self.settings.ttl
        return Renewal.RENEWED


def _call_all(wakes: list[Callable[[], None]]) -> None:
    """Outside the store's lock: a wake may lead straight back into it."""
    for wake in wakes:
        wake()
