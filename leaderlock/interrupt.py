"""Signals: stop() in a handler, and waits that a signal ends.

A handler runs on the main thread between any two of its instructions, also where that thread is
inside leaderlock and holds one of its locks. Waiting for that lock there would be for ever.

And it runs between instructions only: a signal that arrives in the instant before the main thread
waits for a lock, or that the system delivers to another thread, does not end the wait.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

Begun = Callable[[], None]

# The modules with locks. What calls the user's code without holding one (run, leader_only) is none.
_PACKAGE = f"{__package__}."
_LOCKING = tuple(
    _PACKAGE + module
    for module in (
        "backends.",
        "callbacks",
        "candidate",
        "client",
        "feed",
        "observer",
        "runtime",
        "workers",
    )
)
_GRACE = 0.5
_STEP = 1.0


def apart_if_interrupting(job: Callable[[Begun], bool]) -> bool:
    """Run `job`; if the caller interrupts leaderlock, on a thread of its own, and do not wait.

    Args:
        job: gets what it has to call when it has done what should be done on return.

    Returns:
        What `job` returns; False: it goes on.
    """
    if not _interrupts():
        return job(_nothing)
    begun = threading.Event()
    threading.Thread(target=job, args=(begun.set,), name="leaderlock-signal", daemon=True).start()
    begun.wait(_GRACE)  # not longer: where we hold a lock, it begins when the handler has returned
    return False


def wait_in_steps(wait: Callable[[float | None], bool], timeout: float | None) -> bool:
    """`wait(timeout)`; on the main thread in steps, so that no signal is left lying for long."""
    if threading.current_thread() is not threading.main_thread():
        return wait(timeout)
    end = math.inf if timeout is None else time.monotonic() + timeout
    while not wait(min(_STEP, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            return False
    return True


def _interrupts() -> bool:
    """Whether one of the locking modules is at work further down on this thread's stack."""
    if threading.current_thread() is not threading.main_thread():
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None and _module(frame).startswith(_PACKAGE):
        frame = frame.f_back  # the way from the caller to here
    while frame is not None:
        if _module(frame).startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _nothing() -> None:
    pass
