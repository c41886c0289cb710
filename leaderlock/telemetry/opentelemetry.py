"""Metrics and traces for OpenTelemetry, with its API alone (extra `opentelemetry`).

    from leaderlock.telemetry import opentelemetry

    opentelemetry.instrument(elector)    # or a client: all of its elections

Metrics as in `leaderlock.telemetry.prometheus`. Each term is a span, from the election to the
loss, named "leaderlock.term". Where they go is up to the SDK of the program. In a forked child the
terms of the parent have no spans.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from leaderlock import __version__
from leaderlock.client import close_all_first_at_exit
from leaderlock.errors import MissingDependency
from leaderlock.machine import LossReason
from leaderlock.telemetry.events import (
    ElectionEvent,
    Event,
    Heartbeat,
    TermEnded,
    TermStarted,
)
from leaderlock.telemetry.watch import (
    RENEW_SECONDS,
    Key,
    Reading,
    Watch,
    client_of,
    key_of,
    short_name,
)

try:
    from opentelemetry.context import Context
    from opentelemetry.metrics import (
        CallbackOptions,
        Meter,
        MeterProvider,
        Observation,
        get_meter_provider,
    )
    from opentelemetry.trace import Span, Status, StatusCode, TracerProvider, get_tracer_provider
except ImportError as error:
    raise MissingDependency(
        f"leaderlock.telemetry.opentelemetry needs opentelemetry-api, which cannot be imported "
        f"({error!r}): pip install 'leaderlock[opentelemetry]'"
    ) from error

if TYPE_CHECKING:
    from leaderlock.any_elector import AnyElector
    from leaderlock.client import Client, ClientFront
    from leaderlock.tokens import FencingToken

_LIBRARY = "leaderlock"
_ON_PURPOSE = (LossReason.RESIGNED, LossReason.STOPPED)

Attributes = dict[str, str | int]


def instrument(
    *sources: AnyElector[Any] | Client | ClientFront,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    follow_leader: bool = True,
) -> None:
    """Measure and trace the elections of these clients, also those that begin later.

    Twice with the same providers is harmless. A term that has begun before has no span.

    Args:
        sources: clients, or electors, which stand for the client that they have. Held weakly.
        meter_provider: default: the global one.
        tracer_provider: default: the global one.
        follow_leader: measure the seconds without a leader. Costs a watch at the store for each
            election: leave it off for thousands of them.

    Raises:
        ConfigurationError: something else was given.
    """
    clients = [client_of(source) for source in sources]
    meters = meter_provider or get_meter_provider()
    tracers = tracer_provider or get_tracer_provider()
    with _lock:
        instruments = _instruments.get(meters)
        if instruments is None:
            instruments = _instruments[meters] = _Instruments(meters)
        for client in clients:
            instruments.add(client, tracers, follow_leader=follow_leader)
    close_all_first_at_exit()  # the last term's span ends before its exporter


class _Instruments:
    """The instruments of one meter: an API that makes them twice complains."""

    def __init__(self, provider: MeterProvider) -> None:
        self._terms: list[_Terms] = []
        meter = provider.get_meter(_LIBRARY, __version__)
        self._observe(meter, "is_leader", "1", lambda reading: int(reading.token is not None))
        self._observe(meter, "lease.remaining", "s", lambda reading: reading.remaining)
        self._observe(meter, "token", "1", _token_value)
        self._observe(meter, "healthy", "1", lambda reading: int(reading.is_healthy))
        self._observe(meter, "without_leader", "s", lambda reading: reading.leaderless)
        self.transitions = meter.create_counter("leaderlock.transitions")
        self.faults = meter.create_counter("leaderlock.faults")
        self.renewals = meter.create_histogram(
            "leaderlock.renew.duration",
            "s",
            explicit_bucket_boundaries_advisory=RENEW_SECONDS,
        )
        self.failures = meter.create_counter("leaderlock.renew.failures")

    def add(self, client: Client, tracers: TracerProvider, *, follow_leader: bool) -> None:
        present = [terms for terms in self._terms if terms.watch.client is not None]
        if all(terms.watch.client is not client for terms in present):
            present.append(_Terms(client, self, tracers, follow_leader=follow_leader))
        self._terms = present

    def _observe(
        self, meter: Meter, name: str, unit: str, value: Callable[[Reading], float | None]
    ) -> None:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            for terms in self._terms:
                for reading in terms.watch.readings():
                    measured = value(reading)
                    if measured is not None:
                        yield Observation(measured, terms.attributes(reading.key))

        meter.create_observable_gauge(f"leaderlock.{name}", [observe], unit)


def _token_value(reading: Reading) -> int | None:
    return None if reading.token is None else reading.token.value


class _Terms:
    """The terms of one client: their spans, and what is counted of them."""

    def __init__(
        self,
        client: Client,
        instruments: _Instruments,
        tracers: TracerProvider,
        *,
        follow_leader: bool,
    ) -> None:
        self._instruments = instruments
        self._tracer = tracers.get_tracer(_LIBRARY, __version__)
        self._forget()
        self.watch = Watch(client, self._hear, self._forget, follow_leader=follow_leader)
        store, namespace = self.watch.place
        self._place: Attributes = {
            "leaderlock.store": store,
            "leaderlock.namespace": namespace,
        }

    def attributes(self, key: Key, **more: str) -> Attributes:
        """Whom a number is of. Never a secret: of the URL, the scheme alone is shown."""
        election, candidate = key
        whose = {"election": election, "candidate": candidate, **more}
        return self._place | {f"leaderlock.{name}": value for name, value in whose.items()}

    def _forget(self) -> None:
        """In a forked child, too: the parent ends its spans."""
        self._spans: dict[Key, tuple[FencingToken, Span]] = {}

    def _hear(self, event: Event) -> None:
        match event:
            case Heartbeat(took=took, error=None):
                self._instruments.renewals.record(took, self._place)
            case Heartbeat():
                self._instruments.failures.add(1, self._place)
            case TermStarted(token=token):
                self._count(event, "elected")
                self._begin(key_of(event), token)
            case TermEnded(token=token, reason=reason):
                self._count(event, reason.value)
                self._end(key_of(event), token, reason)
            case ElectionEvent():
                what = short_name(event)
                attributes = self.attributes(key_of(event), event=what)
                self._instruments.faults.add(1, attributes)
                if key_of(event) in self._spans:
                    self._spans[key_of(event)][1].add_event(what)

    def _count(self, event: ElectionEvent, reason: str) -> None:
        self._instruments.transitions.add(1, self.attributes(key_of(event), reason=reason))

    def _begin(self, key: Key, token: FencingToken) -> None:
        attributes = self.attributes(key)
        attributes |= {"leaderlock.token": token.value, "leaderlock.epoch": token.epoch}
        # Without a parent: what has happened to run here has not caused the term.
        span = self._tracer.start_span("leaderlock.term", Context(), attributes=attributes)
        self._spans[key] = token, span

    def _end(self, key: Key, token: FencingToken, reason: LossReason) -> None:
        begun, span = self._spans.get(key, (None, None))
        if span is None or begun != token:
            return  # it had begun before anybody listened
        del self._spans[key]
        span.set_attribute("leaderlock.reason", reason.value)
        if reason not in _ON_PURPOSE:
            span.set_status(Status(StatusCode.ERROR, reason.value))
        span.end()


_lock = threading.Lock()  # for instrument()
_instruments: weakref.WeakKeyDictionary[MeterProvider, _Instruments] = weakref.WeakKeyDictionary()
