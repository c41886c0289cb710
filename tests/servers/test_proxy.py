"""The proxy does each of its faults, to old and new connections, and leaves nothing behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from leaderlock.testing.servers.process import wait_until
from leaderlock.testing.servers.proxy import Fault, Proxy


class Echo:
    """A server that sends back what it gets, and knows what it got."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ends = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._echo, args=(connection,)))
            self._threads[-1].start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got.append(data)
                    connection.sendall(data)
            except OSError:
                pass
            self.ends += 1

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.stop()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as connection:
        yield connection


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        part = client.recv(65536)
        assert part, "the connection ended"
        answer += part
    return answer


def assert_silent(client: socket.socket) -> None:
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5)


def test_it_passes_on_everything_and_the_end_of_it(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    much = bytes(range(256)) * 8_000
    sender = threading.Thread(target=client.sendall, args=(much,))
    sender.start()
    got = b""
    while len(got) < len(much):
        got += client.recv(1 << 20)
    sender.join()
    assert got == much

    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    wait_until(lambda: proxy.open_connections == 0, 5, lambda: "the connection stays")


def test_it_delays_each_way(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(0.15)
    begun = time.monotonic()
    assert ask(client, b"a") == b"a"
    assert 0.3 <= time.monotonic() - begun < 1.5


def test_it_holds_bytes_and_the_end_of_a_connection(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    proxy.hold()
    client.sendall(b"held")
    with connect(proxy) as leaver:
        leaver.sendall(b"last words")
    with connect(proxy) as breaker:
        breaker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert_silent(client)
    assert (echo.got, echo.ends) == ([], 0)

    proxy.pass_on()
    assert client.recv(100) == b"held"
    wait_until(lambda: echo.ends == 2, 5, lambda: "the ends were not passed on")
    assert sorted(echo.got) == [b"held", b"last words"]


def test_it_resets_connections_until_it_passes_on_again(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    assert ask(client, b"a") == b"a"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionError), connect(proxy) as other:
        ask(other, b"b")
    assert echo.got == [b"a"]
    proxy.pass_on()
    with connect(proxy) as other:
        assert ask(other, b"c") == b"c"


def test_it_drops_replies_and_resets_what_lost_some(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    with connect(proxy) as idle:
        proxy.drop_replies()
        client.sendall(b"unanswered")
        assert_silent(client)
        assert echo.got == [b"unanswered"]
        proxy.pass_on()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert ask(idle, b"answered") == b"answered"


def test_it_drops_replies_from_a_certain_request_on(proxy: Proxy, client: socket.socket) -> None:
    proxy.drop_replies(after=b"WRITE")
    assert ask(client, b"READ") == b"READ"
    before = proxy.fault
    client.sendall(b"a WRITE")
    assert_silent(client)
    assert (before, proxy.fault) == (Fault.NONE, Fault.DROP_REPLIES)


def test_it_resets_a_connection_when_nobody_listens_behind_it(echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with Proxy(port) as proxy, pytest.raises(ConnectionError), connect(proxy) as client:
        ask(client, b"a")


def test_many_connections_make_no_threads_and_leave_nothing(proxy: Proxy, echo: Echo) -> None:
    def threads_of_proxies() -> int:
        return sum(thread.name == "test-proxy" for thread in threading.enumerate())

    before = threads_of_proxies()
    clients = [connect(proxy) for _ in range(50)]
    assert [ask(client, b"%d" % number) for number, client in enumerate(clients)] == [
        b"%d" % number for number in range(50)
    ]
    assert threads_of_proxies() == before
    proxy.hold()
    for client in clients[:25]:
        client.close()
    proxy.stop()
    assert threads_of_proxies() == before - 1
    assert proxy.open_connections == 0
    for client in clients[25:]:
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)
    wait_until(lambda: echo.ends == 50, 5, lambda: "the server's connections stay")
