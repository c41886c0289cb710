"""One monitor: the state on an event loop, what reads and tells beside it, and a web server."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import signal
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import leaderlock
from leaderlock.backends.admin import admin_of
from leaderlock.client import Client
from leaderlock.errors import BackendUnavailable, ConfigurationError, MissingDependency
from leaderlock.monitor.report import Report
from leaderlock.monitor.state import State
from leaderlock.monitor.watcher import PROBE, Watcher
from leaderlock.monitor.webhook import Webhook

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from leaderlock.monitor.metrics import MonitorCollector
    from leaderlock.monitor.web import Door, Web
except ImportError as error:
    raise MissingDependency(
        f"the monitor needs starlette, uvicorn and prometheus-client, which cannot be imported "
        f"({error!r}): pip install 'leaderlock[monitor]'"
    ) from error

log = logging.getLogger("leaderlock")

SHORTEST_TOKEN = 16
_TICK = 0.5
_MOST_CONNECTIONS = 500  # a process often has 1024 descriptors, and the store needs some
_SLOWEST_REQUEST = 5.0
_LAST_WORDS = 2.0
_LEAST_LEADERLESS = 30.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a monitor is to do.

    Attributes:
        elections: those to watch; none: all of the namespace.
        leaderless: seconds that nobody may lead; 0: for ever; None: 30, or the worst-case
            fail-over of the store if that is longer.
        most: how many elections are kept.
        token: who asks has to show it; None: nobody has to.
        hosts: names by which the monitor may be asked without a token, beside those of loopback.
    """

    elections: Collection[str] = ()
    leaderless: float | None = None
    most: int = 1000
    token: str | None = None
    hosts: Collection[str] = ()


class Monitor:
    """What is served. All of it on one event loop.

    Attributes:
        id: of this process: a stamp of another one means nothing.
    """

    def __init__(self, client: Client, wish: Wish, webhook: Webhook | None) -> None:
        self.id = secrets.token_hex(8)
        self.now = client.clock.now
        leaderless = wish.leaderless
        if leaderless is None:
            leaderless = max(_LEAST_LEADERLESS, client.timing.worst_case_failover)
        self.state = State(
            client.config.namespace,
            leaderless=leaderless,
            most=wish.most,
            only_named=bool(wish.elections),
        )
        self.metrics = MonitorCollector(self.state, client.config.url.scheme, webhook)
        self._client = client
        self._webhook = webhook
        self._names = wish.elections
        self._place = {
            "id": self.id,
            "version": leaderlock.__version__,
            "store": str(client.config.url),
            "namespace": client.config.namespace,
            "leaderless": leaderless,
        }
        self._news = asyncio.Event()
        self.is_ending = False
        # Elections that are named need nothing from the store that not every store has.
        admin = None if wish.elections else admin_of(client.runtime().backend)
        self._watcher = Watcher(client, self.state, self._post, admin)

    def ask_once(self) -> None:
        """Tell of what will not get better by itself, before anything is served.

        Raises:
            BackendRefused: the store refuses.
        """
        with suppress(BackendUnavailable):  # that is an alarm, and the reason to watch
            self._client.runtime().ask("leader", self._client.runtime().backend.leader, PROBE)

    async def run(self, server: uvicorn.Server, place: socket.socket) -> None:
        """Watch and serve, until a signal comes."""
        self._loop = asyncio.get_running_loop()
        for name in self._names:
            self.state.add(name, self.now(), is_named=True)
        self._watcher.follow(self.state.elections.keys())
        self._watcher.start()
        try:
            # Together: one that can raise no alarms any more must not go on as if all were well.
            async with asyncio.TaskGroup() as tasks:
                ticking = tasks.create_task(self._tick(server))
                await server.serve(sockets=[place])
                ticking.cancel()
        finally:
            self._watcher.stop()

    def _post(self, change: Callable[..., None], *args: Any) -> None:
        """Have the state changed, from any thread."""
        with suppress(RuntimeError):  # the loop has ended, and nobody looks any more
            self._loop.call_soon_threadsafe(self._apply, change, *args)

    def _apply(self, change: Callable[..., None], *args: Any) -> None:
        before = self.state.version
        change(*args)
        self._tell_news(before)

    def _tell_news(self, before: int) -> None:
        if self.state.version != before or self.is_ending:
            news, self._news = self._news, asyncio.Event()
            news.set()

    async def _tick(self, server: uvicorn.Server) -> None:
        while True:
            self._look()
            if server.should_exit:
                self.is_ending = True
                self._tell_news(self.state.version)
            await asyncio.sleep(_TICK)

    def _look(self) -> None:
        before = self.state.version
        alarms = self.state.tick(self.now())
        for alarm in alarms:
            if alarm.resolved is None:
                log.warning(
                    "leaderlock.alarm_raised raised=%s election=%r why=%s",
                    alarm.kind.value,
                    alarm.election,
                    alarm.why,
                )
            else:
                log.info(
                    "leaderlock.alarm_resolved resolved=%s election=%r lasted=%.1f",
                    alarm.kind.value,
                    alarm.election,
                    alarm.resolved - alarm.raised,
                )
        if alarms and self._webhook is not None:
            self._webhook.tell(alarms)
        self._tell_news(before)

    # For the web

    def show(self, since: int = 0) -> dict[str, Any]:
        """What has changed since a version of the state."""
        return {"monitor": self._place, **self.state.as_json(self.now(), since)}

    async def wait_change(self, since: int, patience: float) -> None:
        """Wait until there is something newer, for at most `patience` seconds."""
        if self.state.version == since and not self.is_ending:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), patience)

    def take(self, report: Report) -> float:
        """A node has reported. Returns the stamp that it is to send back."""
        before = self.state.version
        if self.state.tell(report, self.id, self.now()):
            self._watcher.follow(self.state.elections.keys())
        self._tell_news(before)
        return self.now()


