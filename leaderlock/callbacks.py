"""What the user is told: callbacks and events of one elector, in the order of what happened."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic

from leaderlock.errors import ConfigurationError
from leaderlock.leadership import Leadership, LeadershipT
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo
from leaderlock.stream import Listener, Stream, is_wanted
from leaderlock.telemetry.events import (
    CallbackFailed,
    ElectionEvent,
    Event,
    LeaderChanged,
    Renewed,
    RenewFailed,
)
from leaderlock.workers import Job, Lane

if TYPE_CHECKING:
    from leaderlock.runtime import Runtime

log = logging.getLogger("leaderlock")

OnElected = Callable[[Leadership], object]
OnLost = Callable[[Leadership, LossReason], object]
OnLeaderChange = Callable[[LeaderInfo | None], object]
OnEvent = Callable[[ElectionEvent], object]

_NOBODY = Stream()  # no elector without a client


class Callbacks(Generic[LeadershipT]):
    """Registers what the user wants to be told, and tells it in order, one thing at a time.

    On the lane of the elector, that is, on threads of leaderlock; for asyncio a subclass tells it
    on the event loop. What a callback raises is logged and told as an event; it stops nothing.

    Attributes:
        stream: of the client, for those who listen to all of its electors.
    """

    def __init__(self, election: str, candidate_id: str) -> None:
        self._election = election
        self.candidate_id = candidate_id
        self.stream = _NOBODY
        self._elected: list[Callable[[LeadershipT], object]] = []
        self._lost: list[Callable[[LeadershipT, LossReason], object]] = []
        self._leader_change: list[OnLeaderChange] = []
        self._listeners: list[Listener] = []
        self._runtime: Runtime | None = None  # while the elector has one
        self._lane: Lane | None = None

    def open(self, runtime: Runtime, *, anew: bool) -> None:
        """Tell what happens from now on, on the threads of this runtime.

        Args:
            anew: the elector is being started; else it goes on.
        """
        if self._runtime is not runtime:  # else what is told keeps its order
            self._runtime = runtime
            self._lane = Lane(runtime.callbacks)

    def close(self) -> None:
        """Tell nothing any more."""
        self._runtime = self._lane = None

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be told any more, so that the elector has nobody to lead for."""
        return False

    def give_up(self) -> None:
        """If so, count what is owed as told."""

    # Registering. The lists are read when a callback is due, not when it is queued.

    def add_elected(self, callback: Callable[[LeadershipT], object]) -> None:
        self.require("on_elected", callback, 1)
        self._elected.append(callback)

    def add_lost(self, callback: Callable[[LeadershipT, LossReason], object]) -> None:
        self.require("on_lost", callback, 2)
        self._lost.append(callback)

    def add_leader_change(self, callback: OnLeaderChange) -> None:
        self.require("on_leader_change", callback, 1)
        self._leader_change.append(callback)

    def add_listener(self, listener: OnEvent, *kinds: type[Event]) -> None:
        self.require("listener", listener, 1)
        self._listeners.append(Listener(listener, kinds))

    def require(self, what: str, callback: object, arguments: int) -> None:
        """Refuse what could not be called later. See `require_callable`."""
        require_callable(what, callback, arguments)

    @property
    def follow_leader(self) -> bool:
        """Whether anything is to be told of leader changes."""
        return bool(self._leader_change) or self.wants(LeaderChanged)

    @property
    def is_caller(self) -> bool:
        """Whether the caller is inside one of these callbacks."""
        return self._lane is not None and self._lane.is_current_thread

    # Telling

    def wants(self, kind: type[Event]) -> bool:
        """Whether anybody listens to events of this kind."""
        return is_wanted(kind, self._listeners) or self.stream.wants(kind)

    def tell_elected(self, leadership: LeadershipT, done: Job) -> bool:
        """Queue the on_elected callbacks, and `done` behind them. False: there are none."""
        return self._queue("on_elected", self._elected, leadership, done=done)

    def tell_lost(self, leadership: LeadershipT, reason: LossReason, done: Job) -> bool:
        """Queue the on_lost callbacks, and `done` behind them. False: there are none."""
        return self._queue("on_lost", self._lost, leadership, reason, done=done)

    def tell_leader_change(self, info: LeaderInfo | None) -> None:
        """Queue the on_leader_change callbacks and the event."""
        self._queue("on_leader_change", self._leader_change, info)
        self.emit(LeaderChanged(self._election, self.candidate_id, leader=info))

    def tell_renewed(self, leadership: LeadershipT | None) -> None:
        """Queue the event, if anybody wants it: there is one for each heartbeat."""
        if leadership is not None and self.wants(Renewed):
            self.emit(
                Renewed(
                    self._election,
                    self.candidate_id,
                    token=leadership.token,
                    remaining=leadership.remaining(),
                )
            )

    def tell_renew_failed(self, error: Exception) -> None:
        """Queue the event, if anybody wants it."""
        if self.wants(RenewFailed):
            self.emit(RenewFailed(self._election, self.candidate_id, error=error))

    def emit(self, event: Event) -> None:
        """Queue an event for the listeners, here and at the client."""
        if is_wanted(type(event), self._listeners):
            self._queue("listener", self._listeners, event)
        self.stream.emit(event)

    def ask(self, healthy: Callable[[], object], tell: Callable[[bool], None]) -> bool:
        """Have the user's program say whether it is healthy, on threads for just that.

        Returns:
            False: it is not asked, because the session has ended.
        """

        def job() -> None:
            answer = False
            try:
                answer = bool(healthy())
            except BaseException as error:  # as in _guard
                self.report_failure("healthy", error)
            tell(answer)

        return self._runtime is not None and self._runtime.health.submit(job)

    def report_failure(self, kind: str, error: BaseException) -> None:
        """Something of the user's raised."""
        log.error(
            "leaderlock.callback_failed callback=%s election=%r",
            kind,
            self._election,
            exc_info=error,
        )
        if kind != "listener":  # or a listener that fails on everything would be told for ever
            self.emit(CallbackFailed(self._election, self.candidate_id, callback=kind, error=error))

    def _queue(
        self,
        kind: str,
        callbacks: Sequence[Callable[..., object]],
        *args: object,
        done: Job | None = None,
    ) -> bool:
        if not callbacks or self._lane is None:
            return False

        def job() -> None:
            try:
                for callback in list(callbacks):
                    self._guard(kind, callback, *args)
            finally:
                if done is not None:
                    done()

        self._lane.submit(job)
        return True

    def _guard(self, kind: str, callback: Callable[..., object], *args: object) -> None:
        try:
            callback(*args)
        except BaseException as error:  # CancelledError and SystemExit, too, must not end a thread
            self.report_failure(kind, error)


