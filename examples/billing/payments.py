"""The payment service: an HTTP API in a process of its own, standing for the third party.

    PUT  /fence               raise the fence to the token
    POST /charges             charge one customer: {"subscription", "day", "cents", "server"}
    GET  /charges?day=DAY     which subscriptions have been charged for that day

The token travels in the header ``Leaderlock-Token``, in its wire form. A token lower than one seen
before gets 412 and the header ``Leaderlock-Current``. The service does not import leaderlock: all
that a resource has to do about fencing is to remember the highest token and to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.billing.events import EventWriter, Kind
from examples.billing.ledger import Charge, Ledger, StaleCharge

TOKEN_HEADER = "Leaderlock-Token"
CURRENT_HEADER = "Leaderlock-Current"
WIRE_FORM = re.compile(r"\d{10}\.\d{19}", re.ASCII)


class PaymentService:
    """The HTTP side of a ledger.

    The ledger is called in the event loop: a call is well under a millisecond, and it makes the
    order in which requests are decided the order in which they are written.
    """

    def __init__(self, ledger: Ledger, *, latency: float, fenced: bool) -> None:
        self._ledger = ledger
        self._latency = latency
        self._fenced = fenced

    def app(self, started: EventWriter, port: int) -> Starlette:
        """The application; it tells its port once it is ready to serve."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            started.emit(Kind.READY, detail=str(port))
            yield
            self._ledger.close()

        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/fence", self.fence, methods=["PUT"]),
                Route("/charges", self.charge, methods=["POST"]),
                Route("/charges", self.charged, methods=["GET"]),
            ],
            exception_handlers={StaleCharge: refused},
        )

    async def fence(self, request: Request) -> Response:
        """PUT /fence"""
        self._ledger.advance(self._token(request))
        return Response(status_code=204)

    async def charge(self, request: Request) -> Response:
        """POST /charges"""
        token = self._token(request)
        body = await request.json()
        try:
            charge = Charge(
                subscription=int(body["subscription"]),
                day=str(body["day"]),
                cents=int(body["cents"]),
                server=str(body["server"]),
                token=token,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HTTPException(422, f"not a charge: {error!r}") from error
        # The bank takes its time. The fence is looked at after that, at the last moment: a charge
        # on its way while a successor raises the fence is refused like any other late one.
        await asyncio.sleep(self._latency)
        self._ledger.charge(charge)
        return JSONResponse({"charged": charge.subscription}, status_code=201)

    async def charged(self, request: Request) -> Response:
        """GET /charges"""
        day = request.query_params.get("day")
        if day is None:
            raise HTTPException(422, "which day? GET /charges?day=YYYY-MM-DD")
        return JSONResponse({"subscriptions": self._ledger.charged(day)})

    def _token(self, request: Request) -> str | None:
        token = request.headers.get(TOKEN_HEADER)
        if token is None:
            if self._fenced:
                raise HTTPException(428, f"the header {TOKEN_HEADER} is missing")
            return None
        if not WIRE_FORM.fullmatch(token):
            raise HTTPException(400, f"{TOKEN_HEADER} must be str(token), got {token!r}")
        return token


async def refused(_: Request, error: Exception) -> Response:
    """412: somebody with a higher token has been here."""
    if not isinstance(error, StaleCharge):
        raise error
    headers = {CURRENT_HEADER: error.current}
    return JSONResponse({"detail": str(error)}, status_code=412, headers=headers)


def main() -> None:
    """Serve until the standard input ends, which it also does when the parent is killed."""
    parser = argparse.ArgumentParser(prog="python -m examples.billing.payments")
    parser.add_argument("--ledger", type=Path, required=True, help="the SQLite file")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a charge takes")
    parser.add_argument("--no-fence", action="store_true", help="accept any token")
    options = parser.parse_args()

    fenced = not options.no_fence
    listener = socket.create_server(("127.0.0.1", 0))
    # Connections inherit it. Without it an answer waits 40 ms for the acknowledgement of its header
    # (asyncio would set it, but not on the connections of a socket that it is handed).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ledger = Ledger(options.ledger, fenced=fenced)
    service = PaymentService(ledger, latency=options.latency, fenced=fenced)
    app = service.app(EventWriter("payments", sys.stdout), listener.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=120,  # a paused server finds its connection as it left it
            timeout_graceful_shutdown=1,
        )
    )

    def stop_at_end_of_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, name="commands", daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
