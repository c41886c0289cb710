"""ZooKeeper for the suite: one server, an operator beside it, and clients that can be paused."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError

from leaderlock.backends.base import Backend, Settings
from leaderlock.backends.layout import key_part
from leaderlock.backends.zookeeper import ZooKeeperBackend
from leaderlock.backends.zookeeper.session import Session
from leaderlock.testing.harness import NAMESPACE
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from leaderlock.url import StoreURL
from tests.conformance.server_harness import ServerHarness

T = TypeVar("T")


class ZooKeeperHarness(ServerHarness[ZooKeeperServer]):
    """A real server, to be frozen and killed."""

    short_ttl = 2.0
    short_timeout = 0.4

    def make_backend(self, settings: Settings) -> Backend:
        return ZooKeeperBackend.from_url(StoreURL.parse(self._server.url), settings)

    def delete_leader(self, election: str) -> None:
        parent = f"/{NAMESPACE}/{key_part(election)}"

        def delete(client: KazooClient) -> None:
            nodes = client.get_children(parent)
            client.delete(f"{parent}/{min(nodes, key=lambda node: node[-10:])}")

        self._operate(delete)

    def written(self) -> object:
        return self._operate(lambda client: dict(_stats(client, f"/{NAMESPACE}")))

    @contextlib.contextmanager
    def stalled(self, backend: Backend) -> Iterator[None]:
        """kazoo's own threads must not keep the session alive, nor must readings by this client."""
        assert isinstance(backend, ZooKeeperBackend)
        connection = backend._connection
        session, connection.session = connection.session, None
        if session is None:
            yield
            return
        with paused(session):
            yield
        for_readings, connection.session = connection.session, session
        if for_readings is not None:
            for_readings.close(self.patience)
        wait_settled(session, self.patience)

    def _operate(self, do: Callable[[KazooClient], T]) -> T:
        return operate(self._server.port, do)


@contextlib.contextmanager
def paused(session: Session) -> Iterator[None]:
    """Nothing leaves the client, as if its process stood still."""
    goes_on = threading.Event()
    connection = session.client._connection
    submit = connection._submit

    def wait_and_submit(*arguments: Any, **keywords: Any) -> None:
        goes_on.wait()
        submit(*arguments, **keywords)

    connection._submit = wait_and_submit
    try:
        yield
    finally:
        goes_on.set()
        del connection._submit


def wait_settled(session: Session, patience: float) -> None:
    """Until the client knows whether its session lives."""
    end = time.monotonic() + patience
    while not session.over and time.monotonic() < end:
        with contextlib.suppress(KazooException, session.client.handler.timeout_exception):
            session.client.exists_async("/").get(timeout=0.2)
            return
        threading.Event().wait(0.02)


def operate(port: int, do: Callable[[KazooClient], T], **options: Any) -> T:
    """Do something behind the back of all clients."""
    client = KazooClient(f"127.0.0.1:{port}", **options)
    try:
        client.start(timeout=20)
        return do(client)
    finally:
        client.stop()
        client.close()


def _stats(client: KazooClient, path: str) -> Iterator[tuple[str, object]]:
    try:
        value, stat = client.get(path)
        children = client.get_children(path)
    except NoNodeError:
        return
    yield path, (value, stat.mzxid, stat.cversion)
    for child in children:
        yield from _stats(client, f"{path}/{child}")
