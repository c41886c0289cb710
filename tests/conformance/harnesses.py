"""The stores that the suite is run over here."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from pathlib import Path

from leaderlock.backends.base import Backend, Settings
from leaderlock.backends.memory import MemoryBackend
from leaderlock.backends.sqlite import SQLiteBackend
from leaderlock.testing import BackendHarness, FakeClock, FaultyBackend
from leaderlock.testing.harness import NAMESPACE

_stores = itertools.count()


class MemoryHarness(BackendHarness):
    """A store of its own in this process, on a clock that is moved. Nothing can fail in it."""

    short_ttl = 0.3
    short_timeout = 0.05
    frozen_requests = frozenset()
    breaks = False

    def __init__(self, backend_class: type[MemoryBackend] = MemoryBackend) -> None:
        super().__init__()
        self._clock = FakeClock()
        self.clock = self._clock
        self._backend_class = backend_class
        self._name = f"conformance-{next(_stores)}"
        settings = Settings(
            ttl=self.ttl,
            request_timeout=self.request_timeout,
            namespace=NAMESPACE,
            clock=self.clock,
        )
        self._operator = MemoryBackend(settings, self._name)

    def make_backend(self, settings: Settings) -> Backend:
        return self._backend_class(settings, self._name)

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def freeze(self) -> None:
        """Nothing in it can stand still."""

    def thaw(self) -> None:
        """It does not stand still."""

    def break_store(self) -> None:
        """Nothing in it can break."""

    def mend_store(self) -> None:
        """It is not broken."""

    def delete_leader(self, election: str) -> None:
        holder = self._operator._election(election).holder
        if holder is not None:
            self._operator.release(holder)

    def written(self) -> object:
        with self._operator._store.lock:
            return {
                key: (state.token, state.holder, state.expires_at, tuple(state.waiting))
                for key, state in self._operator._store._elections.items()
                if state.token or state.waiting
            }


class FaultyHarness(MemoryHarness):
    """The same with a network in between, which can fail."""

    frozen_requests = BackendHarness.frozen_requests
    breaks = True

    def __init__(
        self,
        backend_class: type[MemoryBackend] = MemoryBackend,
        wrapper: type[FaultyBackend] = FaultyBackend,
    ) -> None:
        super().__init__(backend_class)
        self._wrapper = wrapper
        self._faulty: list[FaultyBackend] = []
        self._faults = contextlib.ExitStack()

    def make_backend(self, settings: Settings) -> Backend:
        faulty = self._wrapper(super().make_backend(settings))
        self._faulty.append(faulty)
        return faulty

    def freeze(self) -> None:
        for faulty in self._faulty:
            self._faults.enter_context(faulty.freezing())

    def thaw(self) -> None:
        self._faults.close()

    def break_store(self) -> None:
        for faulty in self._faulty:
            self._faults.enter_context(faulty.refusing())

    def mend_store(self) -> None:
        self._faults.close()

    def close_backends(self) -> None:
        super().close_backends()
        self._faulty.clear()


class SQLiteHarness(BackendHarness):
    """A real file and the machine's clock."""

    frozen_requests = frozenset({"campaign", "renew", "release"})  # readers need no lock

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory / "store"
        self._directory.mkdir()
        self._path = self._directory / "election.db"
        self._moved = directory / "moved"
        self._locker: sqlite3.Connection | None = None

    def make_backend(self, settings: Settings) -> Backend:
        return SQLiteBackend(self._path, settings)

    def freeze(self) -> None:
        self._locker = self._connect()
        self._locker.execute("BEGIN EXCLUSIVE")

    def thaw(self) -> None:
        locker, self._locker = self._locker, None
        if locker is not None:
            locker.execute("ROLLBACK")
            locker.close()

    def break_store(self) -> None:
        self._directory.rename(self._moved)

    def mend_store(self) -> None:
        if self._moved.exists():
            self._moved.rename(self._directory)

    def delete_leader(self, election: str) -> None:
        """The row has to stay: it remembers the last token."""
        with contextlib.closing(self._connect()) as connection:
            connection.execute(
                "UPDATE leaderlock_elections SET attempt_id = NULL"
                " WHERE namespace = ? AND election = ?",
                (NAMESPACE, election),
            )

    def written(self) -> object:
        with contextlib.closing(self._connect()) as connection:
            return connection.execute("SELECT * FROM leaderlock_elections").fetchall()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
