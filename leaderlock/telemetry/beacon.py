"""Tells a monitor what a node believes, so that two who believe to lead are seen by somebody.

    from leaderlock.telemetry import beacon

    beacon.start(elector, "http://10.0.0.9:9464")    # or a client: all of its elections

The store cannot see a split brain, and no node can: each of them is sure of itself. So every node
reports its terms to `leaderlock monitor`, about once a second and at every change. All times in a
report are ages, by the clock that leases are believed by, and each report brings back the stamp of
the last answer. By that the monitor knows of some interval of its own clock that the node believed
in it for certain, whatever the clocks show and however long the report took.

On a thread of its own. An election never waits for it, and a monitor that is gone costs nothing
but a request in vain now and then.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from leaderlock.backoff import Backoff
from leaderlock.config import default_candidate_id
from leaderlock.errors import ConfigurationError
from leaderlock.telemetry.events import Event, TermEnded, TermStarted, TokenRegressed
from leaderlock.telemetry.post import Endpoint, NoAnswer
from leaderlock.telemetry.watch import Key, Reading, Watch, client_of, key_of
from leaderlock.timing import bounded_time
from leaderlock.tokens import FencingToken

if TYPE_CHECKING:
    from leaderlock.any_elector import AnyElector
    from leaderlock.client import Client, ClientFront

log = logging.getLogger("leaderlock")

PATH = "/api/beliefs"
"""Where a monitor takes reports, below its URL."""

MOST_BELIEFS = 500
"""How many candidates one report tells of. The next ones come with the next report."""

_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 15.0
_LONGEST_ROUND = 60.0
_TIMEOUT = 5.0
_MOST_NOTES = 1000
_LONGEST_PROBLEM = 300


class _Note(NamedTuple):
    """What an event has told: a term began (no reason), or is over."""

    key: Key
    token: FencingToken
    at: float
    reason: str | None


class _Echo(NamedTuple):
    """The monitor's last answer: its id, its stamp, and when that was here."""

    monitor: str
    stamp: float
    at: float


@dataclass(slots=True)
class _Term:
    """A term as it was seen here. The belief was there at `since`, at `until`, and in between."""

    key: Key
    token: FencingToken
    since: float
    until: float = -math.inf
    reason: str | None = None
    problem: str = ""


def start(
    source: AnyElector[Any] | Client | ClientFront,
    url: str | None = None,
    *,
    token: str | None = None,
    interval: float = 1.0,
) -> Beacon:
    """Report to a monitor what the electors of a client believe, also those that are made later.

    Args:
        source: a client, or an elector, which stands for the client that it has. Held weakly.
        url: of the monitor, for example "http://10.0.0.9:9464". Default: LEADERLOCK_MONITOR of the
            environment.
        token: the one that the monitor asks for. Default: LEADERLOCK_MONITOR_TOKEN, if it is set.
            Anybody on the way can read it, unless the URL is https://.
        interval: seconds between reports, 0.1 to 60; a change is reported at once. More than 500
            elections take a round of several reports.

    Returns:
        The beacon. It ends with the client, or when it is closed.

    Raises:
        ConfigurationError: a value that cannot be used.
    """
    url = url or os.environ.get("LEADERLOCK_MONITOR")
    if not url:
        raise ConfigurationError(
            "no monitor given: pass its URL, or set LEADERLOCK_MONITOR, for example "
            "http://10.0.0.9:9464"
        )
    if isinstance(interval, bool) or not (
        isinstance(interval, int | float) and 0.1 <= interval <= 60
    ):
        raise ConfigurationError(f"interval={interval!r} must be 0.1 to 60 seconds")
    token = token or os.environ.get("LEADERLOCK_MONITOR_TOKEN")
    if token and not (token.isascii() and token.isprintable()):
        raise ConfigurationError("the monitor's token must be of printable ASCII characters")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    endpoint = Endpoint("the monitor", url, headers=headers, timeout=_TIMEOUT)
    return Beacon(client_of(source), endpoint, float(interval))


