"""connect(): one session with a store, and any number of elections over it."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from leaderlock.backends.base import Backend, Settings
from leaderlock.clock import BOOT_CLOCK, Clock
from leaderlock.config import Config, resolve, resolve_for_backend
from leaderlock.runtime import Runtime
from leaderlock.timing import Timing

if TYPE_CHECKING:
    from leaderlock.callbacks import OnElected, OnLeaderChange, OnLost
    from leaderlock.elector import LeaderElector

_EXIT_GRACE = 2.0


class Client:
    """One store, one session with it, a constant number of threads, any number of electors.

    It connects with the first use, and again after `close()`. Made by `connect()`.
    """

    def __init__(self, config: Config, backend: Backend | None = None) -> None:
        self.config = config
        self._given_backend = backend
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._ended = threading.Event()  # set while there is no runtime, not even an ending one
        self._ended.set()
        self._electors: weakref.WeakSet[LeaderElector] = weakref.WeakSet()
        self._contending: set[LeaderElector] = set()  # live on even if the program lets them go
        _clients.add(self)

    @property
    def timing(self) -> Timing:
        """Every duration of the elections of this client, in seconds."""
        return self.config.timing

    @property
    def clock(self) -> Clock:
        """The clock that its terms are believed by."""
        return BOOT_CLOCK if self._given_backend is None else self._given_backend.settings.clock

    def elector(
        self,
        election: str,
        *,
        candidate_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_elected: OnElected | None = None,
        on_lost: OnLost | None = None,
        on_leader_change: OnLeaderChange | None = None,
    ) -> LeaderElector:
        """An elector that shares this client's session. See `LeaderElector`.

        Raises:
            ConfigurationError: a value that cannot be used.
        """
        from leaderlock.elector import LeaderElector

        return LeaderElector(
            self,
            election,
            candidate_id=candidate_id,
            metadata=metadata,
            on_elected=on_elected,
            on_lost=on_lost,
            on_leader_change=on_leader_change,
        )

    def close(self, timeout: float | None = None) -> bool:
        """Stop every elector of this client and end the session.

        Returns after at most `timeout` seconds (default: `timing.stop_timeout`), also when the
        store is dead. Called from a callback or from work under one of its terms, it returns at
        once and the rest happens when that has ended.

        Returns:
            Whether everything has been seen to be released.
        """
        bound = self.timing.stop_timeout if timeout is None else timeout
        end = time.monotonic() + bound
        electors = list(self._electors)
        for elector in electors:
            elector._begin_stop()
        if any(elector._candidate.is_own_thread() for elector in electors):
            threading.Thread(
                target=self.close, args=(bound,), name="leaderlock-close", daemon=True
            ).start()
            return False
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is None:
            return self._ended.wait(bound)
        try:
            done = [e._candidate.stop(max(0.0, end - time.monotonic())) for e in electors]
            runtime.close(max(0.0, end - time.monotonic()))
            if self._given_backend is None:
                _close_backend(runtime.backend, max(0.0, end - time.monotonic()))
        finally:
            self._contending.clear()
            _open.discard(self)
            self._ended.set()
        return all(done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<leaderlock.Client {self.config.url}>"

    # For the electors

    def runtime(self) -> Runtime:
        """The threads and the session, made on first use."""
        with self._lock:
            if self._runtime is None:
                self._runtime = Runtime(self._make_backend(), self.timing, self.clock)
                self._ended.clear()
                _open.add(self)
            return self._runtime

    def add(self, elector: LeaderElector) -> None:
        """Have an elector stopped when this client is closed."""
        self._electors.add(elector)

    def keep(self, elector: LeaderElector) -> None:
        """The elector contends: it is kept until `forget`, even if nobody else holds it."""
        self._contending.add(elector)

    def forget(self, elector: LeaderElector) -> None:
        """The elector has stopped."""
        self._contending.discard(elector)

    def _make_backend(self) -> Backend:
        if self._given_backend is not None:
            return self._given_backend
        settings = Settings(
            ttl=self.timing.ttl,
            request_timeout=self.timing.request_timeout,
            namespace=self.config.namespace,
            clock=self.clock,
        )
        return self.config.backend.from_url(self.config.url, settings)

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's session may be used, or closed."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        runtime, self._runtime = self._runtime, None
        self._contending.clear()
        _open.discard(self)
        for elector in list(self._electors):
            elector._after_fork()
        if runtime is not None:
            runtime.backend.abandon()


def connect(store: str | Backend | None = None, **settings: Any) -> Client:
    """A client for many elections over one session.

    Args:
        store: a store URL, or a ready backend (which is then not closed by us); default: the
            environment's LEADERLOCK_URL.
        settings: ttl, heartbeat, request_timeout, stop_grace, drain_timeout (seconds), namespace,
            epoch, and the options of the store.

    Raises:
        ConfigurationError: a value that cannot be used. Nothing is connected yet.
    """
    if isinstance(store, Backend):
        return Client(resolve_for_backend(store, settings), store)
    return Client(resolve({"url": store, **settings}, election_required=False))


def _close_backend(backend: Backend, timeout: float) -> None:
    """Close it, without waiting for a store that does not let go."""
    closing = threading.Thread(target=backend.close, name="leaderlock-close", daemon=True)
    closing.start()
    closing.join(timeout)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_open: set[Client] = set()  # those with a session, kept even if the program lets them go


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client.after_fork()


def _close_all() -> None:
    """At the end of the process: hand over now, instead of when the leases have run out."""
    for client in list(_open):
        client.close(min(client.timing.stop_timeout, _EXIT_GRACE))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
