"""A fence in front of a web application, ASGI or WSGI: stale writes are answered with 412.

    gate = FenceGate("billing")
    app = ASGIFence(app, gate.hold)

Which requests: every one that shows a token is checked, also a GET, so that a new leader's first
reading raises the fence. Requests whose method may change something need a token (428); those of
safe methods pass without one. One token, well formed, or 400. What is refused never reaches the
application, and its body is not read.

The request is held between the check and its end: a higher token waits until the requests under
lower ones have ended (`hold`). With `FenceGate.hold` that is so within one process. Where several
processes serve one resource, take `SQLFence.hold`, on a connection of each request's own; or let
the application check in the transaction that writes: it finds the token in its scope or environ,
as ``leaderlock.token``.

What it does not promise:

* Anything about websockets, which pass: check in the application.
* Anything about what the application still does when its request has ended.
* Protection from forged tokens: who may write may show the highest token there is, and keep
  everybody else out. Let the header pass only from those who are authenticated.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

from leaderlock.errors import ConfigurationError, StaleToken, TokenRegression
from leaderlock.fencing.headers import (
    SAFE_METHODS,
    SOURCE,
    TOKEN,
    Refusal,
    missing_token,
    read_token,
    refusal_of,
)
from leaderlock.tokens import FencingToken

Hold = Callable[[FencingToken], AbstractContextManager[object]]
"""Checks a token, and keeps higher ones out for the length of a `with` block."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

KEY = "leaderlock.token"


class ASGIFence:
    """ASGI middleware. Only `http` requests are checked; everything else passes.

    Args:
        app: the application.
        hold: of a fence: `FenceGate.hold`, or a function of yours that makes an `SQLFence` on a
            connection and uses its `hold`. It runs on a thread of its own for each request.
        exempt: methods that need no token.

    Raises:
        ConfigurationError: `hold` is none.
    """

    def __init__(self, app: ASGIApp, hold: Hold, *, exempt: Iterable[str] = SAFE_METHODS) -> None:
        self._app = app
        self._hold = _require_hold(hold)
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        values = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
        token = _judge_request(
            scope["method"],
            self._exempt,
            [value.decode("latin-1") for name, value in values if name == _TOKEN_BYTES],
            [value.decode("latin-1") for name, value in values if name == _SOURCE_BYTES],
        )
        if isinstance(token, Refusal):
            await _refuse(token, scope, send)
        elif token is None:
            await self._app(scope, receive, send)
        else:
            held = _HeldOnThread(self._hold, token)
            try:
                await held.enter()
            except (StaleToken, TokenRegression) as error:
                await _refuse(refusal_of(error), scope, send)
                return
            try:
                await self._app({**scope, KEY: token}, receive, send)
            finally:
                await held.leave()


class WSGIFence:
    """WSGI middleware. See `ASGIFence`; the request's own thread holds the fence."""

    def __init__(self, app: WSGIApp, hold: Hold, *, exempt: Iterable[str] = SAFE_METHODS) -> None:
        self._app = app
        self._hold = _require_hold(hold)
        self._exempt = frozenset(exempt)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        # A server joins two headers of one name with a comma, and no token has one.
        names = ("HTTP_" + name.upper().replace("-", "_") for name in (TOKEN, SOURCE))
        tokens, sources = ([environ[name]] if name in environ else [] for name in names)
        method = environ["REQUEST_METHOD"]
        token = _judge_request(method, self._exempt, tokens, sources)
        if token is None:
            return self._app(environ, start_response)
        if isinstance(token, Refusal):
            return _refuse_plainly(token, method, start_response)
        with ExitStack() as stack:
            try:
                stack.enter_context(self._hold(token))
            except (StaleToken, TokenRegression) as error:
                return _refuse_plainly(refusal_of(error), method, start_response)
            body = self._app({**environ, KEY: token}, start_response)
            return _HeldBody(body, stack.pop_all())


_TOKEN_BYTES, _SOURCE_BYTES = TOKEN.lower().encode(), SOURCE.lower().encode()


def _require_hold(hold: Hold) -> Hold:
    if not callable(hold):
        raise ConfigurationError(
            f"hold is a function that checks a token, such as FenceGate(...).hold, not {hold!r}"
        )
    return hold


def _judge_request(
    method: str, exempt: frozenset[str], tokens: list[str], sources: list[str]
) -> FencingToken | Refusal | None:
    token = read_token(tokens, sources)
    if token is None and method not in exempt:
        return missing_token()
    return token


class _HeldOnThread:
    """Enters and leaves a `hold` on one thread, while the event loop goes on.

    On one: a connection to a database may belong to the thread that has made it. On its own: in a
    pool, those who wait for a request to end could keep its end from running.
    """

    def __init__(self, hold: Hold, token: FencingToken) -> None:
        self._hold = hold
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._entered: asyncio.Future[None] = self._loop.create_future()
        self._left: asyncio.Future[None] = self._loop.create_future()
        self._over = threading.Event()

    async def enter(self) -> None:
        threading.Thread(target=self._run, name="leaderlock-fence", daemon=True).start()
        try:
            await self._entered
        except BaseException:
            self._over.set()  # whenever it is let in
            raise

    async def leave(self) -> None:
        self._over.set()
        await asyncio.shield(self._left)

    def _run(self) -> None:
        awaited = self._entered
        try:
            with self._hold(self._token):
                self._tell(self._entered)
                awaited = self._left
                self._over.wait()
        except BaseException as error:
            self._tell(awaited, error)
        else:
            self._tell(self._left)

    def _tell(self, future: asyncio.Future[None], error: BaseException | None = None) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(settle)


class _HeldBody:
    """The application's answer. The fence is held until the server has closed it (PEP 3333)."""

    def __init__(self, body: Iterable[bytes], stack: ExitStack) -> None:
        self._body = body
        self._stack = stack

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        with self._stack:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()


def _answer_of(refusal: Refusal, method: str) -> tuple[list[tuple[str, str]], bytes]:
    text = f"{refusal.text}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    return [*headers, *refusal.headers], b"" if method == "HEAD" else text


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    headers, body = _answer_of(refusal, scope["method"])
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _refuse_plainly(
    refusal: Refusal, method: str, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    headers, body = _answer_of(refusal, method)
    start_response(f"{refusal.status} {refusal.reason}", headers)
    return [body]
