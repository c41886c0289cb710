"""The fence in front of a web application, on real servers: ASGI by uvicorn, WSGI by wsgiref."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import socketserver
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import uvicorn

from leaderlock import ConfigurationError, FencingToken, StaleToken, TokenRegression
from leaderlock.fencing import (
    ASGIFence,
    FenceGate,
    SQLFence,
    WSGIFence,
    fence_headers,
    raise_if_fenced,
)
from tests.elector.tools import PATIENCE, eventually, in_thread
from tests.fencing.databases import RESOURCE, SQLite, token

OLD, NEW = token(5), token(6)


class App(ABC):
    """Notes the requests that reach it, and does with each what the test says.

    Attributes:
        seen: method and token of each request, and its body.
        act: called within the request, after the first half of the answer was sent.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, FencingToken | None, bytes]] = []
        self.act: Callable[[], object] = lambda: None

    @abstractmethod
    def serve(self, hold: Any) -> contextlib.AbstractContextManager[int]:
        """Serve the application behind a fence; yields the port."""


class Asgi(App):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.seen.append((scope["method"], scope.get("leaderlock.token"), body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half ", "more_body": True})
        await asyncio.to_thread(self.act)
        await send({"type": "http.response.body", "body": b"whole"})

    @contextlib.contextmanager
    def serve(self, hold: Any) -> Iterator[int]:
        config = uvicorn.Config(
            ASGIFence(self, hold),
            port=0,
            lifespan="off",
            log_level="critical",
        )
        server = uvicorn.Server(config)
        with in_thread(server.run):
            eventually(lambda: server.started)
            yield server.servers[0].sockets[0].getsockname()[1]
            server.should_exit = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None: ...

    def get_stderr(self) -> Any:
        return io.StringIO()


class Threading(socketserver.ThreadingMixIn, WSGIServer):
    """Handles requests beside each other, and waits for them at its end."""


class Wsgi(App):
    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size)
        self.seen.append((environ["REQUEST_METHOD"], environ.get("leaderlock.token"), body))
        start_response("200 OK", [])
        return self.answer()

    def answer(self) -> Iterator[bytes]:
        yield b"half "
        self.act()
        yield b"whole"

    @contextlib.contextmanager
    def serve(self, hold: Any) -> Iterator[int]:
        server = make_server("127.0.0.1", 0, WSGIFence(self, hold), Threading, Quiet)
        with server, in_thread(partial(server.serve_forever, 0.02)):
            yield server.server_port
            server.shutdown()


@pytest.fixture(params=[Asgi, Wsgi], ids=["asgi", "wsgi"])
def app(request: pytest.FixtureRequest) -> App:
    made: App = request.param()
    return made


def ask(
    port: int,
    method: str = "POST",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes = b"",
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.putrequest(method, "/")
        pairs = headers.items() if isinstance(headers, dict) else headers or []
        for name, value in [*pairs, ("Content-Length", str(len(body)))]:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


def test_a_stale_write_is_answered_with_412_and_the_current_token(app: App) -> None:
    with app.serve(FenceGate(RESOURCE).hold) as port:
        assert ask(port, headers=fence_headers(NEW), body=b"charge")[::2] == (200, "half whole")
        status, headers, text = ask(port, headers=fence_headers(OLD))
    assert (status, app.seen) == (412, [("POST", NEW, b"charge")])
    assert "is stale" in text
    with pytest.raises(StaleToken) as caught:
        raise_if_fenced(OLD, status, headers)
    assert (caught.value.presented, caught.value.highest) == (OLD, NEW)
    assert caught.value.highest.source == NEW.source


def test_another_source_of_the_same_epoch_is_refused_by_name(app: App) -> None:
    other = token(9, source="etcd:ü/b")
    with app.serve(FenceGate(RESOURCE).hold) as port:
        ask(port, headers=fence_headers(NEW))
        status, headers, text = ask(port, headers=fence_headers(other))
    assert status == 412
    assert "'redis:a'" in text and "'etcd:ü/b'" in text
    with pytest.raises(TokenRegression, match="etcd:ü/b"):
        raise_if_fenced(other, status, headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 428),
        ([("Leaderlock-Source", "redis:a")], 428),
        ([("Leaderlock-Token", "")], 400),
        ([("Leaderlock-Token", "7")], 400),
        ([("Leaderlock-Token", f"{NEW}x")], 400),
        ([("Leaderlock-Token", str(NEW).replace("0", "\N{SUPERSCRIPT TWO}", 1))], 400),
        ([("Leaderlock-Token", f"9999999999.{0:019d}")], 400),
        ([("Leaderlock-Token", f"{1:010d}.{2**63:019d}")], 400),
        ([("Leaderlock-Token", str(NEW)), ("Leaderlock-Token", str(NEW))], 400),
        ([("Leaderlock-Token", str(NEW)), ("leaderlock-token", str(OLD))], 400),
        ([("Leaderlock-Token", str(NEW)), ("Leaderlock-Source", "x" * 256)], 400),
        ([("Leaderlock-Token", str(NEW)), ("Leaderlock-Source", "a%0Ab")], 400),
        ([("leaderlock-token", f" {NEW} ")], 200),
        ([("LEADERLOCK-TOKEN", str(NEW)), ("leaderlock-source", "redis:a")], 200),
    ],
)
def test_a_write_needs_one_token_that_is_well_formed(
    app: App, headers: list[tuple[str, str]], status: int
) -> None:
    gate = FenceGate(RESOURCE)
    with app.serve(gate.hold) as port:
        assert ask(port, headers=headers)[0] == status
    assert len(app.seen) == (status == 200)
    assert gate.highest() == (NEW if status == 200 else None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_method_that_changes_nothing_needs_no_token_but_one_that_it_shows_counts(
    app: App, method: str
) -> None:
    gate = FenceGate(RESOURCE)
    with app.serve(gate.hold) as port:
        assert ask(port, method)[0] == 200
        assert gate.highest() is None
        assert ask(port, method, fence_headers(NEW))[0] == 200  # a new leader's first reading
        assert gate.highest() == NEW
        assert ask(port, method, fence_headers(OLD))[0] == 412
        assert ask(port, method, {"Leaderlock-Token": "x"})[0] == 400
    assert [token for _, token, _ in app.seen] == [None, NEW]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "PURGE"])
