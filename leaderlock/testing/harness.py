"""What the conformance suite has to know of a store, and to do to it.

    class TestMyStore(BackendConformance):
        @pytest.fixture
        def harness(self, server):
            with MyStoreHarness(server) as harness:
                yield harness

What differs between stores is said here or in `Capabilities`, and the suite checks either side of
it: a store that cannot be frozen has to answer all the while. No case is ever skipped.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

from leaderlock.backends.base import Backend, Settings
from leaderlock.clock import BOOT_CLOCK, Clock
from leaderlock.testing.faults import REQUESTS

NAMESPACE = "conformance"


class BackendHarness(ABC):
    """One store under test, and any number of clients of it.

    Attributes:
        ttl: a lease, in seconds, that outlives every case.
        short_ttl: a lease for the cases that let one run out; not so short that a busy machine
            cannot keep it.
        request_timeout: for cases in which the store answers, in seconds.
        short_timeout: for cases in which it does not; less than two ninths of short_ttl, so that
            electors accept both.
        slack: how late, in seconds, anything may come because the machine is busy.
        patience: when to give up, in seconds, what has to come but need not be quick.
        clock: the clock that leases are believed by.
        frozen_requests: the methods that a frozen store leaves without an answer; it has to
            answer the others. Empty if nothing can freeze it.
        breaks: whether `break_store` does something.
        deletes: whether `delete_leader` does something.
    """

    ttl: float = 30.0
    short_ttl: float = 1.0
    request_timeout: float = 2.0
    short_timeout: float = 0.2
    slack: float = 1.5
    patience: float = 20.0
    clock: Clock = BOOT_CLOCK
    frozen_requests: ClassVar[frozenset[str]] = frozenset(REQUESTS)
    breaks: ClassVar[bool] = True
    deletes: ClassVar[bool] = True

    def __init__(self) -> None:
        self._made: list[Backend] = []

    @abstractmethod
    def make_backend(self, settings: Settings) -> Backend:
        """One more client of the same store, with a session or connection of its own."""

    @abstractmethod
    def freeze(self) -> None:
        """Have the store answer none of `frozen_requests`, as under SIGSTOP, until `thaw`."""

    @abstractmethod
    def thaw(self) -> None:
        """Let the store go on. Harmless when it is not frozen."""

    @abstractmethod
    def break_store(self) -> None:
        """Make the store unusable (server killed, file damaged) until `mend_store`."""

    @abstractmethod
    def mend_store(self) -> None:
        """Make it usable again. Harmless when it is."""

    @abstractmethod
    def delete_leader(self, election: str) -> None:
        """Take the lease away from its holder, in NAMESPACE, behind the back of all clients.

        What an operator may do; the counter of the tokens has to survive it.
        """

    @abstractmethod
    def written(self) -> object:
        """Something that is equal to what it was before unless the store was written to since."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass on the clock of the leases: by waiting, unless that clock can be moved."""
        if seconds > 0:
            threading.Event().wait(seconds)

    @contextlib.contextmanager
    def stalled(self, backend: Backend) -> Iterator[None]:
        """Let nothing but `renew` keep this client's leases, as if its process were paused.

        Only for clients that keep a session alive by threads of their own; others have nothing to
        do here.
        """
        yield

    def new_backend(
        self,
        *,
        ttl: float | None = None,
        request_timeout: float | None = None,
        namespace: str = NAMESPACE,
    ) -> Backend:
        """One more client; `close_backends` closes it."""
        backend = self.make_backend(
            Settings(
                ttl=self.ttl if ttl is None else ttl,
                request_timeout=(
                    self.request_timeout if request_timeout is None else request_timeout
                ),
                namespace=namespace,
                clock=self.clock,
            )
        )
        self._made.append(backend)
        return backend

    def close_backends(self) -> None:
        """After each case: close the clients that it has made."""
        made, self._made = self._made, []
        with contextlib.ExitStack() as stack:
            for backend in made:
                stack.callback(backend.close)

    def close(self) -> None:
        """At the end: leave nothing behind."""
        self.thaw()
        self.mend_store()
        self.close_backends()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
