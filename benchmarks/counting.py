"""A proxy that counts the requests of a client, in the language of the store.

What counts: a command of Redis, a message of gRPC (one of a stream is one), a request of HTTP, a
packet of ZooKeeper; with it the pings that keep a session, which are traffic to a server, too. What
the protocols need for themselves (settings and windows of HTTP/2, say) does not.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA = 0


class Counter(ABC):
    """Finds the requests in what a client sends, however it is cut into pieces."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, chunk: bytes) -> int:
        """How many requests are complete now that were not before."""
        self._buffer += chunk
        found = 0
        while self._buffer:
            size = self._size()
            if size == 0 or size > len(self._buffer):
                break
            found += self._counts(self._buffer[:size])
            self._buffer = self._buffer[size:]
        return found

    @abstractmethod
    def _size(self) -> int:
        """Of the next message in the buffer; 0 if that cannot be said yet."""

    def _counts(self, message: bytes) -> bool:
        return True


class RedisCounter(Counter):
    """`*2`, `$3`, `GET`, `$1`, `k`: an array of strings."""

    def _size(self) -> int:
        at = self._buffer.find(b"\r\n") + 2
        if at < 2:
            return 0
        if self._buffer[:1] != b"*":
            return at  # an inline command
        for _ in range(int(self._buffer[1 : at - 2])):
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return 0
            at = end + 2 + int(self._buffer[at + 1 : end]) + 2
        return at


class ZooKeeperCounter(Counter):
    """Packets with their length in front. The first opens the session."""

    def _size(self) -> int:
        return 0 if len(self._buffer) < 4 else 4 + int.from_bytes(self._buffer[:4], "big")


class HttpCounter(Counter):
    """HTTP/1.1, with the lengths of bodies in their heads."""

    def _size(self) -> int:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return 0
        for line in self._buffer[:end].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                return end + 4 + int(value)
        return end + 4


class EtcdCounter(HttpCounter):
    """gRPC, or what goes to the JSON gateway: a frame of HTTP/2 with a message in it is one."""

    _is_grpc: bool | None = None

    def _size(self) -> int:
        if self._is_grpc is None:
            if len(self._buffer) < len(_HTTP2):
                return 0
            self._is_grpc = self._buffer.startswith(_HTTP2)
            if self._is_grpc:
                self._buffer = self._buffer[len(_HTTP2) :]
        if not self._is_grpc:
            return super()._size()
        return 0 if len(self._buffer) < 9 else 9 + int.from_bytes(self._buffer[:3], "big")

    def _counts(self, message: bytes) -> bool:
        # An empty one only ends a stream.
        return not self._is_grpc or (message[3] == _DATA and len(message) > 9)


COUNTERS: dict[str, type[Counter]] = {
    "redis": RedisCounter,
    "etcd": EtcdCounter,
    "zookeeper": ZooKeeperCounter,
    "consul": HttpCounter,
}


class CountingProxy:
    """Passes on what comes in at `port` to a port of 127.0.0.1 and back.

    Attributes:
        requests: how many have gone through.
    """

    def __init__(self, target_port: int, counter: type[Counter]) -> None:
        self._target_port = target_port
        self._counter = counter
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.requests = 0
        threading.Thread(target=self._accept, name="counting-proxy", daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            sockets, self._sockets = [self._listener, *self._sockets], []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                return
            for end in client, server:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [client, server]
            for way in (client, server, self._counter()), (server, client, None):
                threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, counter: Counter | None
    ) -> None:
        for chunk in _chunks(source):
            if counter is not None and (found := counter.feed(chunk)):
                with self._lock:
                    self.requests += found
            try:
                target.sendall(chunk)
            except OSError:
                break
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _chunks(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            yield chunk