def test_every_other_method_is_guarded(app: App, method: str) -> None:
    with app.serve(FenceGate(RESOURCE).hold) as port:
        assert ask(port, method)[0] == 428
    assert app.seen == []


def test_a_successor_waits_until_the_request_has_ended_with_its_whole_answer(app: App) -> None:
    gate = FenceGate(RESOURCE)
    entered, over = threading.Event(), threading.Event()
    order: list[str] = []

    def write() -> None:
        entered.set()
        assert over.wait(PATIENCE)
        order.append("old")

    app.act = write
    with app.serve(gate.hold) as port, in_thread(partial(ask, port, headers=fence_headers(OLD))):
        assert entered.wait(PATIENCE)
        app.act = lambda: order.append("new")
        with in_thread(partial(ask, port, headers=fence_headers(NEW))):
            eventually(lambda: gate.highest() == NEW)
            assert ask(port, headers=fence_headers(OLD))[0] == 412
            over.set()
    assert order == ["old", "new"]


def test_an_application_that_raises_lets_the_successor_in(app: App) -> None:
    def fail() -> None:
        raise RuntimeError("in the application")

    gate = FenceGate(RESOURCE)
    app.act = fail
    with app.serve(gate.hold) as port:
        with contextlib.suppress(http.client.HTTPException):
            ask(port, headers=fence_headers(OLD))
        app.act = lambda: None
        assert ask(port, headers=fence_headers(NEW))[0] == 200
    gate.advance(NEW, timeout=PATIENCE)


