"""stop() in a signal handler.

A handler runs on the main thread between any two of its instructions, also where that thread is
inside leaderlock and holds one of its locks. Waiting for that lock there would be for ever.
"""

from __future__ import annotations

import sys
import threading
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
