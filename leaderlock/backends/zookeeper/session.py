"""One session with the ensemble: opened, kept alive, believed and ended."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable

from kazoo.exceptions import (
    AuthFailedError,
    KazooException,
    SASLException,
    SessionClosedRequireSaslError,
)
from kazoo.protocol.states import KazooState, KeeperState

from leaderlock.backends.base import Settings
from leaderlock.backends.network import TLS_CUT_OFF
from leaderlock.backends.zookeeper.client import make_client
from leaderlock.backends.zookeeper.proofs import Proofs
from leaderlock.backends.zookeeper.target import Target
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.machine import NEVER

_SHORTEST_SHARE = 0.7  # of the ttl asked for: with less, heartbeats do not fit into the lease


class Session:
    """A session, from its first connection to its end. It has a KazooClient of its own.

    Attributes:
        client: only to be asked asynchronously, and after `wait_ready`.
        id: what the servers write down as the owner of its ephemeral nodes.
        ttl: the timeout that the servers granted, in seconds; 0 before the first connection.
        over: it must not be used any more.
    """

    def __init__(self, target: Target, settings: Settings, on_news: Callable[[], None]) -> None:
        self.id = 0
        self.ttl = 0.0
        self.over = False
        self._target = target
        self._settings = settings
        self._on_news = on_news
        self._changed = threading.Condition()
        self._ready = False
        self._refusal = ""  # why the last try to connect cannot succeed
        self._trouble = ""  # the same, of one that can
        self._expired = False  # the servers have said that it is no more
        self._gone_by: float | None = None  # they keep it no longer, since we keep it no more
        self._proofs = Proofs()
        self._heard_at = NEVER  # when a server last answered
        self._closing: threading.Thread | None = None
        self.client = make_client(target, settings, self)
        self.client.add_listener(self._hear)
        try:
            self.client.start_async()
        except (OSError, RuntimeError) as error:  # no descriptors or threads are to be had
            raise BackendUnavailable(
                f"no connection to ZooKeeper can be opened: {error}"
            ) from error

    def wait_ready(self, end: float) -> None:
        """Wait until there is a connection, at the latest until `end` on time.monotonic.

        Never ask without it: kazoo keeps requests until it is connected again, and sends them
        when nobody waits for them any more.

        Raises:
            BackendUnavailable, BackendRefused: there is none.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ready or self.over or self._refusal, max(0.0, end - time.monotonic())
            )
            if self._refusal:
                raise BackendRefused(self._refusal)
            if self.over:
                raise BackendUnavailable("the session with ZooKeeper has ended")
            if not self._ready:
                trouble = self._trouble or "no answer in time"
                raise BackendUnavailable(f"no connection to ZooKeeper at {self._target}: {trouble}")

    def proved_at(self, sent_at: float) -> float:
        """From when the session certainly lives for its ttl, after a write sent at `sent_at`."""
        with self._changed:
            return self._proofs.since(sent_at, self.ttl)

    def unheard_for(self, now: float) -> float:
        """By how many seconds the belief of a term that is proved now falls short."""
        return now - self.proved_at(now)

    def move_on(self) -> None:
        """A request has timed out: have kazoo try another server, if this one is silent.

        kazoo itself waits two thirds of the session timeout, which is longer than any belief.
        """
        with self._changed:
            silent_for = self._settings.clock.now() - self._heard_at
        if len(self._target.hosts) > 1 and silent_for > self._settings.request_timeout / 2:
            self._cut()

    def is_gone(self) -> bool:
        """Whether the servers hold nothing of it any more."""
        with self._changed:
            late = self._gone_by is not None and self._settings.clock.now() >= self._gone_by
            return self._expired or late

    def close(self, patience: float = 0.0) -> None:
        """End it, and wait for the servers' word for at most `patience` seconds."""
        with self._changed:
            self.over = True
            self._changed.notify_all()
            if self._closing is None:
                self._closing = threading.Thread(
                    target=self._end, name="leaderlock-zookeeper-close", daemon=True
                )
                self._closing.start()
        self._closing.join(patience)

    def abandon(self) -> None:
        """In a forked child: close its copies of the descriptors without a word, take no locks."""
        self.over = True
        connection = self.client._connection
        for end in (connection._socket, connection._read_sock, connection._write_sock):
            if end is not None:
                end.close()

    # From here on: on kazoo's connection thread, but for the last.

    def is_out_of_touch(self) -> bool:
        """Whether no server has answered for so long that the session may have ended."""
        return self._settings.clock.now() > self._heard_at + self.ttl

    def connected(self, ttl: float, sent_at: float) -> None:
        """Opened, or moved to another server, by a request sent at `sent_at`."""
        with self._changed:
            asked, before, self.ttl = self._settings.ttl, self.ttl, ttl
            self.id = self.client._session_id
            self._proofs.restart(sent_at)
            self._heard_at = self._settings.clock.now()
            self._refusal = self._trouble = ""
            if ttl < _SHORTEST_SHARE * asked:
                self.over = True
                self._refusal = (
                    f"ZooKeeper grants sessions of at most {ttl:g} s, ttl={asked:g} was asked for: "
                    "lower it, or raise the servers' maxSessionTimeout"
                )
            # A server that keeps sessions for a shorter time may have let another in before
            # the terms, believed for the longer one, have ended: they end now.
            self.over = self.over or ttl < before
            self._ready = not self.over
            self._changed.notify_all()
        self._on_news()

    def failed(self, error: Exception) -> None:
        """A try to connect has failed."""
        tls = error if isinstance(error, ssl.SSLError) else error.__context__
        with self._changed:
            self._trouble = str(error)
            if isinstance(error, SessionClosedRequireSaslError) and self._target.sasl is None:
                self._refusal = "ZooKeeper asks for a login by SASL: set sasl, user and password"
            elif isinstance(error, AuthFailedError | SASLException | SessionClosedRequireSaslError):
                self._refusal = "ZooKeeper refuses the login: wrong user name or password"
            elif isinstance(tls, ssl.SSLError) and not isinstance(tls, TLS_CUT_OFF):
                self._refusal = f"no TLS with ZooKeeper at {self._target}: {tls}"
            self._changed.notify_all()

    def acknowledged(self, sent_at: float) -> None:
        """A server has answered what was sent to it at `sent_at`."""
        now = self._settings.clock.now()
        with self._changed:
            self._heard_at = now
            self._proofs.add(sent_at, now, self.ttl)

    def closed(self) -> None:
        """The servers have ended it because we asked for it."""
        with self._changed:
            self._expired = True

    def _hear(self, state: KazooState) -> None:
        """kazoo tells of its connection. SUSPENDED says nothing about the session."""
        if state == KazooState.CONNECTED:
            return  # the login is still to come
        with self._changed:
            self._ready = False
            if state == KazooState.LOST:
                self.over = True
                self._expired |= self.client.client_state == KeeperState.EXPIRED_SESSION
            self._changed.notify_all()
        if state == KazooState.LOST:
            self._on_news()

    def _end(self) -> None:
        # kazoo waits ten seconds and longer for a server that does not answer any more, and for
        # ever if its login was refused (#688, reverted by 2fb93a8).
        cut = threading.Timer(0.8 * self._settings.request_timeout, self._cut)
        cut.daemon = True
        cut.start()
        with contextlib.suppress(KazooException, OSError):
            self.client.stop()
        with contextlib.suppress(Exception):  # it has not stopped: nothing more can be done
            self.client.close()
        cut.cancel()
        with self._changed:
            # No server has heard of us since; twice the ttl is more than any of them waits.
            self._gone_by = self._settings.clock.now() + 2 * max(self.ttl, self._settings.ttl)

    def _cut(self) -> None:
        connection = self.client._connection._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket: kazoo's thread is using that.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
