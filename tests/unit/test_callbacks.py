"""The registry of callbacks, without any elector: what is told to whom, and when it is done."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

from leaderlock import ConfigurationError, FencingToken, Leadership, LossReason
from leaderlock.callbacks import Callbacks, require_callable, runs_later
from leaderlock.runtime import Runtime
from leaderlock.telemetry.events import CallbackFailed, ElectionEvent, Event, LeaderChanged
from leaderlock.testing import FakeClock
from leaderlock.workers import Workers
from tests.elector.tools import PATIENCE

TERM = Leadership(
    token=FencingToken(1, 1), leader_id="me", election="e", valid_until=2000, clock=FakeClock()
)


@pytest.fixture
def callbacks() -> Iterator[Callbacks[Leadership]]:
    workers = Workers("test-callbacks", 1, finish=True)
    callbacks: Callbacks[Leadership] = Callbacks("e", "me")
    callbacks.open(cast(Runtime, SimpleNamespace(callbacks=workers)), anew=True)
    yield callbacks
    for thread in workers.close():
        thread.join(PATIENCE)


def finish(callbacks: Callbacks[Leadership]) -> None:
    """Wait until everything that was queued has run."""
    done = threading.Event()
    assert callbacks._lane is not None
    callbacks._lane.submit(done.set)
    assert done.wait(PATIENCE)


def nothing() -> None:
    pass


def test_done_comes_after_the_last_callback_even_if_all_raise(
    callbacks: Callbacks[Leadership], caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    def raises(leadership: Leadership) -> None:
        order.append("callback")
        raise SystemExit

    callbacks.add_elected(raises)
    callbacks.add_elected(raises)
    assert callbacks.tell_elected(TERM, lambda: order.append("done"))
    finish(callbacks)
    assert order == ["callback", "callback", "done"]


def test_without_callbacks_there_is_nothing_to_wait_for(callbacks: Callbacks[Leadership]) -> None:
    assert callbacks.tell_elected(TERM, nothing) is False
    assert callbacks.tell_lost(TERM, LossReason.EXPIRED, nothing) is False


def test_without_a_runtime_nothing_is_told() -> None:
    callbacks: Callbacks[Leadership] = Callbacks("e", "me")
    callbacks.add_lost(lambda *_: None)
    assert callbacks.tell_lost(TERM, LossReason.EXPIRED, nothing) is False
    callbacks.emit(ElectionEvent("e", "me"))


def test_a_failure_is_told_to_listeners_with_its_error(
    callbacks: Callbacks[Leadership], caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    error = ValueError("mine")
    callbacks.add_listener(events.append)
    callbacks.report_failure("work", error)
    finish(callbacks)
    assert events == [CallbackFailed("e", "me", callback="work", error=error)]
    assert "leaderlock.callback_failed callback=work election='e'" in caplog.text


def test_a_change_of_leader_is_told_to_callbacks_and_listeners(
    callbacks: Callbacks[Leadership],
) -> None:
    told: list[object] = []
    assert not callbacks.follow_leader
    callbacks.add_leader_change(told.append)
    callbacks.add_listener(told.append)
    assert callbacks.follow_leader
    callbacks.tell_leader_change(None)
    finish(callbacks)
    assert told == [None, LeaderChanged("e", "me", leader=None)]


class Callable1:
    def __call__(self, leadership: Leadership) -> None: ...

    def method(self, leadership: Leadership) -> None: ...

    async def coroutine(self, leadership: Leadership) -> None: ...


class AsyncCall:
    async def __call__(self, leadership: Leadership) -> None: ...


@pytest.mark.parametrize(
    "callback",
    [
        print,
        list.append,
        Callable1(),
        Callable1().method,
        lambda leadership: None,
        lambda leadership, extra=1: None,
        lambda *args: None,
        functools.partial(lambda extra, leadership: None, 1),
        mock.Mock(),
        int,
    ],
)
def test_whatever_can_be_called_with_the_arguments_is_taken(callback: Any) -> None:
    require_callable("on_elected", callback, 2 if callback is list.append else 1)


@pytest.mark.parametrize(
    ("callback", "kind"),
    [
        (Callable1().coroutine, "coroutine"),
        (AsyncCall(), "coroutine"),
        (functools.partial(Callable1.coroutine, Callable1()), "coroutine"),
        (mock.AsyncMock(), "coroutine"),
        (Callable1().method, ""),
        (AsyncCall, ""),
        (print, ""),
    ],
)
def test_functions_that_would_run_later_are_told_apart(callback: Any, kind: str) -> None:
    assert runs_later(callback) == kind
    if kind:
        with pytest.raises(ConfigurationError, match=f"is a {kind} function"):
            require_callable("on_elected", callback, 1)


def test_the_wrong_number_of_arguments_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"must accept 2 positional argument.* signature is \(a\)"
    ):
        require_callable("on_lost", lambda a: None, 2)
