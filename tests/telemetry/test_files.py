"""The alert rules, the dashboard and the page on telemetry name what there really is."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.metrics import (
    Counter,
    Histogram,
    Meter,
    MeterProvider,
    NoOpMeter,
    ObservableGauge,
)
from prometheus_client import CollectorRegistry

from leaderlock import connect
from leaderlock.telemetry import events, opentelemetry, prometheus
from leaderlock.telemetry.events import ElectionEvent, Event
from leaderlock.telemetry.watch import FAULTS
from leaderlock.testing.servers.programs import program
from tests.elector.tools import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "telemetry.md").read_text(encoding="utf-8")
ALERTS = DOCS / "telemetry" / "alerts.yml"
DASHBOARD = DOCS / "telemetry" / "dashboard.json"


def exposed() -> dict[str, set[str]]:
    """Every sample that can be scraped, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in prometheus.ElectionCollector().describe():
        labels = set(metric._labelnames)  # type: ignore[attr-defined]
        match metric.type:
            case "counter":
                found[f"{metric.name}_total"] = labels
            case "histogram":
                found |= {f"{metric.name}_{part}": labels for part in ("count", "sum")}
                found[f"{metric.name}_bucket"] = labels | {"le"}
            case _:
                found[metric.name] = labels
    return found


def strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from strings(inner)
        case list():
            for inner in value:
                yield from strings(inner)


def alerts() -> list[dict[str, Any]]:
    loaded = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [*(rule["expr"] for rule in alerts()), *strings(dashboard)]


def test_every_metric_that_is_queried_exists_with_its_labels() -> None:
    known, used = exposed(), set[str]()
    for query in queries():
        for name, selector in re.findall(r"\b(leaderlock_\w+)(?:\{([^}]*)\})?", query):
            assert name in known, f"{name} in {query}"
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= known[name], f"{name} has no {labels - known[name]}: {query}"
            used.add(name)
        grouped = re.findall(r"\bby \(([^)]*)\)", query)
        every = set.union(*known.values())
        assert {label.strip() for labels in grouped for label in labels.split(",")} <= every
    unused = {name for name in known if name not in used and not name.endswith(("_sum", "_count"))}
    assert not unused, "a metric that neither warns nor is looked at"


def test_every_event_and_reason_in_an_alert_exists() -> None:
    from leaderlock import LossReason

    names = {kind.name.removeprefix("leaderlock.") for kind in FAULTS}
    reasons = {"elected", *(reason.value for reason in LossReason)}
    for query in queries():
        assert set(re.findall(r'event="(\w+)"', query)) <= names
        for found in re.findall(r'reason[=!]~?"([^"]*)"', query):
            assert set(found.split("|")) <= reasons


def test_the_alerts_say_what_they_are_meant_to(tmp_path: Path) -> None:
    for file in ALERTS, Path(__file__).with_name("alerts_test.yml"):
        shutil.copy(file, tmp_path)
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [program("promtool"), *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_and_explained() -> None:
    tried = Path(__file__).with_name("alerts_test.yml").read_text(encoding="utf-8")
    for rule in alerts():
        assert rule["alert"] in tried
        assert f"| `{rule['alert']}` |" in PAGE, rule["alert"]


def test_the_queries_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    """As the expressions of rules, with something for what Grafana fills in."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__rate_interval", "5m", expression)}
        for number, expression in enumerate(expressions)
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(expressions) >= 10
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def rows(column: int = 0) -> set[str]:
    """What stands in `code` in a column of a table of the page."""
    found = set()
    for line in PAGE.splitlines():
        cells = line.split("|")
        if line.startswith("|") and len(cells) > column + 1:
            found |= set(re.findall(r"`([^`]+)`", cells[column + 1]))
    return found


def kinds() -> list[type[Event]]:
    return [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind not in (Event, ElectionEvent)
    ]


@pytest.mark.parametrize("kind", kinds())
def test_every_event_stands_in_the_table_with_its_name_and_fields(kind: type[Event]) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind.__name__}` |")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2] == f"`{kind.name}`"
    names = [field.name for field in dataclasses.fields(kind)]
    own = [name for name in names if name not in ("election", "candidate_id")]
    assert re.findall(r"`(\w+)`", cells[3]) == own
    assert ("only to who names it" in cells[4]) == kind.frequent


def test_every_metric_stands_in_the_table_and_no_other() -> None:
    named = {name for name in rows() if name.startswith("leaderlock_")}
    histogram = ("_bucket", "_sum", "_count")
    known = {re.sub(f"({'|'.join(histogram)})$", "", name) for name in exposed()}
    assert named == known


class NamesOnly(NoOpMeter):
    """Knows the names of the instruments that are made."""

    def __init__(self) -> None:
        super().__init__("names")
        self.names: set[str] = set()

    def create_counter(self, name: str, *args: Any, **keywords: Any) -> Counter:
        self.names.add(name)
        return super().create_counter(name, *args, **keywords)

    def create_histogram(self, name: str, *args: Any, **keywords: Any) -> Histogram:
        self.names.add(name)
        return super().create_histogram(name, *args, **keywords)

    def create_observable_gauge(self, name: str, *args: Any, **keywords: Any) -> ObservableGauge:
        self.names.add(name)
        return super().create_observable_gauge(name, *args, **keywords)


class OneMeter(MeterProvider):
    def __init__(self) -> None:
        self.meter = NamesOnly()

    def get_meter(self, *args: Any, **keywords: Any) -> Meter:
        return self.meter


def test_every_metric_of_opentelemetry_stands_in_the_table_and_no_other() -> None:
    provider = OneMeter()
    with connect("memory://?ttl=3") as client:
        opentelemetry.instrument(client, meter_provider=provider)
    table = PAGE.split("| Prometheus | OpenTelemetry |")[1].split("\n\n")[0]
    assert provider.meter.names == set(re.findall(r"`(leaderlock\.[a-z._]+)`", table))


def test_a_registry_that_is_described_has_no_samples() -> None:
    registry = CollectorRegistry()
    prometheus.instrument(registry=registry)
    assert [sample for metric in registry.collect() for sample in metric.samples] == []
