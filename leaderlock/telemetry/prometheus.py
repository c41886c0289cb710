"""Metrics for Prometheus, with the library `prometheus_client` (extra `prometheus`).

    from leaderlock.telemetry import prometheus

    prometheus.instrument(elector)               # or a client: all of its elections
    prometheus_client.start_http_server(9464)

Gauges are computed when they are scraped. So what is shown is true at that moment, and an elector
that the program has dropped is gone from the metrics, with its counters. In a forked child, what
the parent has counted is forgotten. The multiprocess mode of `prometheus_client` shows no
collectors, and so nothing of this: let each process be scraped by itself.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from leaderlock.errors import MissingDependency
from leaderlock.telemetry.events import ElectionEvent, Event, Heartbeat, TermEnded, TermStarted
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
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingDependency(
        f"leaderlock.telemetry.prometheus needs prometheus-client, which cannot be imported "
        f"({error!r}): pip install 'leaderlock[prometheus]'"
    ) from error

if TYPE_CHECKING:
    from leaderlock.any_elector import AnyElector
    from leaderlock.client import Client, ClientFront

_PLACE = ("store", "namespace")
_CANDIDATE = (*_PLACE, "election", "candidate")

_BOUNDS = (*map(str, RENEW_SECONDS), "+Inf")

Labels = tuple[str, ...]


def instrument(
    *sources: AnyElector[Any] | Client | ClientFront,
    registry: CollectorRegistry = REGISTRY,
    follow_leader: bool = True,
) -> None:
    """Show the elections of these clients, also those that begin later. Twice is harmless.

    Args:
        sources: clients, or electors, which stand for the client that they have. Held weakly.
        registry: where the metrics are shown.
        follow_leader: show the seconds without a leader. Costs a watch at the store for each
            election: leave it off for thousands of them.

    Raises:
        ConfigurationError: something else was given.
    """
    clients = [client_of(source) for source in sources]
    with _lock:
        collector = _collectors.get(registry)
        if collector is None:
            collector = ElectionCollector()
            registry.register(collector)
            _collectors[registry] = collector
        for client in clients:
            collector.add(client, follow_leader=follow_leader)


class _Tally:
    """What has been counted of one client; on a thread of leaderlock, one event at a time."""

    def __init__(self, client: Client, *, follow_leader: bool) -> None:
        self._reset()
        self.watch = Watch(client, self._hear, self._reset, follow_leader=follow_leader)

    def _reset(self) -> None:
        self.transitions: dict[tuple[Key, str], int] = {}
        self.faults: dict[tuple[Key, str], int] = {}
        self.renewals = [0] * (len(RENEW_SECONDS) + 1)  # by the bound that they keep
        self.renew_seconds = 0.0
        self.failures = 0

    def _hear(self, event: Event) -> None:
        match event:
            case Heartbeat(took=took, error=None):
                self.renewals[bisect_left(RENEW_SECONDS, took)] += 1
                self.renew_seconds += took
            case Heartbeat():
                self.failures += 1
            case TermStarted():
                _count(self.transitions, event, "elected")
            case TermEnded(reason=reason):
                _count(self.transitions, event, reason.value)
            case ElectionEvent():
                _count(self.faults, event, short_name(event))

    def forget_the_gone(self) -> None:
        """What was counted of electors that are there no more."""
        present = self.watch.keys()
        for counts in self.transitions, self.faults:
            for counted in counts.copy():
                if counted[0] not in present:
                    counts.pop(counted, None)


def _count(counts: dict[tuple[Key, str], int], event: ElectionEvent, what: str) -> None:
    counted = key_of(event), what
    counts[counted] = counts.get(counted, 0) + 1


class ElectionCollector(Collector):
    """What `instrument` registers: one for each registry.

    Elections of one name, candidate id, store and namespace are shown as one: Prometheus refuses a
    page with two series of the same labels.
    """

    def __init__(self) -> None:
        self._tallies: list[_Tally] = []

    def add(self, client: Client, *, follow_leader: bool) -> None:
        """Show this client, too, if it is not shown yet."""
        present = [tally for tally in self._tallies if tally.watch.client is not None]
        if all(tally.watch.client is not client for tally in present):
            present.append(_Tally(client, follow_leader=follow_leader))
        self._tallies = present

    def describe(self) -> Iterator[Metric]:
        """The metrics without their values."""
        return iter(_Page().metrics())

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        page = _Page()
        for tally in self._tallies:
            if tally.watch.client is not None:
                page.add(tally)
        page.write()
        return iter(page.metrics())


class _Page:
    """One scrape."""

    def __init__(self) -> None:
        self._candidates: dict[Labels, Reading] = {}
        self._unhealthy: dict[Labels, int] = {}
        self._transitions: dict[Labels, int] = {}
        self._faults: dict[Labels, int] = {}
        self._failures: dict[Labels, int] = {}
        self._renewals: dict[Labels, tuple[list[int], float]] = {}

        def gauge(name: str, text: str, labels: Labels = _CANDIDATE) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"leaderlock_{name}", text, labels=labels)

        def counter(name: str, text: str, labels: Labels) -> CounterMetricFamily:
            return CounterMetricFamily(f"leaderlock_{name}", text, labels=labels)

        self.is_leader = gauge("is_leader", "1 while this candidate leads, by the clock; else 0.")
        self.remaining = gauge(
            "lease_remaining_seconds", "For how long it leads if no renewal succeeds; 0: not now."
        )
        self.token = gauge(
            "token", "The fencing token of its present term.", (*_CANDIDATE, "epoch")
        )
        self.healthy = gauge("healthy", "What its health() says: 1 or 0.")
        self.leaderless = gauge(
            "without_leader_seconds", "For how long nobody leads, as this candidate has heard."
        )
        self.unhealthy = gauge(
            "unhealthy_candidates", "How many candidates are not healthy.", _PLACE
        )
        self.transitions = counter(
            "transitions", "Terms that began (elected), or ended.", (*_CANDIDATE, "reason")
        )
        self.faults = counter("faults", "What went wrong.", (*_CANDIDATE, "event"))
        self.renew = HistogramMetricFamily(
            "leaderlock_renew_duration_seconds",
            "How long the store took to answer a heartbeat: one for all terms of a client.",
            labels=_PLACE,
        )
        self.failures = counter(
            "renew_failures", "Heartbeats that got no answer, or not for all terms.", _PLACE
        )

    def metrics(self) -> list[Metric]:
        return [
            self.is_leader,
            self.remaining,
            self.token,
            self.healthy,
            self.leaderless,
            self.unhealthy,
            self.transitions,
            self.faults,
            self.renew,
            self.failures,
        ]

    def add(self, tally: _Tally) -> None:
        """What there is of one client."""
        place = tally.watch.place
        self._unhealthy.setdefault(place, 0)
        for reading in tally.watch.readings():
            labels: Labels = (*place, *reading.key)
            other = self._candidates.get(labels)
            self._candidates[labels] = reading if other is None else _both(reading, other)
            self._unhealthy[place] += not reading.is_healthy
        tally.forget_the_gone()
        for page, counted in (
            (self._transitions, tally.transitions),
            (self._faults, tally.faults),
        ):
            for (key, what), count in counted.copy().items():
                labels = (*place, *key, what)
                page[labels] = page.get(labels, 0) + count
        buckets, seconds = self._renewals.get(place, ([0] * len(tally.renewals), 0.0))
        self._renewals[place] = (
            [a + b for a, b in zip(buckets, tally.renewals, strict=True)],
            seconds + tally.renew_seconds,
        )
        self._failures[place] = self._failures.get(place, 0) + tally.failures

    def write(self) -> None:
        """Into the metrics."""
        for labels, reading in self._candidates.items():
            self.is_leader.add_metric(labels, reading.token is not None)
            self.remaining.add_metric(labels, reading.remaining)
            self.healthy.add_metric(labels, reading.is_healthy)
            if reading.token is not None:
                epoch = str(reading.token.epoch)
                self.token.add_metric((*labels, epoch), reading.token.value)
            if reading.leaderless is not None:
                self.leaderless.add_metric(labels, reading.leaderless)
        for metric, counts in (
            (self.unhealthy, self._unhealthy),
            (self.transitions, self._transitions),
            (self.faults, self._faults),
            (self.failures, self._failures),
        ):
            for labels, count in counts.items():
                metric.add_metric(labels, count)
        for place, (kept, seconds) in self._renewals.items():
            buckets = list(zip(_BOUNDS, accumulate(kept), strict=True))
            self.renew.add_metric(place, buckets, seconds)


def _both(one: Reading, other: Reading) -> Reading:
    """Of two candidates that have everything in common: the one that leads, and the sick one."""
    longer = max(one, other, key=lambda reading: reading.remaining)
    return longer._replace(problem=one.problem or other.problem)


_lock = threading.Lock()  # for instrument(); a scrape takes none
_collectors: weakref.WeakKeyDictionary[CollectorRegistry, ElectionCollector] = (
    weakref.WeakKeyDictionary()
)
