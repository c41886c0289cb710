"""What the cases are written with."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from leaderlock.backends.base import Backend
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.testing.harness import BackendHarness

T = TypeVar("T")

LOOK = 0.005
_LONGEST_CALL = 20.0


def new_name() -> str:
    """An election of the case's own."""
    return f"election-{uuid.uuid4().hex}"


def prompt(harness: BackendHarness, backend: Backend) -> float:
    """How late a wake may be."""
    return backend.capabilities.notice + harness.slack


def until(condition: Callable[[], bool], within: float, message: str) -> None:
    """Wait, in real time, for something that happens in another thread."""
    end = time.monotonic() + within
    look = threading.Event()
    while not condition():
        assert time.monotonic() < end, message
        look.wait(LOOK)


def until_answered(harness: BackendHarness, call: Callable[[], T]) -> T:
    """Repeat a call while there is no answer."""
    end = time.monotonic() + harness.patience
    while True:
        try:
            return call()
        except BackendUnavailable as error:
            assert time.monotonic() < end, (
                f"the store is well, but has not answered for {harness.patience:g} s: {error}"
            )


def after(seconds: float, call: Callable[[], T]) -> T:
    """For races: let the others begin."""
    threading.Event().wait(seconds)
    return call()


def at_once(calls: Sequence[Callable[[], T]], within: float = _LONGEST_CALL) -> list[T]:
    """Make all the calls at the same time; their answers, or the first exception."""
    barrier = threading.Barrier(len(calls))
    answers: list[T | None] = [None] * len(calls)
    errors: list[BaseException] = []

    def make(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = calls[number]()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=make, args=(number,), name="conformance-case", daemon=True)
        for number in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    stuck = sum(thread.is_alive() for thread in threads)
    assert not stuck, f"{stuck} of {len(calls)} calls have not returned after {within:.3g} s"
    if errors:
        raise errors[0]
    return answers  # type: ignore[return-value]  # each one was set by its thread


def in_time(harness: BackendHarness, backend: Backend, call: Callable[[], T]) -> T:
    """Every method returns or raises within `request_timeout`."""
    return at_once([call], backend.settings.request_timeout + harness.slack)[0]


def must_be_silent(
    harness: BackendHarness, backend: Backend, method: str, call: Callable[[], object]
) -> None:
    """No answer is `BackendUnavailable`, in time."""
    try:
        answer = in_time(harness, backend, call)
    except BackendUnavailable:
        return
    except Exception as error:
        raise AssertionError(
            f"{method}() raised {error!r} when the store did not answer: has to be "
            "BackendUnavailable"
        ) from error
    raise AssertionError(
        f"{method}() answered {answer} when the store did not answer: silence is not a no"
    )


def must_be_ours(method: str, call: Callable[[], object]) -> bool:
    """Whatever happens, nothing but the two errors of the contract leaves a method.

    Returns whether there was an answer.
    """
    try:
        call()
        return True
    except (BackendUnavailable, BackendRefused):
        return False
    except Exception as error:
        raise AssertionError(
            f"{method}() raised {error!r}: only BackendUnavailable and BackendRefused may leave a "
            "backend"
        ) from error


@contextlib.contextmanager
def frozen(harness: BackendHarness) -> Iterator[None]:
    harness.freeze()
    try:
        yield
    finally:
        harness.thaw()


@contextlib.contextmanager
def broken(harness: BackendHarness) -> Iterator[None]:
    harness.break_store()
    try:
        yield
    finally:
        harness.mend_store()


@contextlib.contextmanager
def no_thread_dies() -> Iterator[None]:
    """Catch what a backend's own threads raise."""
    errors: list[threading.ExceptHookArgs] = []
    before = threading.excepthook
    threading.excepthook = errors.append
    try:
        yield
    finally:
        threading.excepthook = before
    assert not errors, f"a thread of the backend raised {errors[0].exc_value!r}"
