"""What nobody holds any more, what hangs for ever, and what is said in time all the same."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import BackendUnavailable, CampaignTimeout, Client, LeaderElector
from leaderlock.client import _open
from tests.elector.tools import Record, Store, eventually, lasts_at_most, our_threads


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_observers_that_are_dropped_leave_no_file_and_no_thread(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/e.db"
    with LeaderElector(url, "e") as leader:
        assert leader.wait_elected(timeout=10)
        assert LeaderElector(url, "e").leader() is not None
        files, threads = open_files(), len(our_threads())
        for _ in range(10):
            assert LeaderElector(url, "e").leader() is not None
            assert next(LeaderElector(url, "e").observe()) is not None
            assert LeaderElector(url, "e").wait_elected(timeout=10)
        gc.collect()
        eventually(lambda: len(our_threads()) <= threads, "their threads have ended")
        # SQLite keeps a descriptor for later while the process has locks on the file: a few may
        # be open, and three for each of the thirty would.
        eventually(lambda: open_files() <= files + 10, "their files are closed")


def test_a_candidate_that_is_dropped_goes_on_leading(tmp_path: Path) -> None:
    record = Record()
    name = f"memory://{tmp_path.name}"
    LeaderElector(name, "e", on_elected=record.elected).start()
    record.wait("elected")
    gc.collect()
    leader = LeaderElector(name, "e").leader()
    assert leader is not None
    for client in list(_open):
        client.close()
    assert LeaderElector(name, "e").leader() is None


def test_a_campaign_that_times_out_on_a_silent_store_says_so_soon(store: Store) -> None:
    store.fail("campaign", "release")
    elector = LeaderElector(store, "e")
    with (
        lasts_at_most(0.3 + elector.timing.request_timeout + 1.0),
        pytest.raises(CampaignTimeout, match="the store fails: the test cut") as caught,
        elector.lead(timeout=0.3),
    ):
        pytest.fail("led without a store")
    assert isinstance(caught.value.__cause__, BackendUnavailable)


def test_asking_a_store_that_hangs_who_leads_ends_in_time(
    store: Store, clients: Callable[..., Client]
) -> None:
    elector = clients().elector("e")
    store.hang("leader")
    with (
        lasts_at_most(2 * elector.timing.request_timeout + 1.0),
        pytest.raises(BackendUnavailable, match="no answer within"),
    ):
        elector.leader()


def test_callbacks_that_hang_do_not_keep_the_losses_of_others_from_being_told(
    store: Store, clients: Callable[..., Client]
) -> None:
    client, never, record = clients(), threading.Event(), Record()
    try:
        for number in range(5):
            client.elector(f"hangs-{number}", on_elected=lambda _: never.wait()).start()
        elector = client.elector("e", on_lost=record.lost)
        elector.start()
        assert elector.wait_elected(timeout=10)
        store.hang("renew")
        leadership = elector.leadership
        assert leadership is not None
        deadline = time.monotonic() + leadership.remaining()
        record.wait("lost")
        assert time.monotonic() < deadline + 2.0
    finally:
        never.set()


def test_a_wrong_timeout_is_refused_before_the_block_is_entered() -> None:
    with pytest.raises(ValueError, match="timeout"):
        LeaderElector("memory://", "e").lead(timeout=-1)