def test_a_fence_that_cannot_be_asked_lets_nobody_through(app: App) -> None:
    def hold(shown: FencingToken) -> contextlib.AbstractContextManager[None]:
        raise OSError("the database is down")

    with app.serve(hold) as port:
        assert ask(port, headers=fence_headers(NEW))[0] == 500
    assert app.seen == []


def test_behind_a_fence_in_sql_any_number_of_processes_may_serve(app: App, tmp_path: Path) -> None:
    database = SQLite(tmp_path)
    database.prepare()

    @contextlib.contextmanager
    def hold(shown: FencingToken) -> Iterator[None]:
        # SQLite's connections belong to the thread that has made them.
        connection = database.open(check_same_thread=True)
        with contextlib.closing(connection), SQLFence(connection, RESOURCE).hold(shown):
            yield

    requests = [partial(ask, headers=fence_headers(OLD)) for _ in range(4)]
    with app.serve(hold) as port:
        with contextlib.ExitStack() as stack:
            for request in requests:  # more than there are threads in the loop's pool
                stack.enter_context(in_thread(partial(request, port)))
        assert len(app.seen) == 4
        SQLFence(database.connect(), RESOURCE).advance(NEW)  # by another process
        assert ask(port, headers=fence_headers(OLD))[0] == 412
    database.close()


def test_many_requests_of_one_term_run_beside_each_other() -> None:
    """More than the event loop has threads in its pool, each of which the application uses."""
    app = Asgi()
    everybody = threading.Barrier(4)
    app.act = lambda: everybody.wait(PATIENCE)
    with app.serve(FenceGate(RESOURCE).hold) as port, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(in_thread(partial(ask, port, headers=fence_headers(NEW))))
    assert len(app.seen) == 4


def test_a_request_that_is_cancelled_while_it_waits_is_never_let_in() -> None:
    gate = FenceGate(RESOURCE)
    reached: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["leaderlock.token"])

    async def main() -> None:
        scope = {"type": "http", "method": "POST", "headers": raw(fence_headers(NEW))}
        request = asyncio.ensure_future(ASGIFence(app, gate.hold)(scope, nothing, nothing))
        await asyncio.to_thread(eventually, lambda: gate.highest() == NEW)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    with gate.hold(OLD):
        asyncio.run(main())
    eventually(lambda: not any(t.name == "leaderlock-fence" for t in threading.enumerate()))
    assert reached == []
    gate.advance(token(7), timeout=0)  # nothing is held


def test_a_request_that_is_cancelled_within_the_application_lets_the_successor_in() -> None:
    gate = FenceGate(RESOURCE)

    async def main() -> None:
        inside = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inside.set()
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "POST", "headers": raw(fence_headers(OLD))}
        request = asyncio.ensure_future(ASGIFence(app, gate.hold)(scope, nothing, nothing))
        await inside.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        gate.advance(NEW, timeout=0)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_no_request_passes(kind: str) -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    asyncio.run(ASGIFence(app, FenceGate(RESOURCE).hold)({"type": kind}, nothing, nothing))
    assert reached == [kind]


@pytest.mark.parametrize("kind", [ASGIFence, WSGIFence])
def test_a_gate_in_place_of_its_hold_is_refused_at_once(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"FenceGate\(\.\.\.\)\.hold"):
        kind(None, FenceGate(RESOURCE))


def test_an_answer_that_is_no_refusal_of_a_fence_raises_nothing() -> None:
    raise_if_fenced(OLD, 200, {"Leaderlock-Current": str(NEW)})
    raise_if_fenced(OLD, 412, {"ETag": "x"})  # of If-Match
    with pytest.raises(StaleToken):
        raise_if_fenced(OLD, 412, [("leaderlock-current", str(NEW))])


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def nothing(*message: Any) -> Any: ...