def is_wanted(url: str | None) -> bool:
    """Whether a monitor is given, by its URL or in the environment."""
    return bool(url or os.environ.get("LEADERLOCK_MONITOR"))


class Beacon:
    """Reports of one client. Made by `start()`."""

    _stop: threading.Event
    _thread: threading.Thread

    def __init__(self, client: Client, endpoint: Endpoint, interval: float) -> None:
        self._endpoint = endpoint
        self._interval = interval
        self._now = client.clock.now
        self._begin()
        self._watch = Watch(client, self._hear, self._begin, follow_leader=False)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<leaderlock beacon to {self._endpoint}>"

    def close(self, timeout: float | None = None) -> None:
        """Send a last report, and end. Waits for that at most `timeout` seconds (default: 1)."""
        self._stop.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(bounded_time(timeout, 1.0))

    # On the threads of leaderlock

    def _hear(self, event: Event) -> None:
        """Only notes it, and waits for nothing."""
        match event:
            case TermStarted():
                self._notes.append(_Note(key_of(event), event.token, self._now(), None))
            case TermEnded():
                note = _Note(key_of(event), event.token, self._now(), event.reason.value)
                self._notes.append(note)
            case TokenRegressed():
                pass
            case _:
                return
        self._wake.set()

    def _begin(self) -> None:
        """Also in a forked child, which is a node of its own, and has no thread yet."""
        if (is_child := hasattr(self, "_thread")) and self._stop.is_set():
            return  # closed by the parent
        self._node = default_candidate_id()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._notes: deque[_Note] = deque(maxlen=_MOST_NOTES)
        self._terms: dict[Key, _Term] = {}
        self._over: deque[_Term] = deque(maxlen=_MOST_NOTES)
        self._unexplained: dict[tuple[Key, FencingToken], _Term] = {}
        self._echo: _Echo | None = None
        self._thread = threading.Thread(target=self._run, name="leaderlock-beacon", daemon=True)
        if is_child:
            self._thread.start()

    # On its own thread

    def _run(self) -> None:
        backoff, failing = Backoff(_LONGEST_PAUSE), False
        reports = self._reports()
        while True:
            last = self._stop.is_set()
            if (report := next(reports, None)) is None:
                return  # the client is gone
            try:
                self._send(report)
            except NoAnswer as error:
                if not failing:
                    log.warning("leaderlock.beacon_failing error=%s", error)
                failing, pause = True, max(self._interval, backoff.pause())
                least = self._interval
            else:
                if failing:
                    log.info("leaderlock.beacon_recovered monitor=%s", self._endpoint)
                    backoff.reset()
                failing, pause, least = False, self._interval, _SHORTEST_PAUSE
            if last:
                return
            # Until it is due, or something has happened; but the monitor is not flooded.
            self._stop.wait(least)
            self._wake.wait(max(0.0, pause - least))
            self._wake.clear()

    def _reports(self) -> Iterator[dict[str, Any]]:
        """One after the other, in rounds over all electors, until the client is gone."""
        while self._watch.client is not None:
            rows: list[dict[str, Any]] = []
            seen: set[Key] = set()
            started, reasons = self._take_notes()
            readings = self._watch.readings()
            while True:
                asked_at = self._now()
                if (reading := next(readings, None)) is None:
                    break
                seen.add(reading.key)
                rows += self._row(reading, asked_at, started)
                if len(rows) >= MOST_BELIEFS:
                    yield self._report(rows, reasons)
                    rows = []
            for key in self._terms.keys() - seen:
                self._over.append(self._terms.pop(key))
            yield self._report(rows, reasons)

    def _take_notes(self) -> tuple[dict[Key, _Note], dict[tuple[Key, FencingToken], str]]:
        started, reasons = {}, {}
        while self._notes:
            note = self._notes.popleft()
            if note.reason is None:
                started[note.key] = note
            else:
                reasons[note.key, note.token] = note.reason
        return started, reasons

    def _row(
        self, reading: Reading, asked_at: float, started: dict[Key, _Note]
    ) -> Iterator[dict[str, Any]]:
        """What a report says of a candidate; nothing of one that waits and is well."""
        key, token, problem = reading.key, reading.token, reading.problem[:_LONGEST_PROBLEM]
        term = self._terms.get(key)
        if term is not None and term.token != token:
            self._over.append(self._terms.pop(key))
            term = None
        if token is None:
            if problem:
                election, candidate = key
                yield {"election": election, "candidate": candidate, "problem": problem}
            return
        if term is None:
            # Not earlier than the belief: an event is told after it, and no term is believed anew.
            note = started.get(key)
            since = note.at if note is not None and note.token == token else self._now()
            term = self._terms[key] = _Term(key, token, since)
        term.until = asked_at
        term.problem = problem
        yield self._shown(term)

    def _shown(self, term: _Term) -> dict[str, Any]:
        election, candidate = term.key
        return {
            "election": election,
            "candidate": candidate,
            "token": str(term.token),
            "source": term.token.source,
            "since": term.since,
            "until": term.until,
            "over": term.reason,
            "problem": term.problem,
        }

    def _report(
        self, rows: list[dict[str, Any]], reasons: dict[tuple[Key, FencingToken], str]
    ) -> dict[str, Any]:
        for identity, reason in reasons.items():
            if (term := self._unexplained.pop(identity, None)) is not None:
                term.reason = reason
                self._over.append(term)
        for term in self._over:
            term.problem = ""
            term.reason = term.reason or reasons.get((term.key, term.token))
            if term.reason is None:  # seen before the event that says why: that is told, too
                term.reason = "ended"
                if len(self._unexplained) < _MOST_NOTES:
                    self._unexplained[term.key, term.token] = term
        return {"beliefs": [*rows, *map(self._shown, list(self._over)[:MOST_BELIEFS])]}

    def _round(self) -> float:
        """Seconds until the same candidate is told of again, at most."""
        reports = 1 + len(self._watch.keys()) // MOST_BELIEFS
        return min(self._interval * reports, _LONGEST_ROUND)

    def _send(self, report: dict[str, Any]) -> None:
        """Raises NoAnswer."""
        told, over = report["beliefs"], min(len(self._over), MOST_BELIEFS)
        store, namespace = self._watch.place
        now = self._now()
        body = {
            "node": self._node,
            "store": store,
            "namespace": namespace,
            "interval": self._round(),
            "beliefs": [_aged(row, now) for row in told],
        }
        if self._echo is not None:
            monitor, stamp, at = self._echo
            body["echo"] = {"monitor": monitor, "stamp": stamp, "age": now - at}
        answer = self._endpoint.post(json.dumps(body).encode(), PATH)
        if answer.status != 200:
            raise NoAnswer(
                f"{self._endpoint} refuses reports: {answer.status} {_said(answer.body)}"
            )
        try:
            fields = json.loads(answer.body)
            monitor, stamp = str(fields["monitor"]), float(fields["stamp"])
            if not math.isfinite(stamp):
                raise ValueError
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            raise NoAnswer(f"{self._endpoint} is no monitor of leaderlock") from None
        self._echo = _Echo(monitor, stamp, self._now())
        for _ in range(over):
            self._over.popleft()


def _said(body: bytes) -> str:
    """Why a monitor refuses, if it is a monitor that says so."""
    try:
        why = str(json.loads(body)["error"])[:_LONGEST_PROBLEM]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "(it says nothing that a monitor says)"
    return "".join(letter if letter.isprintable() else "?" for letter in why)


def _aged(row: dict[str, Any], now: float) -> dict[str, Any]:
    """Times as ages: the monitor knows nothing of this machine's clock."""
    if "since" not in row:
        return row
    return row | {"since": now - row["since"], "until": now - row["until"]}