def runs_later(function: Callable[..., object]) -> str:
    """The kind of a function whose call only makes an object that runs later; "" for others."""
    # The class tells what a call of an object runs; a call of a class only makes an object.
    call = function if isinstance(function, type) else type(function).__call__
    for kind, is_kind in (
        ("generator", inspect.isgeneratorfunction),
        ("coroutine", inspect.iscoroutinefunction),
        ("asynchronous generator", inspect.isasyncgenfunction),
    ):
        if is_kind(function) or is_kind(call):
            return kind
    return ""


def require_callable(
    what: str, callback: object, arguments: int, *, may_be_coroutine: bool = False
) -> None:
    """Refuse, before anything is started, what could not be called later.

    Raises:
        ConfigurationError: it is not callable, a generator or (if it must not be one) coroutine
            function, or takes other arguments.
    """
    if not callable(callback):
        raise ConfigurationError(f"{what} must be callable, not {callback!r}")
    kind = runs_later(callback)
    if kind and not (may_be_coroutine and kind == "coroutine"):
        raise ConfigurationError(
            f"{what}={callback!r} is a {kind} function: calling it runs nothing. Give a plain "
            "function that drives it" + ("; or use leaderlock.aio" if kind == "coroutine" else "")
        )
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):
        return  # some built-ins do not tell
    try:
        signature.bind(*range(arguments))
    except TypeError:
        raise ConfigurationError(
            f"{what}={callback!r} must accept {arguments} positional argument(s), "
            f"but its signature is {signature}"
        ) from None
