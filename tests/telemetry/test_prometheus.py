"""What Prometheus is shown, as its own parser reads the page."""

from __future__ import annotations

import gc
import subprocess
import time
import weakref
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from leaderlock import Client, ConfigurationError, LeaderElector, LossReason, aio, connect
from leaderlock.telemetry.prometheus import instrument
from leaderlock.testing import FakeClock
from leaderlock.testing.servers.programs import program
from tests.elector.tools import ALL, PATIENCE, Store, eventually, in_child, python

Clients = Callable[..., Client]
LEADERLOCK_SECRET = "s3cret"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def page(registry: CollectorRegistry) -> list[Sample]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return [sample for family in families for sample in family.samples]


def values(registry: CollectorRegistry, name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for sample in page(registry)
        if sample.name == f"leaderlock_{name}" and labels.items() <= sample.labels.items()
    ]


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    found = values(registry, name, **labels)
    assert len(found) <= 1, found
    return found[0] if found else None


def leading(client: Client) -> LeaderElector:
    elector = client.elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def test_a_leader_is_shown_with_its_token_and_what_is_left_of_its_lease(
    client: Client, registry: CollectorRegistry
) -> None:
    elector = client.elector("e", candidate_id="me")
    instrument(elector, registry=registry)
    assert value(registry, "is_leader") is None, "it does not contend"
    elector.start()
    assert elector.wait_elected(PATIENCE)
    leadership = elector.leadership
    assert leadership is not None
    (sample,) = [s for s in page(registry) if s.name == "leaderlock_is_leader"]
    assert sample.labels == {
        "store": "memory",
        "namespace": "leaderlock",
        "election": "e",
        "candidate": "me",
    }
    assert sample.value == 1
    assert value(registry, "token", epoch="1") == leadership.token.value
    remaining = value(registry, "lease_remaining_seconds")
    assert remaining is not None and 0 < remaining <= client.timing.belief_window
    assert value(registry, "healthy") == 1
    assert value(registry, "unhealthy_candidates") == 0
    assert value(registry, "without_leader_seconds") == 0
    eventually(lambda: value(registry, "transitions_total", reason="elected") == 1)
    elector.resign()
    eventually(lambda: value(registry, "transitions_total", reason="resigned") == 1)


def test_the_page_is_what_prometheus_itself_approves_of(
    client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry)
    elector = leading(client)
    elector.resign()
    eventually(lambda: value(registry, "transitions_total", reason="resigned") == 1)
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    text = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    assert list(openmetrics_families(text))  # type: ignore[no-untyped-call]


def test_who_leads_is_read_from_the_clock_at_the_scrape(
    clients: Clients, registry: CollectorRegistry
) -> None:
    """As after a long pause of the process: nobody has told anything of it yet."""
    clock = FakeClock()
    store = Store(clock=clock)
    client = clients(store)
    instrument(client, registry=registry)
    leading(client)
    store.hang("renew")
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] > renewals)
    clock.advance(1.9)
    assert value(registry, "is_leader") == 1
    assert value(registry, "healthy") == 0
    assert value(registry, "unhealthy_candidates") == 1
    clock.advance(0.2)
    assert value(registry, "is_leader") == 0
    assert value(registry, "lease_remaining_seconds") == 0
    assert value(registry, "token") is None
    store.let_go()


def test_a_follower_shows_for_how_long_nobody_leads(
    clients: Clients, registry: CollectorRegistry
) -> None:
    clock = FakeClock()
    store = Store(clock=clock)
    leader = clients(store).elector("e")
    leader.start()
    assert leader.wait_elected(PATIENCE)
    follower = clients(store.sibling()).elector("e")
    instrument(follower, registry=registry)
    follower.start()
    eventually(lambda: value(registry, "without_leader_seconds") == 0)
    assert value(registry, "is_leader") == 0
    follower_store = follower._client.runtime().backend
    assert isinstance(follower_store, Store)
    follower_store.hang("campaign")
    assert leader.stop()
    eventually(lambda: follower._feed._observer and follower._feed._observer._known == (None,))

    def leaderless() -> float:
        clock.advance(0.5)
        return value(registry, "without_leader_seconds") or 0.0

    eventually(lambda: leaderless() >= 5)
    follower_store.let_go()
    assert follower.wait_elected(PATIENCE)
    assert value(registry, "without_leader_seconds") == 0


