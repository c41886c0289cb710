"""kazoo, with what it leaves open closed and what it knows told (python-zk/kazoo 2.11).

* It makes a new session in place of an expired one, silently: here its connection thread ends.
* That thread dies of what it did not expect, and the callers see ConnectionLoss (a SASL login
  that is missing): here the reason is told.
* The negotiated session timeout is a local variable of it, and so is when it pings.
* TLS connections that fail leave their sockets open.
* Its reconnecting backs off to an hour, and one server is tried for a whole session timeout, twice.
* It tells servers that have lost their data for ever what it has seen before, and is hung up on.
* It logs requests, credentials among them, at level DEBUG.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import ssl
from typing import Any, Protocol

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionDropped, SASLException
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.connection import CLOSE_RESPONSE, STOP_CONNECTING, ConnectionHandler

from leaderlock.backends.base import Settings
from leaderlock.backends.zookeeper.target import Target
from leaderlock.clock import Clock

# Outside of the tree of loggers: nothing that anybody configures makes it speak.
_SILENT = logging.Logger("kazoo", logging.CRITICAL + 1)
_LONGEST_BACKOFF = 1.0
_SHORTEST_HANDSHAKE = 1.0
_CHUNK = 65536
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Listener(Protocol):
    """Who is told; on kazoo's connection thread.

    Attributes:
        over: the session is not wanted any more.
    """

    over: bool

    def is_out_of_touch(self) -> bool:
        """Whether no server has answered for so long that the session may have ended."""

    def connected(self, ttl: float, sent_at: float) -> None:
        """The session was opened, or moved to another server, by a request sent at `sent_at`."""

    def failed(self, error: Exception) -> None:
        """A try to connect has failed."""

    def acknowledged(self, sent_at: float) -> None:
        """A server has answered what was sent to it at `sent_at`."""

    def closed(self) -> None:
        """The servers have ended the session because we asked for it."""


def make_client(target: Target, settings: Settings, listener: Listener) -> KazooClient:
    """A client that is not started yet."""
    client = KazooClient(
        str(target),
        timeout=settings.ttl,
        handler=_Handler(target.tls, settings.request_timeout),
        auth_data=set(target.auth),
        connection_retry={"max_tries": -1, "delay": 0.05, "max_delay": _LONGEST_BACKOFF},
        command_retry={"max_tries": 0},
        logger=_SILENT,
    )
    client._connection = _Connection(
        client, target, settings.clock, settings.request_timeout, listener
    )
    return client


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo without threads but that of its connection, which may as well call our quick wakes.

    Connections that fail leave no socket behind.
    """

    def __init__(self, tls: ssl.SSLContext | None, patience: float) -> None:
        super().__init__()
        self._tls = tls
        self._patience = patience
        self._polled: tuple[list[int], list[int]] = [], []

    def start(self) -> None:
        """Start no workers: without them, kazoo calls what it would have them call."""

    def dispatch_callback(self, callback: Any) -> None:
        """A watch has fired."""
        callback.func(*callback.args)

    def select(self, rlist: Any, wlist: Any, xlist: Any, timeout: Any = None) -> Any:
        """kazoo's takes a descriptor for every wait, and a good part of the time of a request."""
        if not hasattr(select, "poll"):
            return super().select(rlist, wlist, xlist, timeout)
        readers = [end.fileno() for end in rlist]
        writers = [end.fileno() for end in wlist]
        if (readers, writers) != self._polled:
            self._poll = select.poll()
            for ends, event in ((readers, select.POLLIN), (writers, select.POLLOUT)):
                for end in ends:
                    self._poll.register(end, event)
            self._polled = readers, writers
        found = self._poll.poll(None if timeout is None else math.ceil(timeout * 1000))
        ready = {end for end, _ in found}
        return (
            [end for end, number in zip(rlist, readers, strict=True) if number in ready],
            [end for end, number in zip(wlist, writers, strict=True) if number in ready],
            [],
        )

    def create_connection(self, address: Any, hostname: Any = None, **_: object) -> socket.socket:
        # kazoo would try one server for a whole session timeout: then it is too late for another.
        connection = socket.create_connection(address, self._patience)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                return connection
            return self._tls.wrap_socket(connection, server_hostname=hostname)
        except BaseException:
            connection.close()
            raise


