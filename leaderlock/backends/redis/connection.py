"""One connection to a Redis: redis-py's, with a deadline for everything that happens on it.

redis-py connects; what is sent and read then is the business of `leaderlock.backends.redis.wire`.
Its clients are not used above it: their retries repeat what may have been carried out, and its
limits are for one step of many (resolve, connect, AUTH, SELECT, send, receive).
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from redis.connection import UnixDomainSocketConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from leaderlock.backends.network import TLS_CUT_OFF, Host, has_ended, join_host
from leaderlock.backends.redis.target import NO_RETRIES
from leaderlock.backends.redis.wire import AT_ONCE, Command, Replies, packed
from leaderlock.errors import BackendRefused, BackendUnavailable

if TYPE_CHECKING:

    class _Base:
        """What is used of redis-py's connections, which have no types."""

        _sock: Any

        def connect(self) -> None: ...
        def _connect(self) -> Any: ...
        def disconnect(self) -> None: ...
        def send_command(self, *command: str | bytes | int) -> None: ...

else:
    _Base = object  # the real one comes by `_timed`

OF_REDIS_PY = (RedisError, OSError, UnicodeError)
"""What redis-py raises; UnicodeError for what is no host's name."""

_SHORTEST = 0.001
_FOR_NOW_CODES = re.compile(
    r"\b(LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|OOM|MISCONF|NOREPLICAS|BUSY)\b"
    r"|max number of clients"
)
_REDIRECTION = re.compile(r"(MOVED|ASK) \d+ (\S*):(\d+)")


class SlotMoves(BackendUnavailable):
    """Not all keys of a request are at the same node of the cluster."""


