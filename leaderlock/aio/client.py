"""connect() for asyncio: one session with a store, and any number of elections over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from leaderlock.aio.bridge import Home, close_client
from leaderlock.aio.leadership import Leadership
from leaderlock.backends.base import Backend
from leaderlock.callbacks import require_callable
from leaderlock.client import Client as ThreadedClient
from leaderlock.client import ClientFront
from leaderlock.client import connect as connect_threaded
from leaderlock.errors import LeaderLockError
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo
from leaderlock.stream import guarded
from leaderlock.timing import Timing, bounded_time

if TYPE_CHECKING:
    from leaderlock.aio.elector import LeaderElector
    from leaderlock.telemetry.events import Event

T = TypeVar("T")


class Client(ClientFront):
    """`leaderlock.Client` for asyncio: made by `connect()`, closed by `async with` or `close`."""

    def __init__(self, client: ThreadedClient) -> None:
        self._client = client

    @property
    def timing(self) -> Timing:
        """Every duration of the elections of this client, in seconds."""
        return self._client.timing

    def elector(
        self,
        election: str,
        *,
        candidate_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_elected: Callable[[Leadership], object] | None = None,
        on_lost: Callable[[Leadership, LossReason], object] | None = None,
        on_leader_change: Callable[[LeaderInfo | None], object] | None = None,
        healthy: Callable[[], object] | None = None,
        beat_timeout: float | None = None,
    ) -> LeaderElector:
        """An elector that shares this client's session. See `LeaderElector`.

        Raises:
            ConfigurationError: a value that cannot be used.
        """
        from leaderlock.aio.elector import LeaderElector

        return LeaderElector(
            self,
            election,
            candidate_id=candidate_id,
            metadata=metadata,
            on_elected=on_elected,
            on_lost=on_lost,
            on_leader_change=on_leader_change,
            healthy=healthy,
            beat_timeout=beat_timeout,
        )

    def subscribe(
        self, listener: Callable[[Event], T], *kinds: type[Event]
    ) -> Callable[[Event], T]:
        """Call `listener(event)` for the events of all electors of this client.

        As `leaderlock.Client.subscribe`, on the event loop that runs here and now. A plain
        function; coroutine functions can listen to an elector.

        Raises:
            ConfigurationError: it cannot be called with an event, or a kind is none.
            LeaderLockError: no event loop runs on this thread.
        """
        require_callable("listener", listener, 1)
        try:
            home = Home()
        except RuntimeError:
            raise LeaderLockError("subscribe where the event loop runs") from None
        self._client.subscribe(partial(home.call, guarded(listener)), *kinds)
        return listener

    async def close(self, timeout: float | None = None) -> bool:
        """Stop every elector of this client and end the session. See `leaderlock.Client.close`.

        When it is cancelled, the closing goes on.
        """
        return await close_client(self._client, bounded_time(timeout, self.timing.stop_timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<leaderlock.aio.Client {self._client.config.url}>"


def connect(store: str | Backend | None = None, **settings: Any) -> Client:
    """A client for many elections over one session. Does not wait.

    The arguments are those of `leaderlock.connect`.

    Raises:
        ConfigurationError: a value that cannot be used. Nothing is connected yet.
    """
    return Client(connect_threaded(store, **settings))
