"""HTTP for python-consul, in place of its own, which neither of its two packages gets right.

python-consul 1.1 sends requests without a timeout (cablehead/python-consul#45) and the ACL token in
the URL; py-consul 1.8 waits 30 s (criteo/py-consul#118), and kv.get(connections_timeout=) raises
TypeError. Both let environment variables override what they are given. Here every request ends by
a deadline, is sent once, never to a proxy or after a redirect, and has the token in a header.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from functools import partialmethod
from typing import Any

import consul

from leaderlock.backends.consul.target import Target
from leaderlock.backends.network import TLS_CUT_OFF, Host, connect, has_ended, join_host
from leaderlock.errors import BackendRefused, BackendUnavailable

_MOST_IDLE = 4
_LONGEST_TEXT = 300


class Transport(consul.base.HTTPClient):  # type: ignore[misc]
    """Connections to the hosts of a target, used by any number of threads.

    The next host is asked from when the present one does not answer, or answers that it cannot.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._reset()

    def _reset(self) -> None:
        self._here = threading.local()
        self._lock = threading.Lock()  # guards the next four
        self._open: dict[http.client.HTTPConnection, int] = {}  # with the turn they are of
        self._idle: list[http.client.HTTPConnection] = []
        self._turn = 0
        self._closed = False

    @contextlib.contextmanager
    def deadline(self) -> Iterator[None]:
        """All requests of this thread in the block have to end within the timeout, taken together.

        A block within a block changes nothing.
        """
        if getattr(self._here, "ends_at", None) is not None:
            yield
            return
        self._here.ends_at = time.monotonic() + self._timeout
        try:
            yield
        finally:
            self._here.ends_at = None

    def time_left(self) -> float:
        """Raises BackendUnavailable when it is over."""
        left = float(self._here.ends_at) - time.monotonic()
        if left <= 0:
            raise BackendUnavailable(f"Consul did not answer within {self._timeout:.3g} s")
        return left

    def _ask(
        self,
        method: str,
        callback: Callable[[Any], Any],
        path: str,
        params: Sequence[tuple[str, Any]] | None = None,
        data: str | bytes | None = "",
        headers: object = None,
    ) -> Any:
        params = [*(params or ())]
        if self._target.datacenter:
            params.append(("dc", self._target.datacenter))
        target = urllib.parse.quote(path, safe="/:") + ("?" if params else "")
        target += urllib.parse.urlencode(params)
        body = data.encode() if isinstance(data, str) else data or b""
        with self.deadline():
            response = self._exchange(method, target, body)
        self._judge(response)
        try:
            return callback(response)
        except consul.NotFound:
            raise
        except (
            consul.ConsulException,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
        ) as error:
            raise BackendUnavailable(
                f"not an answer of Consul: {error!s:.{_LONGEST_TEXT}}"
            ) from error

    # What python-consul calls, with its parser of the answer as `callback`.
    get = partialmethod(_ask, "GET")
    put = partialmethod(_ask, "PUT")
    delete = partialmethod(_ask, "DELETE")
    post = partialmethod(_ask, "POST")

    def _judge(self, response: Any) -> None:
        """Every answer that is none to the question becomes one of our errors here."""
        status, said = response.code, response.body.strip()[:_LONGEST_TEXT]
        if status in (200, 404, 409):  # 409: a transaction was not carried out
            return
        if status in (401, 403) or "Permission denied" in said or "ACL not found" in said:
            how = "this token" if self._target.token else "requests without a token"
            raise BackendRefused(
                f"Consul refuses {how} ({said}): it needs key_prefix write on the namespace, and "
                "session_prefix write"
            )
        if "Invalid Session TTL" in said:
            raise BackendRefused(
                f"Consul refuses the ttl ({said}): raise ttl, to 10 seconds unless the servers "
                "have another session_ttl_min"
            )
        if "No path to datacenter" in said:
            raise BackendRefused(f"Consul knows no datacenter {self._target.datacenter!r} ({said})")
        if status == 429 or status >= 500:
            raise BackendUnavailable(f"Consul cannot answer: HTTP {status} {said}")
        raise BackendRefused(f"Consul refuses the request: HTTP {status} {said}")

    def _exchange(self, method: str, target: str, body: bytes) -> Any:
        try:
            connection = self._take()
            try:
                connection.sock.settimeout(self.time_left())
                # Not connection.request(), which sends the body in a packet of its own.
                connection.sock.sendall(self._head(connection, method, target, body) + body)
                hurried: Any = _Hurried(connection.sock, self.time_left)
                with http.client.HTTPResponse(hurried) as answer:
                    answer.begin()
                    text = answer.read().decode("utf-8", "replace")
            except BaseException:
                self._drop(connection)
                raise
        except TLS_CUT_OFF as error:
            raise BackendUnavailable(f"no answer from Consul: {error}") from error
        except ssl.SSLError as error:
            raise BackendRefused(f"no TLS with Consul at {self._where}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise BackendUnavailable(f"no answer from Consul at {self._where}: {error}") from error
        well = answer.status < 500 and answer.status != 429
        self._give_back(connection, usable=not answer.will_close, well=well)
        return consul.base.Response(answer.status, answer.headers, text)

    def _head(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes
    ) -> bytes:
        host = join_host((connection.host.encode("idna").decode("ascii"), connection.port))
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        if self._target.token:
            lines.append(f"X-Consul-Token: {self._target.token}")
        return "\r\n".join([*lines, "\r\n"]).encode("ascii")

    # Connections

    @property
    def _where(self) -> str:
        return ", ".join(join_host(host) for host in self._target.hosts)

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._idle and not self._closed:
                connection = self._idle.pop()
                if self._open[connection] == self._turn and not has_ended(connection.sock):
                    return connection
                self._open.pop(connection)
                connection.close()
            turn = self._turn
        return self._connect(turn)

    def _connect(self, first: int) -> http.client.HTTPConnection:
        hosts = self._target.hosts
        for turn in range(first, first + len(hosts)):
            share = self.time_left() / (first + len(hosts) - turn)
            connection = self._make(hosts[turn % len(hosts)], share)
            try:
                connection.connect()
            except OSError as error:  # nothing was sent: the next host may be asked at once
                connection.close()
                refused = isinstance(error, ssl.SSLError) and not isinstance(error, TLS_CUT_OFF)
                if refused or turn == first + len(hosts) - 1:
                    raise
                continue
            with self._lock:
                if not self._closed:
                    self._open[connection] = self._turn = turn
                    return connection
            connection.close()
            break
        raise BackendUnavailable("this client has been closed")

    def _make(self, host: Host, timeout: float) -> http.client.HTTPConnection:
        connection: Any
        if self._target.tls is None:
            connection = http.client.HTTPConnection(*host, timeout=timeout)
        else:
            tls = self._target.tls
            connection = http.client.HTTPSConnection(*host, timeout=timeout, context=tls)
        connection._create_connection = lambda address, timeout, _: connect(address, timeout)
        return connection  # type: ignore[no-any-return]

    def _give_back(
        self, connection: http.client.HTTPConnection, *, usable: bool, well: bool
    ) -> None:
        with self._lock:
            if usable and well and not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        self._drop(connection, well=well)

    def _drop(self, connection: http.client.HTTPConnection, *, well: bool = False) -> None:
        with self._lock:
            turn = self._open.pop(connection, None)
            if turn == self._turn and not well:
                self._turn += 1
        connection.close()

    def close(self) -> None:
        """Requests under way end at once, with an error."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = [connection for connection in self._open if connection not in idle]
            self._open.clear()
        for connection in idle:
            connection.close()
        for connection in busy:
            if (sock := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    # Not that of an SSLSocket, which would pull the TLS from under the reader.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In a forked child: the sockets are the parent's. Not a byte is sent on them."""
        for connection in self._open:
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    os.close(connection.sock.detach())
        self._reset()


class _Hurried(io.RawIOBase):
    """What is read of a socket, with every wait for more of it ended by the deadline.

    A timeout of the socket alone begins anew with every byte, and an answer may come in drips.
    """

    def __init__(self, sock: socket.socket, time_left: Callable[[], float]) -> None:
        self._sock, self._time_left = sock, time_left
        self._raw = sock.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client asks of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._time_left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
