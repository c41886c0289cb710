"""What a contestant can do. It runs in a worker, maybe by another Python: nothing else is imported.

Each one is used as its documentation says; the module quotes the page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit


class Lock(ABC):
    """One election, of one candidate."""

    @abstractmethod
    def acquire(self) -> None:
        """Wait until it leads."""

    @abstractmethod
    def release(self) -> None:
        """Give it up, so that the next may lead."""

    def keep(self) -> None:  # noqa: B027
        """Prolong it, three times in a ttl, where the library leaves that to the program."""

    def cycle(self) -> None:
        """Be elected and resign, with nobody else there."""
        self.acquire()
        self.release()

    def asks(self) -> Mapping[str, Callable[[], object]]:
        """How a leader asks whether it still leads: what is called, and the call."""
        return {}


class Contestant(ABC):
    """A client of the store, from which all locks of a process are made."""

    def __init__(self, url: str, ttl: float) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 0
        self.url = url
        self.ttl = ttl
        self.connect()

    @abstractmethod
    def connect(self) -> None:
        """Make the client, once for a process."""

    @abstractmethod
    def lock(self, name: str) -> Lock:
        """The election of this name."""

    def idle(self) -> None:  # noqa: B027
        """Called every second between two orders; a raw session pings here."""