class _Hurried:
    """The socket of a line, on which each step ends by the deadline of the line.

    A timeout of the socket alone begins anew with every byte, and a reply may come in drips.
    """

    def __init__(self, sock: socket.socket, line: Line) -> None:
        self._sock, self._line = sock, line

    def recv(self, *args: Any) -> bytes:
        return self._in_time().recv(*args)

    def recv_into(self, *args: Any) -> int:
        return self._in_time().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self._in_time().sendall(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _in_time(self) -> socket.socket:
        self._sock.settimeout(max(_SHORTEST, self._line.deadline - time.monotonic()))
        return self._sock

    def recv_now(self, size: int) -> bytes | None:
        """What is here; None: nothing, which a selector does not know of what is encrypted."""
        self._sock.settimeout(0)
        try:
            return self._sock.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None


class Line(_Base):
    """A connection on which everything ends by `deadline`, a reading of time.monotonic."""

    deadline = math.inf

    def until(self, deadline: float) -> None:
        """What happens from now on has to end by then."""
        self.deadline = deadline

    @property
    def socket_timeout(self) -> float:
        """What redis-py asks for when it shakes hands."""
        # What has already arrived is still read when the time is over.
        return max(_SHORTEST, self.deadline - time.monotonic())

    @socket_timeout.setter
    def socket_timeout(self, value: float | None) -> None:
        pass  # one timeout for each step is not wanted

    @property
    def socket_connect_timeout(self) -> float:
        """What redis-py asks for at each address of a host: the next one has its turn, too."""
        return self.socket_timeout / 2

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        pass

    def connect(self) -> None:
        try:
            super().connect()
        except ConnectionError as error:
            if isinstance(error.__context__, ssl.SSLEOFError):
                self._hear_refusal()
            raise
        self._replies = Replies(self._sock.recv)

    def _connect(self) -> Any:
        return _Hurried(super()._connect(), self)

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send them all, then read all answers. An error is an answer."""
        self._sock.sendall(b"".join(map(packed, commands)))
        return [self._replies.read() for _ in commands]

    def arrived(self) -> Iterator[Any]:
        """What has come in without being asked for. Waits for the rest of what is in part here."""
        if (data := self._sock.recv_now(AT_ONCE)) is not None:
            self._replies.add(data)
        while self._replies.has_more:
            yield self._replies.read()

    def fileno(self) -> int:
        return -1 if self._sock is None else self._sock.fileno()

    def is_fresh(self) -> bool:
        """Whether nothing was left on it, not even the server's good-bye."""
        return not (self._sock is None or self._replies.has_more or has_ended(self.fileno()))

    def _hear_refusal(self) -> None:
        """Since TLS 1.3 a server that misses our certificate says so after the handshake.

        Who is writing by then gets to know no more than that the connection has ended.
        """
        with contextlib.closing(self._connect()) as sock:
            sock.recv(1)


@functools.cache
def _timed(connection_class: type[Any]) -> Any:
    return type(f"Timed{connection_class.__name__}", (Line, connection_class), {})


def new_line(connection_class: type[Any], host: Host, arguments: dict[str, Any]) -> Line:
    """A connection that is not connected yet."""
    if issubclass(connection_class, UnixDomainSocketConnection):
        arguments["path"] = host[0]
    else:
        arguments["host"], arguments["port"] = host
    # RESP2: the answers of all versions look alike, and messages come between no others.
    timed = _timed(connection_class)  # type: ignore[arg-type]  # every class is hashable
    line: Line = timed(protocol=2, retry=NO_RETRIES, **arguments)
    return line


def show(host: Host) -> str:
    """A host or socket for people."""
    return join_host(host) if host[1] else host[0]


def redirection(error: ResponseError, asked: Host) -> tuple[str, Host] | None:
    """MOVED or ASK, and where to; None for any other error."""
    if (match := _REDIRECTION.fullmatch(str(error))) is None:
        return None
    # No host: the same as before, by another port.
    return match[1], (match[2].strip("[]") or asked[0], int(match[3]))


def asks_for_login(error: Exception) -> bool:
    """Whether none was given."""
    return str(error).startswith("NOAUTH")


def is_readonly(error: ResponseError) -> bool:
    """Whether a replica has refused to write."""
    return "READONLY" in str(error)


def is_cut_off(error: ResponseError) -> bool:
    """Whether a node of a cluster does not see the others, which may have replaced it."""
    return "CLUSTERDOWN" in str(error)


def is_unknown(error: ResponseError) -> bool:
    """Whether the server does not know a script by its digest. It has done nothing then."""
    return str(error).startswith("NOSCRIPT")


@contextlib.contextmanager
def translated(host: Host) -> Iterator[None]:
    """Whatever redis-py raises becomes one of the two errors of the contract."""
    try:
        yield
    except OF_REDIS_PY as error:
        raise as_ours(error, host) from error


def as_ours(error: Exception, host: Host) -> BackendUnavailable | BackendRefused:
    """The error of the contract for one of redis-py's."""
    where, what = show(host), f"{type(error).__name__}: {error}"
    if isinstance(error, AuthenticationError | AuthorizationError) or asks_for_login(error):
        return BackendRefused(f"Redis at {where} refuses the login: {error}")
    if (refusal := _tls_refusal(error)) is not None:
        return BackendRefused(f"no TLS with Redis at {where}: {refusal}")
    if str(error).startswith("TRYAGAIN"):
        return SlotMoves(f"Redis at {where} cannot do it now: {what}")
    if isinstance(error, BusyLoadingError) or _FOR_NOW_CODES.search(str(error)):
        return BackendUnavailable(f"Redis at {where} cannot do it now: {what}")
    if isinstance(error, ConnectionError | TimeoutError | OSError):
        return BackendUnavailable(f"no answer from Redis at {where}: {error}")
    if "WRONGTYPE" in str(error):
        return BackendRefused(f"something else has written to a key of leaderlock: {error}")
    return BackendRefused(f"Redis at {where} refuses: {what}")


def _tls_refusal(error: BaseException | None) -> ssl.SSLError | None:
    """The certificate or protocol error below one of redis-py's; not a mere end of connection."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            ended = isinstance(error, TLS_CUT_OFF) or "timed out" in str(error)
            return None if ended else error
        error = error.__cause__ or error.__context__
    return None
