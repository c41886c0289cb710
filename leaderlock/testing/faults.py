"""FaultyBackend: any backend, with the faults of a network and of a store on demand.

    faulty = FaultyBackend(backend)
    with LeaderElector(faulty, "billing") as elector:
        elector.wait_elected(timeout=5)
        with faulty.hanging("renew"):
            ...                         # is_leader turns False by the deadline, on_lost is called

Every fault lasts for a `with` block. Without method names it meets every request, with `times`
only the next few. Of several faults for one method the innermost acts.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self, TypeVar

from leaderlock.backends.base import (
    Attempt,
    Backend,
    Granted,
    Reading,
    Renewed,
    Settings,
    Waiting,
)
from leaderlock.capabilities import Capabilities
from leaderlock.errors import (
    BackendRefused,
    BackendUnavailable,
    ConfigurationError,
    LeaderLockError,
)
from leaderlock.url import StoreURL

T = TypeVar("T")

REQUESTS = ("campaign", "renew", "release", "leader")
"""The methods that ask the store something."""


class Fault(ABC):
    """What happens to the calls that a `with` block of a `FaultyBackend` meets."""

    def __init__(self, methods: Sequence[str], times: int | None) -> None:
        unknown = set(methods) - set(REQUESTS)
        if unknown:
            raise ConfigurationError(
                f"no request is called {sorted(unknown)}; known are {', '.join(REQUESTS)}"
            )
        self._methods = methods or REQUESTS
        self._left = times
        self._hits = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()

    @property
    def hits(self) -> int:
        """How many calls it has met so far."""
        with self._changed:
            return self._hits

    def wait_hit(self, hits: int = 1, timeout: float = 10.0) -> bool:
        """Wait until it has met so many calls. False: not within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._hits >= hits, timeout)

    # For FaultyBackend

    def meets(self, method: str) -> bool:
        """Whether it acts on this call, which is then counted."""
        with self._changed:
            if method not in self._methods or self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            self._hits += 1
            self._changed.notify_all()
            return True

    @abstractmethod
    def carry_out(self, request: Callable[[], T]) -> T:
        """Do to one call what this fault does."""

    def end(self) -> None:
        """The block is over: let go of the calls that are held up."""
        self._ended.set()


class _LostRequest(Fault):
    def carry_out(self, request: Callable[[], T]) -> T:
        raise BackendUnavailable("injected fault: the request was lost")


class _LostReply(Fault):
    def carry_out(self, request: Callable[[], T]) -> T:
        request()
        raise BackendUnavailable("injected fault: the reply was lost")


class _Refusal(Fault):
    def carry_out(self, request: Callable[[], T]) -> T:
        raise BackendRefused("injected fault: the request was refused")


class _Hang(Fault):
    def carry_out(self, request: Callable[[], T]) -> T:
        self._ended.wait()
        return request()


class _DelayedReply(Fault):
    def __init__(self, methods: Sequence[str], times: int | None, seconds: float | None) -> None:
        super().__init__(methods, times)
        self._seconds = seconds

    def carry_out(self, request: Callable[[], T]) -> T:
        answer = request()
        self._ended.wait(self._seconds)
        return answer


class _Freeze(Fault):
    def __init__(self, methods: Sequence[str], times: int | None, patience: float) -> None:
        super().__init__(methods, times)
        self._patience = patience
        self._late: list[Callable[[], object]] = []

    def carry_out(self, request: Callable[[], T]) -> T:
        if self._ended.wait(self._patience) or not self._put_off(request):
            return request()
        raise BackendUnavailable("injected fault: no answer in time")

    def end(self) -> None:
        with self._changed:
            super().end()
        for request in self._late:
            with contextlib.suppress(LeaderLockError):  # nobody waits for the answer
                request()

    def _put_off(self, request: Callable[[], object]) -> bool:
        with self._changed:
            if self._ended.is_set():
                return False
            self._late.append(request)
            return True


F = TypeVar("F", bound=Fault)


class FaultyBackend(Backend):
    """Passes everything on to `inner`, but for the faults that are being injected.

    Settings, capabilities and schemes are those of `inner`.
    """

    schemes = ()

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.settings)
        vars(self).update(schemes=inner.schemes, options=inner.options)
        self.inner = inner
        self._lock = threading.Lock()
        self._faults: list[Fault] = []  # the innermost first
        self._calls: Counter[str] = Counter()

    @property
    def calls(self) -> Mapping[str, int]:
        """How often each method has been called so far, whatever became of the call."""
        with self._lock:
            return self._calls.copy()

    # The faults

    def losing_requests(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """The store never sees the request: `BackendUnavailable` at once."""
        return self._injecting(_LostRequest(methods, times))

    def losing_replies(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """The store does what it is asked, and `BackendUnavailable` is all that is heard of it."""
        return self._injecting(_LostReply(methods, times))

    def refusing(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """`BackendRefused`, as for wrong credentials. The store does nothing."""
        return self._injecting(_Refusal(methods, times))

    def hanging(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """The call does not come back before the block ends; only then is it carried out.

        What a backend must not do, and a client library may do nevertheless.
        """
        return self._injecting(_Hang(methods, times))

    def delaying_replies(
        self, *methods: str, seconds: float | None = None, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """The store does what it is asked; the answer takes `seconds`, or until the block ends."""
        return self._injecting(_DelayedReply(methods, times, seconds))

    def freezing(
        self, *methods: str, times: int | None = None
    ) -> contextlib.AbstractContextManager[Fault]:
        """The store stands still, as under SIGSTOP.

        Calls raise `BackendUnavailable` after `settings.request_timeout` real seconds. What they
        asked for is carried out when the block ends, though nobody waits for it any more.
        """
        return self._injecting(_Freeze(methods, times, self.settings.request_timeout))

    @contextlib.contextmanager
    def _injecting(self, fault: F) -> Iterator[F]:
        with self._lock:
            self._faults.insert(0, fault)
        try:
            yield fault
        finally:
            with self._lock:
                self._faults.remove(fault)
            fault.end()

    # The backend

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        raise ConfigurationError(f"{cls.__name__} has no URL: wrap a backend that you have made")

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        raise ConfigurationError(f"{cls.__name__} has no URL: wrap a backend that you have made")

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        return self._call("campaign", lambda: self.inner.campaign(attempt))

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        return self._call("renew", lambda: self.inner.renew(attempts))

    def release(self, attempt: Attempt) -> None:
        self._call("release", lambda: self.inner.release(attempt))

    def leader(self, election: str) -> Reading:
        return self._call("leader", lambda: self.inner.leader(election))

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        self._count("watch")
        return self.inner.watch(election, wake)

    def close(self) -> None:
        self._count("close")
        self.inner.close()

    def abandon(self) -> None:
        self.inner.abandon()

    def _count(self, method: str) -> Fault | None:
        """Returns the fault that the call meets."""
        with self._lock:
            self._calls[method] += 1
            return next((fault for fault in self._faults if fault.meets(method)), None)

    def _call(self, method: str, request: Callable[[], T]) -> T:
        fault = self._count(method)
        return request() if fault is None else fault.carry_out(request)
