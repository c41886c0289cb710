"""Requests to the servers: deadlines, fail-over, login, and what their errors mean.

Of the module etcd3 only the messages and stubs are used (`etcd3.etcdrpc`). Its clients have no
deadline of their own, let a good part of gRPC's errors through, do not log in again, shun a server
that failed for 300 s, and forget watches.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from etcd3 import etcdrpc as rpc

from leaderlock.backends.etcd.target import Target
from leaderlock.backends.network import Host, join_host
from leaderlock.errors import BackendRefused, BackendUnavailable, LeaderLockError

_Code = grpc.StatusCode
# These do not depend on the server that was asked, and are an answer.
_DEFINITE = frozenset(
    {
        _Code.PERMISSION_DENIED,
        _Code.UNAUTHENTICATED,
        _Code.INVALID_ARGUMENT,
        _Code.UNIMPLEMENTED,
        _Code.NOT_FOUND,
        _Code.FAILED_PRECONDITION,
    }
)
_TOKEN_IS_OVER = ("invalid auth token", "revision of auth store is old", "user name is empty")
_NO_LOGIN_ASKED = "authentication is not enabled"
# A server that is cut off from the others shall say so, instead of keeping streams open in silence.
_REQUIRE_LEADER = ("hasleader", "true")
CLOSED = "this client has been closed"


class LeaseGone(Exception):
    """The lease of a request does not exist."""


class LeaseExists(Exception):
    """The lease to be granted does."""


class Line:
    """A channel to one server, and what can be asked over it."""

    def __init__(self, target: Target, host: Host) -> None:
        self.host = host
        self.channel = target.open(host)
        kv, lease = rpc.KVStub(self.channel), rpc.LeaseStub(self.channel)
        self.txn, self.range = kv.Txn, kv.Range
        self.grant, self.revoke = lease.LeaseGrant, lease.LeaseRevoke
        self.authenticate = rpc.AuthStub(self.channel).Authenticate
        self.watch = rpc.WatchStub(self.channel).Watch
        # A stream of one request and one answer looks like a plain call to the server. With the
        # stub's stream gRPC would start a thread for every one.
        self.keep_alive = self.channel.unary_unary(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=rpc.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=rpc.LeaseKeepAliveResponse.FromString,
        )


class Talk:
    """Requests that have to be answered within one deadline."""

    def __init__(self, connection: Connection, end: float) -> None:
        self._connection = connection
        self._end = end

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._end - time.monotonic())

    def txn(self, *, repeat: bool = True, **parts: Any) -> Any:
        return self.ask("txn", rpc.TxnRequest(**parts), repeat=repeat)

    def ask(self, verb: str, request: Any, *, repeat: bool = True) -> Any:
        """The answer of the first server that gives one.

        Args:
            repeat: may be carried out twice; otherwise only one server is asked.

        Raises:
            BackendUnavailable, BackendRefused: there is none, or it is no.
            LeaseGone, LeaseExists: see there.
        """
        connection = self._connection
        tries, has_logged_in_again = len(connection.target.hosts) if repeat else 1, False
        while True:
            line = connection.line()
            # Half of the time for each server but the last: one that is frozen must leave enough.
            end = time.monotonic() + (self.left if tries == 1 else self.left / 2)
            token = ""
            try:
                token = connection.token(line, end)
                return getattr(line, verb)(
                    request, timeout=_left(end), metadata=connection.metadata(token)
                )
            except grpc.RpcError as error:
                if is_token_over(error) and connection.target.login and not has_logged_in_again:
                    connection.forget(token)
                    has_logged_in_again = True
                    continue
                tries -= 1
                if error.code() not in _DEFINITE:
                    connection.turn_away(line)
                    if tries:
                        continue
                raise connection.explain(error, line, self.left) from error
            except ValueError as error:  # what gRPC raises for a closed channel
                raise BackendUnavailable(CLOSED) from error


class Connection:
    """Channels to the servers, of which one is asked as long as it answers.

    Attributes:
        on_turn: called with the line that is not asked any more.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self.on_turn: Callable[[Line], None] = lambda line: None
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._hosts = deque(self.target.hosts)  # the one in use comes first
        self._lines: dict[Host, Line] = {}
        self._token: str | None = None if self.target.login else self.target.token
        self._closed = False

    def talk(self) -> Talk:
        """Requests within request_timeout from now."""
        return Talk(self, time.monotonic() + self._timeout)

    def line(self) -> Line:
        """The channel to ask now."""
        with self._lock:
            if self._closed:
                raise BackendUnavailable(CLOSED)
            host = self._hosts[0]
            if host not in self._lines:
                self._lines[host] = Line(self.target, host)
            return self._lines[host]

    def turn_away(self, line: Line) -> None:
        """This server does not answer: ask the next one, if there is one."""
        with self._lock:
            if len(self._hosts) == 1 or self._hosts[0] != line.host:
                return
            self._hosts.rotate(-1)
        self.on_turn(line)

    @contextlib.contextmanager
    def following(self, requests: Iterator[Any]) -> Iterator[tuple[Line, Any]]:
        """A stream of watches, without a deadline, over the line that is used at present.

        Raises:
            BackendUnavailable, BackendRefused: it has ended, or was not opened.
        """
        line, token = self.line(), ""
        try:
            token = self.token(line, time.monotonic() + self._timeout)
            call = line.watch(requests, metadata=self.metadata(token))
            try:
                yield line, call
            finally:
                call.cancel()
        except grpc.RpcError as error:
            if is_token_over(error):
                self.forget(token)
            elif error.code() is not _Code.CANCELLED:
                self.turn_away(line)
            raise self.explain(error, line) from error
        except ValueError as error:  # what gRPC raises for a closed channel
            raise BackendUnavailable(CLOSED) from error

    def token(self, line: Line, end: float) -> str:
        """What our requests carry to be known; "" if the servers ask for nothing."""
        token = self._token
        if token is None:
            login = self.target.login
            request = rpc.AuthenticateRequest(name=login.username, password=login.password)
            try:
                token = str(line.authenticate(request, timeout=_left(end)).token)
            except grpc.RpcError as error:
                if _NO_LOGIN_ASKED not in (error.details() or ""):
                    raise
                token = ""
            self._token = token
        return token

    def forget(self, token: str) -> None:
        """Log in again, if that has not happened already."""
        if self._token == token and self.target.login:
            self._token = None

    def forget_login(self) -> None:
        """Log in again."""
        if self.target.login:
            self._token = None

    def metadata(self, token: str) -> tuple[tuple[str, str], ...]:
        return (_REQUIRE_LEADER, ("token", token)) if token else (_REQUIRE_LEADER,)

    def explain(self, error: Any, line: Line, left: float = 0.0) -> Exception:
        """What an error of gRPC means."""
        code, details = error.code(), error.details() or ""
        if code is _Code.NOT_FOUND and "lease not found" in details:
            return LeaseGone(details)
        if code is _Code.FAILED_PRECONDITION and "lease already exists" in details:
            return LeaseExists(details)
        return self._explain_failure(code, details, line.host, left)

    def _explain_failure(self, code: Any, details: str, host: Host, left: float) -> LeaderLockError:
        place = join_host(host)
        if "authentication failed" in details:
            return BackendRefused(f"etcd at {place} refuses the login: user name or password wrong")
        if code is _Code.PERMISSION_DENIED:
            return BackendRefused(
                f"etcd at {place} refuses: the user may not read and write the keys of this "
                "namespace; grant it readwrite on their prefix"
            )
        if any(text in details for text in _TOKEN_IS_OVER):
            return BackendRefused(
                f"etcd at {place} asks for a login ({details}): give username and password"
                if not self.target.login
                else f"etcd at {place} does not accept the token of a new login: {details}"
            )
        if code in (_Code.INVALID_ARGUMENT, _Code.UNIMPLEMENTED, _Code.FAILED_PRECONDITION):
            return BackendRefused(f"etcd at {place} refuses: {details}")
        if code is _Code.UNAVAILABLE and self.target.credentials is not None:
            objection = self.target.objection(host, left / 3)
            if objection or "CERTIFICATE_VERIFY_FAILED" in details:
                return BackendRefused(f"no TLS with etcd at {place}: {objection or details}")
        if code is _Code.DEADLINE_EXCEEDED:
            return BackendUnavailable(f"no answer from etcd at {place} in time")
        if code is _Code.CANCELLED and self._closed:
            return BackendUnavailable(CLOSED)
        return BackendUnavailable(f"no answer from etcd at {place}: {code.name} {details}")

    def close(self) -> None:
        """Close the channels; what is under way on them ends."""
        with self._lock:
            self._closed = True
            lines = list(self._lines.values())
        for line in lines:
            line.channel.close()

    def abandon(self) -> None:
        """In a forked child: the channels are the parent's."""
        leak(self._lines)
        self._start()


def is_token_over(error: Any) -> bool:
    """Whether another login may help."""
    details = error.details() or ""
    return any(text in details for text in _TOKEN_IS_OVER)


def leak(thing: object) -> None:
    """Keep it for ever, also when the interpreter ends: gRPC's objects speak when they go."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())