def test_a_leader_that_loses_the_store_knows_that_nobody_leads(
    clients: Clients, registry: CollectorRegistry
) -> None:
    """The store cannot tell it: what it has heard last is that it leads itself."""
    clock = FakeClock()
    store = Store(clock=clock)
    elector = clients(store).elector("e")
    instrument(elector, registry=registry)
    elector.start()
    assert elector.wait_elected(PATIENCE)
    eventually(lambda: elector._feed._observer and elector._feed._observer._known)
    store.fail(*ALL)
    clock.advance(elector.timing.belief_window + 0.01)

    def leaderless() -> float:
        clock.advance(0.5)
        return value(registry, "without_leader_seconds") or 0.0

    eventually(lambda: leaderless() >= 5)
    store.heal()
    assert elector.wait_elected(PATIENCE)
    assert value(registry, "without_leader_seconds") == 0


def test_the_end_of_its_term_is_not_the_end_of_its_successors(
    store: Store, clients: Clients, registry: CollectorRegistry
) -> None:
    """It may hear of the successor first, and of its own loss in the next heartbeat."""
    elector = clients().elector("e")
    instrument(elector, registry=registry)
    elector.start()
    assert elector.wait_elected(PATIENCE)
    store.hang("renew")
    other = clients(store.sibling()).elector("e")
    with store._store.lock:
        store._election("e").holder = None
    other.start()
    assert other.wait_elected(PATIENCE)
    leads = other.leader()
    eventually(lambda: elector._feed._observer and elector._feed._observer._known == (leads,))
    store.let_go()
    eventually(lambda: values(registry, "transitions_total", reason="taken"))
    assert value(registry, "without_leader_seconds") == 0


def test_without_follow_leader_nobody_is_observed(
    store: Store, client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry, follow_leader=False)
    elector = leading(client)
    assert value(registry, "is_leader") == 1
    elector.stop()
    assert store.calls["leader"] == 0


def test_heartbeats_are_a_histogram_and_failed_ones_a_counter(
    store: Store, client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry)
    for number in range(5):
        client.elector(f"shard-{number}").start()
    eventually(lambda: (value(registry, "renew_duration_seconds_count") or 0) >= 2)
    count = value(registry, "renew_duration_seconds_count") or 0
    assert count <= store.calls["renew"], "one for all elections"
    assert value(registry, "renew_duration_seconds_bucket", le="+Inf") >= count  # type: ignore[operator]
    buckets = values(registry, "renew_duration_seconds_bucket")
    assert buckets == sorted(buckets) and len(buckets) == 14
    assert value(registry, "renew_duration_seconds_sum") is not None
    assert value(registry, "renew_failures_total") == 0
    store.fail("renew")
    eventually(lambda: value(registry, "renew_failures_total"))
    eventually(lambda: value(registry, "faults_total", election="shard-0", event="store_failing"))


def test_losses_are_counted_by_their_reason(
    store: Store, client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry)
    elector = leading(client)
    with store._store.lock:
        store._election("e").holder = None
    eventually(lambda: value(registry, "transitions_total", reason="taken") == 1)
    assert elector.wait_elected(PATIENCE)
    elector.stop()
    eventually(lambda: value(registry, "transitions_total", reason="stopped") == 1)
    assert value(registry, "transitions_total", reason="elected") == 2
    assert value(registry, "is_leader") is None
    assert {reason.value for reason in LossReason} > {"taken", "stopped"}


def test_an_elector_that_was_dropped_is_gone_with_its_counters(
    client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry)
    elector = leading(client)
    elector.stop()
    eventually(lambda: value(registry, "transitions_total", reason="stopped") == 1)
    gone = weakref.ref(elector)
    del elector
    gc.collect()
    assert gone() is None
    assert values(registry, "transitions_total") == []
    assert values(registry, "without_leader_seconds") == []


def test_a_client_that_was_dropped_is_gone(registry: CollectorRegistry) -> None:
    client = connect("memory://gone?ttl=3")
    instrument(client, registry=registry)
    assert values(registry, "unhealthy_candidates") == [0]
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    assert page(registry) == []


def test_to_instrument_twice_counts_nothing_twice(
    client: Client, registry: CollectorRegistry
) -> None:
    elector = client.elector("e")
    instrument(client, elector, registry=registry)
    instrument(client, registry=registry)
    elector.start()
    assert elector.wait_elected(PATIENCE)
    elector.stop()
    eventually(lambda: value(registry, "transitions_total", reason="stopped") == 1)
    assert value(registry, "transitions_total", reason="elected") == 1


