"""What the tests of redis:// share."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

from leaderlock import LeaderElector
from leaderlock.backends.base import Settings
from leaderlock.backends.redis import RedisBackend
from leaderlock.backends.redis.scripts import CAMPAIGN
from leaderlock.backends.redis.target import target_of
from leaderlock.testing.servers.redis import RedisServer
from leaderlock.url import StoreURL
from tests.backends.tools import attempt_at, win
from tests.elector.tools import Record

TTL = 2.0


def backend_at(
    url: str, *, ttl: float = 30.0, timeout: float = 1.0, wait: int = 0, quarantine: bool = False
) -> RedisBackend:
    settings = Settings(ttl=ttl, request_timeout=timeout)
    return RedisBackend(target_of(StoreURL.parse(url)), settings, wait, quarantine)


def elector_at(url: str, record: Record | None = None, ttl: float = TTL) -> LeaderElector:
    record = record or Record()
    return LeaderElector(
        url,
        "e",
        ttl=ttl,
        quarantine=False,
        on_elected=record.elected,
        on_lost=record.lost,
    )


OF_CAMPAIGNS = CAMPAIGN.digest.encode()
"""Stands in a campaign to a server that knows the script; see `prepare`."""


def prepare(backend: RedisBackend) -> None:
    """Have it connected, and its server know the script of campaigns."""
    win(backend, attempt_at("other"))


def scripts_run(server: RedisServer) -> int:
    return _calls("eval|evalsha", server)


def requests_to(*servers: RedisServer) -> int:
    """What candidates have asked so far: scripts, readings and subscriptions."""
    return _calls("eval|evalsha|hmget|subscribe|unsubscribe", *servers)


def _calls(words: str, *servers: RedisServer) -> int:
    told = "".join(str(server.call("INFO", "commandstats")) for server in servers)
    return sum(int(calls) for calls in re.findall(rf"cmdstat_(?:{words}):calls=(\d+)", told))


def queue_of(server: RedisServer, election: str = "e") -> list[str]:
    """The attempts that wait, the first in front."""
    key = f"{{leaderlock:{election}}}:queue"
    places = server.call("ZRANGEBYSCORE", key, "0", "+inf")
    assert isinstance(places, list)
    return [str(place).partition(":")[2] for place in places]


def keys_of(server: RedisServer) -> list[str]:
    keys = server.call("KEYS", "*")
    assert isinstance(keys, list)
    return sorted(str(key) for key in keys)


@contextlib.contextmanager
def dripping(server: RedisServer, pause: float) -> Iterator[int]:
    """A port that passes one connection on to the server, and each byte back after a pause."""

    def pass_on(source: socket.socket, target: socket.socket, size: int, pause: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(size):
                time.sleep(pause)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def run() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as client:
            back = threading.Thread(target=pass_on, args=(behind, client, 1, pause))
            back.start()
            pass_on(client, behind, 65536, 0)
            client.shutdown(socket.SHUT_RDWR)
            back.join()

    with (
        socket.create_connection(("127.0.0.1", server.port)) as behind,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
