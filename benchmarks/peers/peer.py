"""What every peer needs to contend: a thread that takes its lock, keeps it, and takes it again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from urllib.parse import parse_qs, urlsplit

from leaderlock.testing.chaos.contender import Note

_PAUSE = 0.1


class Peer(ABC):
    """A lock, and the loop around it that its documentation leaves to the program.

    An error ends the term, as it would end a `with` block. After a term it stands back for a
    moment, so that another candidate gets the lock.

    Attributes:
        token: None: not one of these locks hands out a token.
        ttl: the lease, in seconds.
        timeout: for a request, where the library has a setting for it.
        servers: (host, port) of each.
    """

    token = None

    def __init__(self, url: str, election: str, note: Note) -> None:
        parts = urlsplit(url)
        self.ttl = float(parse_qs(parts.query)["ttl"][0])
        self.timeout = self.ttl / 3
        self.servers = [
            (host, int(port))
            for host, _, port in (each.rpartition(":") for each in parts.netloc.split(","))
        ]
        self.election = election
        self.note = note
        self.stopped = threading.Event()
        self._term_over = threading.Event()
        self._connected = self._acquired = False
        self._released = True
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="contends", daemon=True)

    @abstractmethod
    def connect(self) -> None:
        """Make the client. Tried again after an error."""

    @abstractmethod
    def acquire(self) -> bool:
        """Wait for the lock: for a ttl or so, or until `interrupt`."""

    @abstractmethod
    def is_held(self) -> bool:
        """The library's own answer, which may well be asked of the store."""

    @abstractmethod
    def release(self) -> None:
        """Let go of the lock."""

    @abstractmethod
    def close(self) -> None:
        """End the client."""

    def keep(self) -> None:  # noqa: B027
        """Renew the lease, where the library does not do it by itself; three times in a ttl."""

    def interrupt(self) -> None:  # noqa: B027
        """End an `acquire` that has no deadline."""

    @property
    def is_leader(self) -> bool:
        if not self._acquired or self._term_over.is_set():
            return False
        try:
            return self.is_held()
        except Exception as error:  # whatever it is: nobody has said that the lock is held
            self._complain(error)
            return False

    def start(self) -> None:
        self._thread.start()

    def resign(self) -> None:
        self._term_over.set()

    def stop(self) -> bool:
        self.stopped.set()
        self._term_over.set()
        self.interrupt()
        self._thread.join()
        if self._connected:
            self.close()
        return self._released

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                if not self._connected:
                    self.connect()
                    self._connected = True
                self._lead()
            except Exception as error:  # a program that contends goes on contending
                self._complain(error)
            self.stopped.wait(_PAUSE)

    def _lead(self) -> None:
        if not self.acquire():
            return
        self._released = False
        self._term_over.clear()
        self._acquired = True
        try:
            while not self.stopped.is_set() and not self._term_over.wait(self.ttl / 3):
                self.keep()
                if not self.is_held():
                    break
        finally:
            self._acquired = False
            self.release()
        self._released = True
        self.stopped.wait(self.ttl / 3)

    def _complain(self, error: Exception) -> None:
        """Log an error, but not over and over: it is asked a thousand times a second."""
        if (complaint := repr(error)[:200]) != self._complaint:
            self._complaint = complaint
            self.note("raised", error=complaint)