def test_two_electors_of_one_name_and_id_are_one_series(
    store: Store, clients: Clients, registry: CollectorRegistry
) -> None:
    """Prometheus refuses the whole page for a series that is there twice."""
    electors = []
    for backend in store, store.sibling():
        elector = clients(backend).elector("e", candidate_id="me")
        instrument(elector, registry=registry)
        elector.start()
        electors.append(elector)
    eventually(lambda: any(elector.is_leader for elector in electors))
    assert value(registry, "is_leader") == 1
    labels = [(s.name, tuple(sorted(s.labels.items()))) for s in page(registry)]
    assert len(labels) == len(set(labels))


def test_an_observer_is_no_candidate(client: Client, registry: CollectorRegistry) -> None:
    instrument(client, registry=registry)
    observer = client.elector("e")
    assert observer.leader() is None
    assert values(registry, "is_leader") == []


def test_a_candidate_that_has_given_up_is_shown_as_unhealthy(
    store: Store, client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry)
    elector = leading(client)
    elector.stop()
    with store._store.lock:
        store._election("e").token = 0
    elector.start()
    eventually(lambda: value(registry, "faults_total", event="token_regressed") == 1)
    assert value(registry, "healthy") == 0
    assert value(registry, "unhealthy_candidates") == 1


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_shows_nothing_of_its_parent(
    client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry)
    elector = leading(client)
    eventually(lambda: value(registry, "transitions_total", reason="elected") == 1)
    eventually(lambda: value(registry, "renew_duration_seconds_count"))

    def child() -> None:
        assert values(registry, "is_leader") == []
        assert values(registry, "transitions_total") == []
        assert values(registry, "renew_duration_seconds_count") == [0]
        elector.start()
        assert elector.wait_elected(PATIENCE)
        assert value(registry, "is_leader") == 1
        eventually(lambda: value(registry, "transitions_total", reason="elected") == 1)

    assert in_child(child) == ""
    assert value(registry, "is_leader") == 1
    assert value(registry, "transitions_total", reason="elected") == 1


def test_no_secret_is_shown(registry: CollectorRegistry) -> None:
    url = f"redis://user:{LEADERLOCK_SECRET}@127.0.0.1:1/0?ttl=3&request_timeout=0.1"
    with connect(url) as client:
        instrument(client, registry=registry)
        elector = client.elector("e")
        elector.start()
        eventually(lambda: value(registry, "healthy") == 0)
        text = generate_latest(registry).decode()
        assert 'store="redis"' in text
        assert LEADERLOCK_SECRET not in text and "127.0.0.1" not in text
        assert client.close(0.1) in (True, False)


async def shown_of_aio(registry: CollectorRegistry) -> None:
    async with aio.connect("memory://aio?ttl=3") as client:
        elector = client.elector("e")
        instrument(client, elector, registry=registry)
        async with elector.lead(timeout=PATIENCE):
            assert value(registry, "is_leader") == 1


def test_electors_of_asyncio_are_shown_too(registry: CollectorRegistry) -> None:
    import asyncio

    asyncio.run(shown_of_aio(registry))


def test_what_is_neither_a_client_nor_an_elector_is_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ConfigurationError, match="not 'redis://"):
        instrument("redis://localhost", registry=registry)  # type: ignore[arg-type]
    assert page(registry) == []


def test_a_thousand_elections_are_scraped_in_a_moment(
    client: Client, registry: CollectorRegistry
) -> None:
    instrument(client, registry=registry, follow_leader=False)
    electors = [client.elector(f"shard-{number}") for number in range(1000)]
    for elector in electors:
        elector.start()
    for elector in electors:
        assert elector.wait_elected(PATIENCE)
    spent = time.thread_time()
    assert sum(values(registry, "is_leader")) == 1000
    assert time.thread_time() - spent < 2.0


def test_it_is_not_imported_before_it_is_used() -> None:
    done = python(
        "import sys\n"
        "from leaderlock import LeaderElector\n"
        "with LeaderElector('memory://?ttl=3', 'e').lead(timeout=20): pass\n"
        "print(sorted({'prometheus_client', 'opentelemetry'} & set(sys.modules)))\n"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("module", "extra", "missing"),
    [
        ("prometheus", "prometheus", "prometheus_client"),
        ("opentelemetry", "opentelemetry", "opentelemetry"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    module: str, extra: str, missing: str
) -> None:
    done = python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from leaderlock import MissingDependency\n"
        f"try: import leaderlock.telemetry.{module}\n"
        "except MissingDependency as error: print(error)\n"
    )
    assert f"pip install 'leaderlock[{extra}]'" in done.stdout, done.stderr
