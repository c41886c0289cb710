"""A TCP proxy to put in front of a server, whose faults are switched at run time.

    with Proxy(server.port) as proxy:
        url = server.url_at(proxy.port)
        proxy.hold()

All connections live in one thread, the proxy's own.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from leaderlock.testing.servers.programs import Ports, ServerError

_CHUNK = 65536
# What one direction of a connection holds; the rest waits in the kernel.
_MOST_HELD = 64 * _CHUNK
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Fault(enum.Enum):
    NONE = "none"
    HOLD = "hold"
    DROP_REPLIES = "drop replies"
    RESET = "reset"


class _Stream:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.held: deque[tuple[float, bytes]] = deque()  # with the time to pass it on
        self.size = 0
        self.source_ended = False
        self.end_passed_on = False
        self.broken = False  # the source was reset
        self.lost_bytes = False

    def read(self, due: float) -> bytes:
        try:
            data = self.source.recv(_CHUNK)
        except ConnectionError:  # passed on in its turn, like the bytes before it
            self.broken = True
            data = b""
        if data:
            self.held.append((due, data))
            self.size += len(data)
        else:
            self.source_ended = True
        return data

    def drop(self) -> None:
        self.lost_bytes = self.lost_bytes or bool(self.held)
        self.held.clear()
        self.size = 0

    def write(self, now: float) -> None:
        """Passes on what is due, and the end of the stream after it."""
        while self.held and self.held[0][0] <= now:
            due, data = self.held.popleft()
            sent = 0
            with contextlib.suppress(BlockingIOError):
                sent = self.target.send(data)
            self.size -= sent
            if sent < len(data):
                self.held.appendleft((due, data[sent:]))
                return
        if self.broken and not self.held:
            raise ConnectionResetError
        if self.source_ended and not self.held and not self.end_passed_on:
            self.target.shutdown(socket.SHUT_WR)
            self.end_passed_on = True


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.requests = _Stream(client, server)
        self.replies = _Stream(server, client)

    @property
    def finished(self) -> bool:
        return self.requests.end_passed_on and self.replies.end_passed_on

    def close(self, *, reset: bool = False) -> None:
        for end in self.client, self.server:
            if reset:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.close()


class Proxy:
    """Passes on what comes in at `port` to a port of 127.0.0.1 and back.

    Each method that sets a fault returns when the fault holds, and replaces the one before. It is
    for all connections, those to come as well.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._ports = Ports()
        self.port = self._ports.take()
        self._fault = Fault.NONE
        self._delay = 0.0
        self._trigger = b""
        self._connections: list[_Connection] = []
        self._orders: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._listener.setblocking(False)
        self._wake_up, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="test-proxy", daemon=True)
        self._thread.start()

    def pass_on(self) -> None:
        """No fault. Bytes that were held arrive; a connection that lost bytes is reset."""
        self._set(Fault.NONE)

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._set(Fault.NONE, delay=seconds)

    def hold(self) -> None:
        """Nothing arrives, neither bytes nor the end of a connection. New ones are accepted."""
        self._set(Fault.HOLD)

    def reset(self) -> None:
        """Every connection is reset, a new one at once."""
        self._set(Fault.RESET)

    def drop_replies(self, *, after: bytes = b"") -> None:
        """What the server sends is lost; it does get what is sent to it.

        Args:
            after: pass on everything until a request has these bytes in it, which must come in
                one piece; the reply to it is the first that is lost.
        """
        self._set(Fault.NONE if after else Fault.DROP_REPLIES, trigger=after)

    @property
    def fault(self) -> Fault:
        return self._fault

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def stop(self) -> None:
        if not self._stopping:
            self._order(self._stop)
            self._thread.join()
            self._wake_up.close()
            self._waker.close()
            self._ports.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _set(self, fault: Fault, *, delay: float = 0.0, trigger: bytes = b"") -> None:
        def change() -> None:
            self._fault, self._delay, self._trigger = fault, delay, trigger

        self._order(change)

    def _order(self, change: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.append((change, done))
        self._waker.send(b"!")
        if not done.wait(10):
            raise ServerError("the proxy's thread is gone or stuck")

    # From here on: the proxy's thread.

    def _run(self) -> None:
        while not self._stopping:
            for end in self._wait():
                if end is self._listener:
                    self._accept()
                elif end is self._wake_up:
                    self._wake_up.recv(_CHUNK)
            while self._orders:
                change, done = self._orders.popleft()
                change()
                self._serve_all()
                done.set()
            self._serve_all()

    def _stop(self) -> None:
        self._stopping = True
        self._fault = Fault.RESET
        self._listener.close()

    def _wait(self) -> list[object]:
        """Until a socket can be read or written, or held bytes are due."""
        now = time.monotonic()
        wake_at = [
            stream.held[0][0]
            for connection in self._connections
            for stream in (connection.requests, connection.replies)
            if stream.held and stream.held[0][0] > now and self._fault is not Fault.HOLD
        ]
        with selectors.DefaultSelector() as selector:
            for end in self._listener, self._wake_up:
                selector.register(end, selectors.EVENT_READ)
            for connection in self._connections:
                for stream, back in (
                    (connection.requests, connection.replies),
                    (connection.replies, connection.requests),
                ):
                    events = 0
                    if not stream.source_ended and stream.size < _MOST_HELD:
                        events |= selectors.EVENT_READ
                    if back.held and back.held[0][0] <= now and self._fault is not Fault.HOLD:
                        events |= selectors.EVENT_WRITE
                    if events:
                        selector.register(stream.source, events)
            timeout = max(0.0, min(wake_at) - now) if wake_at else None
            return [key.fileobj for key, _ in selector.select(timeout)]

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # it went away again
            return
        server = socket.socket()
        for end in client, server:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, server)
        if server.connect_ex(("127.0.0.1", self.target_port)) not in (0, errno.EINPROGRESS):
            connection.close(reset=True)
        else:
            self._connections.append(connection)

    def _serve_all(self) -> None:
        for connection in list(self._connections):
            try:
                alive = self._serve(connection)
            except OSError:  # one end was reset, so the other is
                alive = False
            if not alive:
                connection.close(reset=True)
            elif connection.finished:
                connection.close()
            if not alive or connection.finished:
                self._connections.remove(connection)

    def _serve(self, connection: _Connection) -> bool:
        """Moves what can be moved; False for a connection that is to be reset."""
        now = time.monotonic()
        for stream in connection.requests, connection.replies:
            while not stream.source_ended and stream.size < _MOST_HELD:
                try:
                    data = stream.read(now + self._delay)
                except BlockingIOError:
                    break
                if stream is connection.requests and self._trigger and self._trigger in data:
                    self._fault, self._trigger = Fault.DROP_REPLIES, b""
        match self._fault:
            case Fault.RESET:
                return False
            case Fault.HOLD:
                return True
            case Fault.DROP_REPLIES:
                connection.replies.drop()
                connection.requests.write(now)
                return not (connection.requests.end_passed_on and connection.replies.source_ended)
            case Fault.NONE:
                if connection.replies.lost_bytes:
                    return False
                connection.requests.write(now)
                connection.replies.write(now)
                return True
