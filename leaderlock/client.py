"""connect(): one session with a store, and any number of elections over it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from leaderlock.backends.base import Backend, Settings
from leaderlock.callbacks import require_callable
from leaderlock.clock import BOOT_CLOCK, Clock
from leaderlock.config import Config, resolve, resolve_for_backend, with_store
from leaderlock.interrupt import Begun, apart_if_interrupting
from leaderlock.runtime import Runtime
from leaderlock.stream import Listener, Stream
from leaderlock.timing import Timing, bounded_time

if TYPE_CHECKING:
    from leaderlock.any_elector import AnyElector
    from leaderlock.callbacks import OnElected, OnLeaderChange, OnLost
    from leaderlock.elector import LeaderElector
    from leaderlock.telemetry.events import Event

T = TypeVar("T")

log = logging.getLogger("leaderlock")

_EXIT_GRACE = 2.0


class _Ending:
    """The end of a session. Whoever closes the client meanwhile waits for the same one."""

    def __init__(self, *, over: bool = False) -> None:
        self.over = threading.Event()
        self.clean = over
        if over:
            self.over.set()

    def wait(self, timeout: float) -> bool:
        """Whether within `timeout` seconds everything is known to be released."""
        return self.over.wait(timeout) and self.clean


class ClientFront:
    """Another front of a client. An elector that is made on it shares that client."""

    _client: Client


class Client:
    """One store, one session with it, a constant number of threads, any number of electors.

    It connects with the first use, and again after `close()`. Made by `connect()`.
    """

    def __init__(self, config: Config, backend: Backend | None = None) -> None:
        self.config = config
        self._given_backend = backend
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._at_loss: weakref.finalize[..., Client] | None = None  # when nobody holds us any more
        self.stream = Stream()
        self._ending = _Ending(over=True)  # of the last session that was closed
        self._electors: weakref.WeakSet[AnyElector[Any]] = weakref.WeakSet()
        self._contending: set[AnyElector[Any]] = set()  # live on even if the program lets them go
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
        healthy: Callable[[], object] | None = None,
        beat_timeout: float | None = None,
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
            healthy=healthy,
            beat_timeout=beat_timeout,
        )

    def subscribe(
        self, listener: Callable[[Event], T], *kinds: type[Event]
    ) -> Callable[[Event], T]:
        """Call `listener(event)` for the events of all electors of this client. Also a decorator.

        One at a time, on a thread of leaderlock: it holds up other listeners here, but no callback
        of an elector. What it raises is logged. Of electors that are made later, too.

        Args:
            kinds: classes of `leaderlock.telemetry.events`. Default: every one but those that come
                with each heartbeat (`Renewed`, `RenewFailed`, `Heartbeat`). `LeaderChanged` has
                the leader of each election observed, and so costs a watch for each at the store.

        Raises:
            ConfigurationError: it cannot be called with an event, or a kind is none.
        """
        require_callable("listener", listener, 1)
        self.stream.add(Listener(listener, kinds))
        for elector in self.electors:
            elector._follow_leader()
        return listener

    def close(self, timeout: float | None = None) -> bool:
        """Stop every elector of this client and end the session.

        Returns after at most `timeout` seconds (default: `timing.stop_timeout`), also when the
        store is dead. Called from a callback or from work under one of its terms, or from a signal
        handler that interrupts leaderlock, it returns at once and the rest happens when that has
        ended.

        Returns:
            Whether everything has been seen to be released.
        """
        end = time.monotonic() + bounded_time(timeout, self.timing.stop_timeout)
        return apart_if_interrupting(partial(self._close, end))

    def _close(self, end: float, begun: Begun) -> bool:
        finish = self.begin_close()
        begun()
        if any(elector._candidate.waits_for() for elector in list(self._electors)):
            threading.Thread(
                target=finish, args=(end,), name="leaderlock-close", daemon=True
            ).start()
            return self._ending.wait(0.0)
        return finish(end)

    def begin_close(self) -> Callable[[float], bool]:
        """Have every elector stop; does not wait.

        Returns:
            What has to be called to end the session, with the time (of `time.monotonic`) until
            which it may wait. It tells whether everything has been seen to be released.
        """
        with self._lock:
            runtime = self._take_runtime()
            if runtime is not None:
                self._ending = _Ending()
            ending, electors = self._ending, list(self._electors)
        if runtime is not None:
            for elector in electors:
                elector._begin_stop(runtime)

        def finish(end: float) -> bool:
            if runtime is not None:
                self._finish(runtime, electors, ending, end)
            return ending.wait(max(0.0, end - time.monotonic()))

        return finish

    def _finish(
        self, runtime: Runtime, electors: Sequence[AnyElector[Any]], ending: _Ending, end: float
    ) -> None:
        """Wait for what has begun to stop, and end its session."""
        candidates = [elector._candidate for elector in electors]
        try:
            done = [c.wait_rest(max(0.0, end - time.monotonic()), runtime) for c in candidates]
            runtime.close(max(0.0, end - time.monotonic()))
            for candidate in candidates:
                candidate.abandon(runtime)
            if self._given_backend is None:
                _close_backend(runtime.backend, max(0.0, end - time.monotonic()))
            ending.clean = all(done)
        finally:
            with self._lock:
                self._contending = {e for e in self._contending if e._candidate.contends}
                if not self._contending:
                    _open.discard(self)
            ending.over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<leaderlock.Client {self.config.url}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied: its session is of this process alone; hand on "
            "the URL, and make one there"
        )

    # For the electors

    @property
    def electors(self) -> list[AnyElector[Any]]:
        """Those that the program holds, or that contend."""
        with self._lock:
            return list(self._electors)

    def runtime(self) -> Runtime:
        """The threads and the session, made on first use."""
        with self._lock:
            return self._present_runtime()

    def _present_runtime(self) -> Runtime:
        if self._runtime is None:
            backend = self._make_backend()
            self._runtime = Runtime(backend, self.timing, self.clock, self.stream)
            self.stream.open(self._runtime.callbacks)
            own = None if self._given_backend is not None else self._runtime.backend
            self._at_loss = weakref.finalize(self, _let_go, self._runtime, own)
            self._at_loss.atexit = False
        return self._runtime

    def _take_runtime(self) -> Runtime | None:
        runtime, self._runtime = self._runtime, None
        if self._at_loss is not None:
            self._at_loss.detach()
        return runtime

    @property
    def is_closed(self) -> bool:
        """Whether its last session has ended, with everything known to be released."""
        return self._runtime is None and self._ending.wait(0.0)

    @property
    def contends(self) -> bool:
        """Whether an elector of this client has been started and not stopped. Takes no lock."""
        return bool(self._contending)

    def add(self, elector: AnyElector[Any]) -> None:
        """Have an elector stopped when this client is closed."""
        with self._lock:
            self._electors.add(elector)

    def start(self, elector: AnyElector[Any]) -> None:
        """Have an elector contend. It is kept until `forget`, even if nobody else holds it."""
        with self._lock:  # so that no `close` comes in between, and leaves it without threads
            elector._candidate.start(self._present_runtime())
            self._contending.add(elector)
            _open.add(self)

    def forget(self, elector: AnyElector[Any]) -> None:
        """The elector has stopped."""
        with self._lock:
            self._contending.discard(elector)
            if not self._contending:
                _open.discard(self)

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
        self._ending = _Ending(over=True)
        runtime = self._take_runtime()
        self._contending = set()
        self.stream.close()
        _open.discard(self)
        for elector in list(self._electors):
            elector._after_fork()
        backend = self._given_backend if runtime is None else runtime.backend
        if backend is not None:
            backend.abandon()


def connect(store: str | Backend | None = None, **settings: Any) -> Client:
    """A client for many elections over one session.

    Args:
        store: a store URL, or a ready backend (which is then not closed by us); default: the
            environment's LEADERLOCK_URL.
        settings: ttl, heartbeat, request_timeout, stop_grace, drain_timeout (seconds), namespace,
            epoch, and the options of the store. One of these is in place of a URL a client of
            yours: redis_client=, etcd_client=, consul_client= or kazoo_client=. Its hosts,
            credentials and TLS settings are used; it is neither used up nor closed.

    Raises:
        ConfigurationError: a value that cannot be used. Nothing is connected yet.
    """
    if isinstance(store, Backend):
        return Client(resolve_for_backend(store, settings), store)
    return Client(resolve(with_store(store, settings), election_required=False))


def _let_go(runtime: Runtime, backend: Backend | None) -> None:
    """End the session of a client that is gone, and that had no candidates: only observers.

    On a thread of its own, because the garbage collector may come at any moment, also where the
    thread that it interrupts holds a lock of this very session.
    """

    def end() -> None:
        runtime.close(0.0)
        if backend is not None:
            _close_backend(backend, 0.0)

    with suppress(RuntimeError):  # at the end of the process no thread is started any more
        threading.Thread(target=end, name="leaderlock-close", daemon=True).start()


def _close_backend(backend: Backend, timeout: float) -> None:
    """Close it, without waiting for a store that does not let go."""

    def close() -> None:
        try:
            backend.close()
        except Exception:
            log.exception("leaderlock.backend_fault operation=close")

    closing = threading.Thread(target=close, name="leaderlock-close", daemon=True)
    try:
        closing.start()
    except RuntimeError:  # at the end of the process, Python 3.12 and newer start none
        close()
    else:
        closing.join(timeout)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_open: set[Client] = set()  # those with candidates, kept even if the program lets them go


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client.after_fork()


def _close_all() -> None:
    """At the end of the process: hand over now, instead of when the leases have run out."""
    clients, end = list(_open), time.monotonic() + _EXIT_GRACE
    # All at the same time: one dead store must not hold up the others.
    for client, finish in [(client, client.begin_close()) for client in clients]:
        finish(min(time.monotonic() + client.timing.stop_timeout, end))


def close_all_first_at_exit() -> None:
    """Hand over before what was registered with atexit until now: an exporter of telemetry."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
close_all_first_at_exit()
