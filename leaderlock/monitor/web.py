"""What a monitor serves: the page, its stream of events, the state as JSON, metrics, reports.

Who may ask is decided in one place, `Door`. What candidates are called and show is hostile text: it
leaves this program as JSON only, and the page makes text of it and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Collection
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leaderlock.monitor.report import LARGEST, BadReport, read_report
from leaderlock.telemetry.beacon import PATH

if TYPE_CHECKING:
    from leaderlock.monitor.server import Monitor

MOST_STREAMS = 100
"""How many pages may be open at once."""

_HEARTBEAT = 5.0
_COALESCE = 0.2
_MOST_UPLOADS = 16
_SLOWEST_UPLOAD = 10.0
_LARGEST_LOGIN = 4096
_COOKIE = "leaderlock-monitor"
_OPEN = ("/healthz", "/login", "/static/")
_STATIC = {
    "monitor.css": "text/css",
    "monitor.js": "text/javascript",
    "timeline.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    b"default-src 'none'",
    b"script-src 'self'",
    b"style-src 'self'",
    b"img-src 'self'",
    b"connect-src 'self'",
    b"base-uri 'none'",
    b"form-action 'self'",
    b"frame-ancestors 'none'",
)
_HEADERS = [
    (
        b"content-security-policy",
        b"; ".join(_POLICY),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Door:
    """Who may come in.

    With a token: who shows it, as "Authorization: Bearer ..." or by the cookie of the login.
    Without one: who asks for one of these hosts. A web page that has its own name resolved to this
    machine (DNS rebinding) asks for that name, and gets nothing.
    """

    def __init__(self, token: str | None, hosts: Collection[str]) -> None:
        self._token = token
        self._hosts = {host.lower() for host in hosts}

    @property
    def is_locked(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    @property
    def cookie(self) -> str:
        """What a browser keeps in place of the token."""
        return hmac.new((self._token or "").encode(), b"page", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether that is the token."""
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    def lets_in(self, request: Request) -> bool:
        """Whether it shows the token, if there is one."""
        if self._token is None:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        shown = request.cookies.get(_COOKIE, "")
        return (scheme.lower() == "bearer" and self.knows(token.strip())) or hmac.compare_digest(
            shown.encode(), self.cookie.encode()
        )

    def is_host(self, request: Request) -> bool:
        """Whether it asks for a host of ours. With a token the name does not matter."""
        if self._token is not None:
            return True
        try:
            name = urlsplit(f"//{request.headers.get('host', '')}").hostname
        except ValueError:
            return False
        return name in self._hosts


class Guard:
    """In front of everything: looks at the door, and adds the headers that keep a page safe."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, send_safely)

    def _refusal(self, request: Request) -> ASGIApp | None:
        # What the routes go by. `url` is put together from what the asker says the host is.
        path = request.scope["path"]
        if not self._door.is_host(request):
            return _error(421, "this monitor is not asked by that name: see --allow-host")
        if path.startswith(_OPEN) or self._door.lets_in(request):
            return None
        if path == "/":
            return RedirectResponse("login", 303)
        return _error(
            401,
            "this monitor asks for its token: 'Authorization: Bearer ...'",
            {"www-authenticate": 'Bearer realm="leaderlock monitor"'},
        )


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)


def _gone() -> Response:
    """For who has gone before all was said, as a node that is killed: nobody reads it."""
    return _error(400, "the request has ended before its end")


class TooLarge(Exception):
    """A body is longer than allowed."""


class Web:
    """The routes of one monitor."""

    def __init__(self, monitor: Monitor, door: Door) -> None:
        self._monitor = monitor
        self._door = door
        self._uploads = asyncio.Semaphore(_MOST_UPLOADS)
        self._streams = 0
        static = files("leaderlock.monitor") / "static"
        self._files = {name: (static / name).read_bytes() for name in _STATIC}
        self._page = (static / "index.html").read_bytes()
        self._login = (static / "login.html").read_text(encoding="utf-8")

    @property
    def app(self) -> ASGIApp:
        """As ASGI."""
        routes = [
            Route("/", self._show_page),
            Route("/static/{name}", self._show_file),
            Route("/login", self._show_login),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/healthz", self._show_health),
            Route("/metrics", self._show_metrics),
            Route("/api/state", self._show_state),
            Route("/api/events", self._stream),
            Route(PATH, self._take_report, methods=["POST"]),
        ]
        return Guard(Starlette(routes=routes), self._door)

    async def _show_page(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html")

    async def _show_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            return _error(404, "no such file")
        return Response(self._files[name], media_type=_STATIC[name])

    async def _show_login(self, request: Request) -> Response:
        if not self._door.is_locked or self._door.lets_in(request):
            return RedirectResponse("./", 303)
        return self._login_page()

    def _login_page(self, told: str = "", status: int = 200) -> Response:
        page = self._login.replace("<!-- told -->", told)
        return Response(page, status, media_type="text/html")

    async def _log_in(self, request: Request) -> Response:
        try:
            body = await _read(request, _LARGEST_LOGIN)
        except TooLarge:
            body = b""
        except ClientDisconnect:
            return _gone()
        token = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        if not self._door.knows(token.strip()):
            return self._login_page("That is not the token.", 403)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            _COOKIE,
            self._door.cookie,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def _show_health(self, request: Request) -> Response:
        """The monitor is well, also while the store is not: that is what it is there for."""
        store = "unreachable" if self._monitor.state.store_error else "answers"
        return JSONResponse({"status": "ok", "store": store})

    async def _show_metrics(self, request: Request) -> Response:
        page = self._monitor.metrics.page(self._monitor.now())
        return Response(page, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _show_state(self, request: Request) -> Response:
        return Response(_encode(self._monitor.show()), media_type="application/json")

    async def _stream(self, request: Request) -> Response:
        if self._streams >= MOST_STREAMS:
            return _error(503, f"{MOST_STREAMS} pages are open already")
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        """All there is, then what changes. A page that comes back gets all there is again."""
        monitor, since = self._monitor, 0
        self._streams += 1
        try:
            yield b"retry: 1000\n\n"
            while not monitor.is_ending:
                message = monitor.show(since)
                since = message["version"]
                yield b"data: " + _encode(message) + b"\n\n"
                await monitor.wait_change(since, _HEARTBEAT)
                await asyncio.sleep(_COALESCE)
        finally:
            self._streams -= 1

    async def _take_report(self, request: Request) -> Response:
        # A page of another site may send anything but this without asking first.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _error(415, "a report must have the content type application/json")
        try:
            async with self._uploads:
                body = await asyncio.wait_for(_read(request, LARGEST), _SLOWEST_UPLOAD)
            report = read_report(body)
        except ClientDisconnect:
            return _gone()
        except TooLarge:
            return _error(413, f"a report may have {LARGEST} bytes")
        except TimeoutError:
            return _error(408, f"a report must arrive within {_SLOWEST_UPLOAD:g} s")
        except BadReport as error:
            return _error(400, str(error))
        monitor = self._monitor
        if report.namespace != monitor.state.namespace:
            return _error(409, f"this monitor watches the namespace {monitor.state.namespace!r}")
        return JSONResponse({"monitor": monitor.id, "stamp": monitor.take(report)})


async def _read(request: Request, largest: int) -> bytes:
    """Raises TooLarge."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise TooLarge
    return bytes(body)


def _encode(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
