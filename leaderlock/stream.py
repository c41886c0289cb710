"""Who listens to events, and the stream of a client: the events of all its electors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from leaderlock.errors import ConfigurationError
from leaderlock.telemetry.events import Event, Renewed
from leaderlock.workers import Lane, Workers

log = logging.getLogger("leaderlock")

_MOST_WAITING = 100_000


class Listener:
    """A function of the user's, and the kinds of events that it is called with.

    Attributes:
        of_renewals: anybody in this process has asked for renewals, of which there are thousands.

    Args:
        function: called with an event.
        kinds: classes of events; none: all but the frequent ones.
    """

    __slots__ = ("_function", "_kinds")
    of_renewals: ClassVar[bool] = False

    def __init__(self, function: Callable[[Any], object], kinds: tuple[type[Event], ...]) -> None:
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, Event)):
                raise ConfigurationError(
                    f"{kind!r} is no kind of event: name classes of leaderlock.telemetry.events"
                )
        self._function = function
        self._kinds = kinds
        Listener.of_renewals |= self.wants(Renewed)

    def wants(self, kind: type[Event]) -> bool:
        """Whether it is called with events of this kind."""
        return issubclass(kind, self._kinds) if self._kinds else not kind.frequent

    def __call__(self, event: Event) -> object:
        return self._function(event) if self.wants(type(event)) else None


def is_wanted(kind: type[Event], listeners: Sequence[Listener]) -> bool:
    """Whether anybody wants events of this kind; what nobody wants is not even made."""
    return bool(listeners) and any(listener.wants(kind) for listener in listeners)


def guarded(listener: Callable[[Event], object]) -> Callable[[Event], None]:
    """The same, but what it raises is logged, and ends nothing."""

    def call(event: Event) -> None:
        try:
            listener(event)
        except BaseException as error:  # CancelledError and SystemExit, too, must not end a thread
            log.error("leaderlock.callback_failed callback=listener", exc_info=error)

    return call


class Stream:
    """Tells what all electors of a client tell, in order, one thing at a time.

    On a lane of its own, so that who listens here holds up no callback of an elector. What a
    listener raises is logged. One that hangs for ever must not take all memory: of the events that
    come with each heartbeat, at most 100,000 wait.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._is_dropping = False
        self._workers: Workers | None = None
        self._lane: Lane | None = None  # while the client has a session, and after it

    def add(self, listener: Listener) -> None:
        """Tell it what happens from now on."""
        self._listeners.append(listener)

    def open(self, workers: Workers) -> None:
        """Tell it on these threads."""
        self._workers, self._lane = workers, Lane(workers)

    def close(self) -> None:
        """In a forked child: the threads are not there."""
        self._lane = None

    def wants(self, kind: type[Event]) -> bool:
        """Whether anybody listens to events of this kind."""
        return is_wanted(kind, self._listeners)

    def emit(self, event: Event) -> None:
        """Queue an event for the listeners."""
        if self._lane is None or not self.wants(type(event)):
            return
        if not event.frequent:
            self._lane.submit(partial(self._tell, event))
        elif self._lane.waiting < _MOST_WAITING:
            self._is_dropping = False
            self._lane.submit(partial(self._tell, event))
        elif not self._is_dropping and self._workers is not None:
            self._is_dropping = True
            self._workers.submit(_log_dropped)  # not here: the caller may hold a lock

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            guarded(listener)(event)


def _log_dropped() -> None:
    log.warning("leaderlock.events_dropped waiting=%s", _MOST_WAITING)
