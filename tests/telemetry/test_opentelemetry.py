"""What an SDK of OpenTelemetry gets: numbers, and a span for each term."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from leaderlock import Client, LeaderElector
from leaderlock.telemetry.opentelemetry import instrument
from tests.elector.tools import PATIENCE, Store, eventually, in_child

Point = NumberDataPoint | HistogramDataPoint


class Collected:
    """An SDK that keeps what it gets."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def instrument(self, client: Client) -> None:
        instrument(client, meter_provider=self.meters, tracer_provider=self.tracers)

    def points(self, name: str) -> list[Point]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"leaderlock.{name}"
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint | HistogramDataPoint)
        ]

    def number(self, name: str, **attributes: str) -> float | None:
        wanted = {f"leaderlock.{key}": value for key, value in attributes.items()}
        found = [
            point.value
            for point in self.points(name)
            if isinstance(point, NumberDataPoint)
            and wanted.items() <= dict(point.attributes or {}).items()
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def collected() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.meters.shutdown()
    collected.tracers.shutdown()


def leading(client: Client) -> LeaderElector:
    elector = client.elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def test_each_term_is_a_span_with_its_token_and_how_it_ended(
    store: Store, client: Client, collected: Collected
) -> None:
    collected.instrument(client)
    elector = client.elector("e", candidate_id="me")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    first = elector.leadership
    assert first is not None
    assert not collected.spans(), "it lasts"
    assert elector.resign()
    assert elector.wait_elected(PATIENCE)
    with store._store.lock:
        store._election("e").holder = None
    eventually(lambda: len(collected.spans()) == 2)
    resigned, taken = collected.spans()
    assert resigned.name == taken.name == "leaderlock.term"
    assert dict(resigned.attributes or {}) == {
        "leaderlock.store": "memory",
        "leaderlock.namespace": "leaderlock",
        "leaderlock.election": "e",
        "leaderlock.candidate": "me",
        "leaderlock.token": first.token.value,
        "leaderlock.epoch": 1,
        "leaderlock.reason": "resigned",
    }
    assert resigned.parent is None
    assert resigned.status.status_code is StatusCode.UNSET
    assert (taken.attributes or {})["leaderlock.reason"] == "taken"
    assert taken.status.status_code is StatusCode.ERROR
    assert (resigned.end_time or 0) <= (taken.start_time or 0)


def test_what_goes_wrong_in_a_term_is_an_event_of_its_span(
    store: Store, client: Client, collected: Collected
) -> None:
    collected.instrument(client)
    elector = leading(client)
    store.fail("renew")
    eventually(lambda: collected.number("faults", event="store_failing") == 1)
    store.heal()
    elector.stop()
    eventually(collected.spans)
    (span,) = collected.spans()
    assert [event.name for event in span.events] == ["store_failing"]


def test_the_numbers_are_those_of_the_moment(client: Client, collected: Collected) -> None:
    collected.instrument(client)
    elector = client.elector("e")
    assert collected.points("is_leader") == []
    elector.start()
    assert elector.wait_elected(PATIENCE)
    leadership = elector.leadership
    assert leadership is not None
    assert collected.number("is_leader", election="e", store="memory") == 1
    assert collected.number("token") == leadership.token.value
    assert collected.number("healthy") == 1
    assert collected.number("without_leader") == 0
    remaining = collected.number("lease.remaining")
    assert remaining is not None and 0 < remaining <= client.timing.belief_window
    assert elector.resign()
    eventually(lambda: collected.number("transitions", reason="resigned") == 1)
    elector.stop()
    assert collected.points("is_leader") == []


def test_heartbeats_are_a_histogram_in_seconds(
    store: Store, client: Client, collected: Collected
) -> None:
    collected.instrument(client)
    client.elector("e").start()
    eventually(lambda: collected.points("renew.duration"))
    (point,) = collected.points("renew.duration")
    assert isinstance(point, HistogramDataPoint)
    assert point.count >= 1 and point.explicit_bounds[0] == 0.001
    store.fail("renew")
    eventually(lambda: collected.number("renew.failures"))


def test_to_instrument_twice_counts_nothing_twice(
    client: Client, collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    collected.instrument(client)
    collected.instrument(client)
    elector = leading(client)
    elector.stop()
    eventually(lambda: collected.number("transitions", reason="stopped") == 1)
    eventually(collected.spans)
    assert len(collected.spans()) == 1
    assert not caplog.records, "the SDK complains of instruments that are made twice"


def test_several_clients_share_the_instruments(
    clients: Callable[..., Client], collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "a", "b":
        client = clients(Store())
        collected.instrument(client)
        elector = client.elector(name)
        elector.start()
        assert elector.wait_elected(PATIENCE)
    assert len(collected.points("is_leader")) == 2
    assert not caplog.records


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_ends_no_span_of_its_parent(client: Client, collected: Collected) -> None:
    collected.instrument(client)
    elector = leading(client)
    eventually(lambda: collected.number("transitions", reason="elected") == 1)

    def child() -> None:
        elector.start()
        assert elector.wait_elected(PATIENCE)
        client.close()
        eventually(lambda: len(collected.spans()) == 1)
        assert (collected.spans()[0].attributes or {})["leaderlock.candidate"] != parent

    parent = elector.candidate_id
    assert in_child(child) == ""
    assert not collected.spans()
    elector.stop()
    eventually(lambda: len(collected.spans()) == 1)


def test_without_an_sdk_it_does_nothing_and_harms_nothing(client: Client) -> None:
    instrument(client)
    elector = leading(client)
    assert elector.resign()


def test_the_last_term_ends_before_the_exporter_does() -> None:
    """A provider shuts down with the process, and would do so first: it is made later."""
    code = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from leaderlock import LeaderElector
from leaderlock.telemetry.opentelemetry import instrument

tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
elector = LeaderElector("memory://", "e")
instrument(elector, tracer_provider=tracers)
elector.start()
assert elector.wait_elected(20)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert '"leaderlock.reason": "stopped"' in done.stdout
    assert done.stderr == ""
