"""The one clock that decides how long a term is believed.

CLOCK_BOOTTIME goes on during a suspend, which `time.monotonic` on Linux does not: a leader that
slept through its lease knows it at the first check after waking. Wall-clock time decides nothing
anywhere in leaderlock. A hypervisor that pauses a whole virtual machine may stop both clocks;
only fencing helps there.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """A source of seconds that never goes backwards. Only differences mean anything."""

    def now(self) -> float: ...


class BootClock:
    """Seconds since boot, including suspend, where the system offers that; else `time.monotonic`.

    All processes of one machine read the same clock (on Linux), so that they can share a lease.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        # The C function itself, not a method around it: is_leader calls it every time.
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        self.now = time.monotonic if boottime is None else partial(time.clock_gettime, boottime)


BOOT_CLOCK = BootClock()