class Connection(H11Protocol):
    """Closed when nothing is asked on it for some seconds, and when there are too many.

    Otherwise who has no token could keep everybody out, and the store from being read, by opening
    connections.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._seen: object = None
        self._next_look = self.loop.call_later(_SLOWEST_REQUEST, self._look)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is self._seen and not is_answering:
            self.transport.close()
        else:
            self._seen = self.cycle
            self._next_look = self.loop.call_later(_SLOWEST_REQUEST, self._look)


def listen(where: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigurationError: not a host and a port, or nothing can listen there.
    """
    host, colon, port = where.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigurationError(
            f"--listen {where!r} must be a host and a port, for example 127.0.0.1:9464"
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        place = socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(f"cannot listen on {where}: {why}") from None
    place.set_inheritable(False)
    return place


def url_of(place: socket.socket) -> str:
    """How a browser on this machine reaches it."""
    host, port = place.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def require_safe(place: socket.socket, token: str | None) -> None:
    """Everybody who reaches a monitor can read it, and tell it lies.

    Raises:
        ConfigurationError: others than this machine reach it, and there is no sound token.
    """
    if token is not None:
        if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
            raise ConfigurationError(
                f"the monitor's token must have {SHORTEST_TOKEN} or more printable ASCII "
                "characters: try `openssl rand -hex 16`"
            )
    elif not ipaddress.ip_address(place.getsockname()[0].partition("%")[0]).is_loopback:
        raise ConfigurationError(
            "other machines would reach this monitor, and it has no token: set "
            "LEADERLOCK_MONITOR_TOKEN or --token-file, or listen on 127.0.0.1"
        )


def serve(
    client: Client,
    wish: Wish,
    place: socket.socket,
    webhook: Webhook | None,
    ready: Callable[[], object],
) -> NoReturn:
    """Watch and serve, until SIGTERM or SIGINT end the program.

    Args:
        ready: called when it is about to serve.

    Raises:
        BackendRefused: the store refuses.
        ConfigurationError: this store cannot list elections, and none is named.
        SystemExit: 128 and the number of the signal.
    """

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    for number in _SIGNALS:  # uvicorn has its own while it serves, and sends it again then
        signal.signal(number, leave)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    own = place.getsockname()[0]
    door = Door(wish.token, {"localhost", "127.0.0.1", "::1", own, *wish.hosts})
    asyncio.run(_serve(client, wish, place, webhook, door, ready))
    raise SystemExit(0)


async def _serve(
    client: Client,
    wish: Wish,
    place: socket.socket,
    webhook: Webhook | None,
    door: Door,
    ready: Callable[[], object],
) -> None:
    monitor = Monitor(client, wish, webhook)
    monitor.ask_once()
    config = uvicorn.Config(
        Web(monitor, door).app,
        access_log=False,
        http=Connection,
        lifespan="off",
        log_config=None,
        loop="asyncio",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(_LAST_WORDS),
        ws="none",
    )
    ready()
    await monitor.run(uvicorn.Server(config), place)
