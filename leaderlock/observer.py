"""Who leads now, and every change of it.

Level-triggered: a wake only means "read again", and what counts is the answer. A change that is
undone before the reading is not seen; no reading is missed for a lost wake for longer than the
store's own recheck time (etcd#18163 is what happens to observers that trust events alone).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from leaderlock.backends.base import Reading
from leaderlock.backoff import Backoff
from leaderlock.errors import BackendRefused, LeaderLockError
from leaderlock.tokens import FencingToken
from leaderlock.workers import Recurring

if TYPE_CHECKING:
    from leaderlock.runtime import Runtime


@dataclass(frozen=True, slots=True)
class LeaderInfo:
    """Who leads, as the store tells everybody. For people and routing; never fence with it.

    Attributes:
        candidate_id: the leader's.
        token: the fencing token of its term.
        metadata: what the leader was configured to show.
    """

    candidate_id: str
    token: FencingToken
    metadata: Mapping[str, Any] = field(default_factory=dict)


def encode_payload(candidate_id: str, metadata: Mapping[str, Any], epoch: int) -> bytes:
    """What a candidate stores beside its term for observers to read."""
    return json.dumps({"id": candidate_id, "epoch": epoch, "meta": dict(metadata)}).encode()


def decode_reading(reading: Reading) -> LeaderInfo | None:
    """A store's answer as people see it.

    Raises:
        BackendRefused: something leads that is not a candidate of leaderlock, or of a newer one.
    """
    if reading.payload is None:
        return None
    try:
        fields = json.loads(reading.payload, parse_constant=_refuse)
        candidate_id, metadata = fields["id"], fields["meta"]
        if not isinstance(candidate_id, str) or not isinstance(metadata, dict):
            raise TypeError(f"no name, or no metadata: {candidate_id!r:.40}, {metadata!r:.40}")
        candidate_id.encode()  # raises for half a character, which cannot be printed
        token = FencingToken(fields["epoch"], reading.token, reading.source)
        return LeaderInfo(candidate_id, token, metadata)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BackendRefused(
            f"the store shows a leader that leaderlock cannot read ({error!r}): does something "
            "else write there, or a newer version?"
        ) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


Sink = Callable[[LeaderInfo | None], object]


class Observer:
    """Reads the leader of one election whenever it may have changed, and tells its sinks.

    It asks the store nothing while it has no sink.
    """

    def __init__(self, runtime: Runtime, election: str) -> None:
        self.runtime = runtime
        self._election = election
        self._lock = threading.Lock()
        self._sinks: dict[object, Sink] = {}
        self._known: tuple[LeaderInfo | None] | None = None  # a 1-tuple once something was read
        self._unwatch: Callable[[], None] | None = None
        self._backoff = Backoff(runtime.timing.max_backoff)
        self._readings = Recurring(runtime.io, self._read)

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Call `sink` with the present leader, then at every change. Returns the way to stop.

        A sink is called under a lock: it only puts what it gets into a queue.
        """
        key = object()
        with self._lock:
            self._sinks[key] = sink
            if self._unwatch is None:
                self._unwatch = self.runtime.backend.watch(self._election, self._wake)
                self._wake()
            elif self._known is not None:
                sink(*self._known)

        def unsubscribe() -> None:
            with self._lock:
                self._sinks.pop(key, None)
                if self._sinks or self._unwatch is None:
                    return
                unwatch, self._unwatch, self._known = self._unwatch, None, None
            unwatch()

        return unsubscribe

    def _wake(self) -> None:
        self._readings.due_in(0.0)

    def _read(self) -> float:
        with self._lock:
            if not self._sinks:
                return math.inf
        try:
            reading, info = self.runtime.ask("leader", self.ask)
        except LeaderLockError:  # told and logged by ask()
            return self._backoff.pause()
        self._backoff.reset()
        self._tell(info)
        return math.inf if reading.recheck_after is None else reading.recheck_after

    def ask(self) -> tuple[Reading, LeaderInfo | None]:
        """Ask the store who leads."""
        reading = self.runtime.backend.leader(self._election)
        return reading, decode_reading(reading)

    def after_fork(self) -> None:
        """In a forked child: whoever still holds it lets go of nothing that the parent has."""
        self._lock = threading.Lock()
        self._sinks = {}
        self._unwatch = None

    def _tell(self, info: LeaderInfo | None) -> None:
        with self._lock:
            if self._known != (info,):
                self._known = (info,)
                for sink in self._sinks.values():
                    sink(info)
