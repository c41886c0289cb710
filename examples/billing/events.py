"""What a server process tells the orchestrator: one JSON object per line on its stdout.

Times are CLOCK_BOOTTIME (where there is none: the monotonic clock). Both are comparable between the
processes of one machine, and no change of the wall clock can make a term end before it began.
"""

from __future__ import annotations

import enum
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO


def now() -> float:
    """Seconds on a clock that all processes of this machine share."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def short(token: str) -> str:
    """The value of a token, for people: ``0000000001.0000000000000000003`` becomes ``3``."""
    return str(int(token.rpartition(".")[2])) if token else "-"


class Kind(enum.StrEnum):
    """What happened."""

    READY = "ready"  # started, and waits to be told `start`
    ELECTED = "elected"  # a term began
    RECONCILED = "reconciled"  # charged by a predecessor, recorded only now
    BATCH_STARTED = "batch started"
    CHARGED = "charged"  # one customer charged and recorded
    BATCH_DONE = "batch done"
    REFUSED = "refused"  # the fence turned this server's token away
    FINISHED = "finished"  # nothing is left to charge
    WORK_ENDED = "work ended"  # the work of a term has returned
    LOST = "lost"  # the elector says that the term is over; detail = the reason
    GONE = "gone"  # the process ended (noticed by the orchestrator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that one process saw, at one moment."""

    at: float
    server: str
    kind: Kind
    token: str = ""
    subscriptions: tuple[int, ...] = ()
    detail: str = ""

    def to_line(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Event:
        """The inverse of `to_line`."""
        fields = json.loads(line)
        return cls(
            at=float(fields["at"]),
            server=str(fields["server"]),
            kind=Kind(fields["kind"]),
            token=str(fields["token"]),
            subscriptions=tuple(fields["subscriptions"]),
            detail=str(fields["detail"]),
        )


class EventWriter:
    """Writes the events of one process; callable from any of its threads."""

    def __init__(self, server: str, stream: IO[str]) -> None:
        self._server = server
        self._stream = stream
        self._lock = threading.Lock()

    def emit(
        self,
        kind: Kind,
        token: str = "",
        subscriptions: Sequence[int] = (),
        detail: str = "",
    ) -> None:
        """Tell the orchestrator, at once."""
        event = Event(
            at=now(),
            server=self._server,
            kind=kind,
            token=token,
            subscriptions=tuple(subscriptions),
            detail=detail,
        )
        with self._lock:  # one line at a time: work, callbacks and commands have a thread each
            self._stream.write(event.to_line())
            self._stream.flush()
