"""Many elections and many cycles: threads and descriptors do not grow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from leaderlock import Client, LeaderElector, LossReason
from tests.elector.tools import ALL, PATIENCE, Record, Store, eventually, our_threads

ELECTIONS = 200


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_500_start_and_stop_cycles_leave_threads_and_descriptors_flat() -> None:
    record = Record()
    elector = LeaderElector(
        "memory://cycles?ttl=3", "e", on_elected=record.elected, on_lost=record.lost
    )
    threads, files = threading.active_count(), open_files()
    for cycle in range(500):
        elector.start()
        assert elector.wait_elected(PATIENCE)
        assert elector.stop()
        if cycle % 100 == 99:
            eventually(lambda: threading.active_count() == threads)
            assert open_files() == files
    assert record.kinds() == ["elected", "lost"] * 500
    assert record.of("elected") == list(range(1, 501))


def test_500_electors_of_one_client_that_come_and_go_leave_nothing(client: Client) -> None:
    import gc
    import weakref

    lead = client.elector("anchor")
    lead.start()
    assert lead.wait_elected(PATIENCE)
    threads, files = 0, open_files()
    for number in range(500):
        elector = client.elector(f"e-{number}")
        elector.start()
        assert elector.wait_elected(PATIENCE)
        assert elector.stop()
        threads = max(threads, len(our_threads()))
    gone = weakref.ref(elector)
    del elector
    gc.collect()
    assert gone() is None
    assert len(client._electors) == 1
    assert len(client.runtime()._members) == 1
    assert threads <= 8
    assert open_files() == files


def test_200_elections_share_a_constant_number_of_threads_and_one_round_of_renewals(
    store: Store, client: Client
) -> None:
    first = client.elector("first")
    first.start()
    assert first.wait_elected(PATIENCE)
    record = Record()
    electors = [
        client.elector(f"shard-{number}", on_elected=record.elected, on_lost=record.lost)
        for number in range(ELECTIONS)
    ]
    for elector in electors:
        elector.start()
    for elector in electors:
        assert elector.wait_elected(PATIENCE)
    assert len(our_threads()) <= 7
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] >= renewals + 2)
    assert all(elector.is_leader for elector in electors)
    record.wait("elected", ELECTIONS)
    assert client.close()
    record.wait("lost", ELECTIONS)
    assert record.of("lost") == [LossReason.STOPPED] * ELECTIONS
    assert store.calls["release"] == ELECTIONS + 1
    assert not our_threads()


def test_200_elections_are_all_lost_in_time_on_a_dead_store(
    clients: Callable[..., Client],
) -> None:
    store, record = Store(ttl=1.5), Record()
    client = clients(store)
    electors = [
        client.elector(f"shard-{number}", on_lost=record.lost) for number in range(ELECTIONS)
    ]
    for elector in electors:
        elector.start()
    for elector in electors:
        assert elector.wait_elected(PATIENCE)
    store.hang(*ALL)
    record.wait("lost", ELECTIONS, timeout=client.timing.belief_window + 2)
    assert not any(elector.is_leader for elector in electors)
    assert set(record.of("lost")) == {LossReason.EXPIRED}
    assert len(our_threads()) <= 8
    store.let_go()


def test_an_election_at_rest_takes_less_than_8_kib(client: Client) -> None:
    import gc
    import tracemalloc

    first = client.elector("first")
    first.start()
    assert first.wait_elected(PATIENCE)
    gc.collect()
    tracemalloc.start()
    try:
        electors = [client.elector(f"shard-{number}") for number in range(ELECTIONS)]
        for elector in electors:
            elector.start()
        for elector in electors:
            assert elector.wait_elected(PATIENCE)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < ELECTIONS * 8 * 1024
    finally:
        tracemalloc.stop()
