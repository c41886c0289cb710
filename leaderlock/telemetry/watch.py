"""What metrics show of a client: read when it is asked for, or counted from events.

Whether a candidate leads, and for how long, is read from the clock at that very moment: it is
right even if the process has been paused, and nothing has told anybody of it yet. Everything here
holds the client weakly: metrics keep nothing alive.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from leaderlock.errors import ConfigurationError
from leaderlock.machine import State
from leaderlock.telemetry.events import (
    CallbackFailed,
    ElectionEvent,
    Event,
    Heartbeat,
    LeaderChanged,
    NoProgress,
    PlaceLost,
    StoreFailing,
    TermEnded,
    TermStarted,
    TokenRegressed,
)

if TYPE_CHECKING:
    from leaderlock.any_elector import AnyElector
    from leaderlock.client import Client, ClientFront
    from leaderlock.tokens import FencingToken

FAULTS = (CallbackFailed, NoProgress, PlaceLost, StoreFailing, TokenRegressed)
"""The events that tell of something that went wrong. They are counted by their names."""

RENEW_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the histogram of heartbeats."""

_KINDS = (TermStarted, TermEnded, *FAULTS, Heartbeat)

Key = tuple[str, str]
"""An election, and a candidate of it."""


class Reading(NamedTuple):
    """One candidate at this moment.

    Attributes:
        key: its election, and its id.
        token: of its present term; None: it does not lead.
        remaining: seconds for which it leads if no renewal succeeds any more.
        problem: what its `LeaderElector.health` complains of; empty if it is healthy.
        leaderless: seconds without a leader, as far as it has heard; None: it has heard nothing.
    """

    key: Key
    token: FencingToken | None
    remaining: float
    problem: str
    leaderless: float | None

    @property
    def is_healthy(self) -> bool:
        """See `LeaderElector.health`."""
        return not self.problem


class _Leader(NamedTuple):
    """Who leads: the token of the term; None: nobody does, since `gone_at` on the clock."""

    token: FencingToken | None
    gone_at: float


def client_of(source: AnyElector[Any] | Client | ClientFront) -> Client:
    """The client whose elections are shown. An elector stands for the client that it has.

    Raises:
        ConfigurationError: it is neither.
    """
    found: Any = getattr(source, "_client", source)
    if not hasattr(found, "electors"):
        raise ConfigurationError(f"an elector or a client can be watched, not {source!r}")
    client: Client = found
    return client


def key_of(event: ElectionEvent) -> Key:
    """Whom an event is of."""
    return event.election, event.candidate_id


def short_name(event: Event) -> str:
    """The name of an event where it is plain whose event it is."""
    return event.name.removeprefix("leaderlock.")


class Watch:
    """One client.

    Args:
        hear: called with its events, on a thread of leaderlock, one at a time.
        forget: called in a forked child, before anything else: what was counted is the parent's.
        follow_leader: have the leader of each election observed.

    Attributes:
        place: the kind of store and the namespace, which tell elections of one name apart.
    """

    def __init__(
        self,
        client: Client,
        hear: Callable[[Event], None],
        forget: Callable[[], None],
        *,
        follow_leader: bool,
    ) -> None:
        self.place = (client.config.url.scheme, client.config.namespace)
        self._client = weakref.ref(client)
        self._now = client.clock.now
        self._hear = hear
        self._forget = forget
        self._leaders: dict[Key, _Leader] = {}  # as each candidate has heard last
        self._pid = os.getpid()
        followed = (LeaderChanged,) if follow_leader else ()
        client.subscribe(self._listen, *_KINDS, *followed)

    @property
    def client(self) -> Client | None:
        """None: it is gone."""
        return self._client()

    def _listen(self, event: Event) -> None:
        self._notice_fork()
        match event:
            case LeaderChanged(leader=leader):
                nobody = _Leader(None, self._now())
                known = _Leader(leader.token, math.inf) if leader else nobody
                self._leaders[key_of(event)] = known
                return
            case TermEnded(token=token):
                self._note_end(key_of(event), token)
        self._hear(event)

    def _note_end(self, key: Key, token: FencingToken) -> None:
        """Nobody leads now, as far as it knows: the store may be too silent to tell it who does."""
        known = self._leaders.get(key)
        if known is not None and known.token == token:
            self._leaders[key] = _Leader(None, self._now())

    def _notice_fork(self) -> None:
        pid = os.getpid()
        if pid != self._pid:
            self._pid = pid
            self._leaders = {}
            self._forget()

    def keys(self) -> set[Key]:
        """The electors that there are."""
        return {(elector.election, elector.candidate_id) for elector in self._electors()}

    def readings(self) -> Iterator[Reading]:
        """What is to be said of each candidate now. Not of electors that only observe."""
        self._notice_fork()
        if self._leaders:
            for key in self._leaders.keys() - self.keys():
                self._leaders.pop(key, None)
        for elector in self._electors():
            candidate = elector._candidate
            if candidate.state not in (State.IDLE, State.FORKED) or candidate.error is not None:
                yield self._read(elector)

    def _electors(self) -> list[AnyElector[Any]]:
        client = self.client
        return [] if client is None else client.electors

    def _read(self, elector: AnyElector[Any]) -> Reading:
        key = elector.election, elector.candidate_id
        leadership = elector.leadership
        remaining = 0.0 if leadership is None else leadership.remaining()
        token = leadership.token if leadership is not None and remaining else None
        leader = self._leaders.get(key)
        leaderless = None if leader is None else max(0.0, self._now() - leader.gone_at)
        if token is not None:
            leaderless = 0.0
        return Reading(key, token, remaining, elector.health().problem, leaderless)
