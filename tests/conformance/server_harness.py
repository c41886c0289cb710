"""What the harnesses of stores on one real server have in common."""

from __future__ import annotations

from typing import Generic, TypeVar

from leaderlock.testing import BackendHarness
from leaderlock.testing.servers.process import Server

ServerT = TypeVar("ServerT", bound=Server)


class ServerHarness(BackendHarness, Generic[ServerT]):
    """A server of our own, to be frozen and killed. It keeps its data."""

    def __init__(self, server: ServerT) -> None:
        super().__init__()
        self._server = server

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        if self._server.frozen:
            self._server.thaw()

    def break_store(self) -> None:
        self._server.kill()

    def mend_store(self) -> None:
        if not self._server.running:
            self._server.start()