class _Connection(ConnectionHandler):  # type: ignore[misc]
    """kazoo's connection thread, with what it knows told to its listener."""

    def __init__(
        self, client: Any, target: Target, clock: Clock, patience: float, listener: Listener
    ) -> None:
        sasl = None if target.sasl is None else dict(target.sasl)
        super().__init__(client, client._conn_retry.copy(), logger=_SILENT, sasl_options=sasl)
        self._patience = max(_SHORTEST_HANDSHAKE, patience)
        self._clock = clock
        self._listener = listener
        self._sent: dict[int | None, float] = {}
        self._ahead = b""  # read, and not asked for yet
        self._reads_ahead = False

    def _expand_client_hosts(self) -> list[Any]:
        found: list[Any] = super()._expand_client_hosts()
        if not found:
            self._listener.failed(OSError("no address is known for the name"))
        return found

    def _connect_attempt(self, host: Any, hostip: Any, port: Any, retry: Any) -> object:
        if self._listener.over and not self.client._stopped.is_set():
            return STOP_CONNECTING
        try:
            status = super()._connect_attempt(host, hostip, port, retry)
        except Exception as error:  # kazoo lets its thread die of it
            self._listener.failed(error)
            return STOP_CONNECTING
        if status is STOP_CONNECTING and self.client._stopped.is_set():
            self._listener.closed()
        return status

    def _connect(self, host: Any, hostip: Any, port: Any) -> tuple[float, float]:
        self._sent.clear()
        self._ahead, self._reads_ahead = b"", False
        if self._listener.is_out_of_touch():
            # Servers hang up on who has seen more than they know. They may have lost their data,
            # and would never get to say that the session is none of theirs.
            self.client.last_zxid = 0
        sent_at = self._clock.now()
        try:
            read_timeout, connect_timeout = super()._connect(host, hostip, port)
        except (AuthFailedError, SASLException, ConnectionDropped, KazooTimeoutError) as error:
            self._listener.failed(error)
            raise
        self._listener.connected(read_timeout * 1.5 / 1000, sent_at)  # kazoo takes two thirds
        self._reads_ahead = True
        return read_timeout, connect_timeout

    def _invoke(self, timeout: float, request: Any, xid: Any = None) -> Any:
        return super()._invoke(min(timeout, self._patience), request, xid)

    def _submit(self, request: Any, timeout: Any, xid: int | None = None) -> None:
        self._sent[xid] = self._clock.now()
        super()._submit(request, timeout, xid)

    def _read_header(self, timeout: Any) -> Any:
        answer = super()._read_header(timeout)
        sent_at = self._sent.pop(answer[0].xid, None)
        if sent_at is not None:
            self._listener.acknowledged(sent_at)
        return answer

    # kazoo waits before each time that it reads or writes, and reads each answer in two parts. Each
    # of these calls gives other threads their turn, which may take 5 ms (sys.getswitchinterval).

    def _read_socket(self, read_timeout: Any) -> Any:
        """Take all answers that are here."""
        answer = super()._read_socket(read_timeout)
        while self._ahead and answer != CLOSE_RESPONSE:
            answer = super()._read_socket(read_timeout)
        return answer

    def _read(self, length: int, timeout: Any) -> bytes:
        with self._socket_error_handling():
            while (missing := length - len(self._ahead)) > 0:
                try:
                    chunk = self._socket.recv(_CHUNK if self._reads_ahead else missing)
                except _NOT_YET:
                    self._wait([self._socket], [], timeout)
                    continue
                if not chunk:
                    raise ConnectionDropped("socket connection broken")
                self._ahead += chunk
        found, self._ahead = self._ahead[:length], self._ahead[length:]
        return found

    def _write(self, msg: Any, timeout: Any) -> None:
        left = memoryview(msg)
        with self._socket_error_handling():
            while left:
                try:
                    left = left[self._socket.send(left) :]
                except _NOT_YET:
                    self._wait([], [self._socket], timeout)

    def _wait(self, rlist: list[Any], wlist: list[Any], timeout: Any) -> None:
        if not any(self.handler.select(rlist, wlist, [], timeout)):
            raise KazooTimeoutError("no answer in time")
