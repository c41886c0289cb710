"""The session of a backend: made when it is needed, replaced when it is over, asked in time.

All that ZooKeeper or kazoo may raise becomes one of the two errors of the contract here.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kazoo.exceptions import (
    AuthFailedError,
    InvalidACLError,
    KazooException,
    NoAuthError,
    NoChildrenForEphemeralsError,
    SessionClosedRequireSaslError,
    UnimplementedError,
)
from kazoo.handlers.threading import KazooTimeoutError

from leaderlock.backends.base import Settings
from leaderlock.backends.zookeeper.requests import Answer
from leaderlock.backends.zookeeper.session import Session
from leaderlock.backends.zookeeper.target import Target
from leaderlock.errors import BackendRefused, BackendUnavailable

_REFUSALS: dict[type[Exception], str] = {
    NoAuthError: "the login has no right to these nodes: it is wrong, or another one made them "
    "(see the option acl)",
    AuthFailedError: "the login is wrong",
    SessionClosedRequireSaslError: "the servers ask for a login by SASL: set sasl, user and "
    "password",
    InvalidACLError: "the ACL does not suit the login",
    NoChildrenForEphemeralsError: "the namespace or the election is an ephemeral node, which "
    "something else has made",
    UnimplementedError: "the server is too old: 3.5 or newer is needed",
}


class Talk:
    """Requests over one session, all to be answered within one deadline."""

    def __init__(self, session: Session, end: float) -> None:
        self.session = session
        self._client = session.client
        self._end = end

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._end - time.monotonic())

    def send(self, request: Any) -> Answer:
        """Send a request, after those that were sent before."""
        answer = Answer()
        self._client._call(request, answer)
        return answer

    def wait(self, answer: Answer) -> Any:
        """What the answer says."""
        return answer.get(self.left)

    def ask(self, request: Any) -> Any:
        """Both."""
        return self.wait(self.send(request))


class Connection:
    """At most one session at a time, for all attempts and observers of a backend.

    Attributes:
        session: the present one; None before the first request.
    """

    def __init__(self, target: Target, settings: Settings, on_news: Callable[[], None]) -> None:
        self._target = target
        self._settings = settings
        self._on_news = on_news
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self.session: Session | None = None

    @contextlib.contextmanager
    def talk(self, session: Session | None = None) -> Iterator[Talk]:
        """Talk to the ensemble, over the given session or the present one.

        Raises:
            BackendUnavailable, BackendRefused: whatever goes wrong within the block.
        """
        end = time.monotonic() + self._settings.request_timeout
        try:
            session = session or self._present()
            session.wait_ready(end)
            yield Talk(session, end)
        except KazooTimeoutError as error:
            if session is not None:
                session.move_on()
            timeout = self._settings.request_timeout
            raise BackendUnavailable(f"no answer from ZooKeeper within {timeout:g} s") from error
        except KazooException as error:
            name = type(error).__name__
            if type(error) in _REFUSALS:
                raise BackendRefused(
                    f"ZooKeeper refuses ({name}): {_REFUSALS[type(error)]}"
                ) from error
            raise BackendUnavailable(
                f"no answer from ZooKeeper: {name} {error}".rstrip()
            ) from error

    def close(self) -> None:
        """End the session; there is no other one after it."""
        with self._lock:
            self._closed = True
            session = self.session
        if session is not None:
            session.close(self._settings.request_timeout)

    def abandon(self) -> None:
        """In a forked child: the session is the parent's."""
        session = self.session
        self._forget()
        if session is not None:
            session.abandon()

    def _present(self) -> Session:
        with self._lock:
            if self._closed:
                raise BackendUnavailable("this client has been closed")
            if self.session is None or self.session.over:
                if self.session is not None:
                    self.session.close()
                self.session = Session(self._target, self._settings, self._on_news)
            return self.session
