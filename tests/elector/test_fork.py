"""A forked child is never leader, touches nothing of its parent, and can begin anew."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from leaderlock import Client, LeaderElector, LeadershipLost, LossReason, leader_only
from leaderlock.leadership import Leadership
from tests.elector.tools import PATIENCE, Record, Store, eventually, in_child, in_thread

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def elector(client: Client) -> LeaderElector:
    elector = client.elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


def test_a_child_of_the_leader_is_not_leader(elector: LeaderElector) -> None:
    leadership = elector.leadership
    assert leadership is not None

    def child() -> None:
        assert not elector.is_leader
        assert elector.leadership is None
        assert not leadership.is_valid
        assert leadership.remaining() == 0.0
        assert leadership.reason is LossReason.FORKED
        assert leadership.wait_lost(0)
        assert not elector._candidate.contends
        with pytest.raises(LeadershipLost) as caught:
            leadership.check()
        assert caught.value.reason is LossReason.FORKED

    assert in_child(child) == ""
    assert elector.is_leader
    leadership.check()


def test_a_child_can_start_anew(elector: LeaderElector) -> None:
    def child() -> None:
        elector.start()
        assert elector.wait_elected(PATIENCE), "a memory store is another one in a child"
        assert elector.is_leader
        assert elector.stop()

    assert in_child(child) == ""
    assert elector.is_leader


def test_the_parent_renews_on_after_a_fork(store: Store, elector: LeaderElector) -> None:
    assert in_child(lambda: None) == ""
    renewals = store.calls["renew"]
    eventually(lambda: store.calls["renew"] >= renewals + 3)
    assert elector.is_leader


def test_a_child_that_stops_or_closes_resigns_nothing_of_the_parent(
    store: Store, client: Client, elector: LeaderElector
) -> None:
    def child() -> None:
        assert elector.resign()
        assert elector.stop()
        assert client.close()
        assert store.calls["release"] == 0

    leadership = elector.leadership
    assert in_child(child) == ""
    assert elector.leadership is leadership
    assert store.calls["release"] == 0


def test_a_child_has_no_callbacks_called_for_the_term_of_the_parent(client: Client) -> None:
    record = Record()
    elector = client.elector("e", on_elected=record.elected, on_lost=record.lost)
    elector.start()
    record.wait("elected")

    def child() -> None:
        assert record.kinds() == ["elected"]
        elector.stop()
        assert record.kinds() == ["elected"]

    assert in_child(child) == ""
    elector.stop()
    assert record.kinds() == ["elected", "lost"]


def test_forks_while_every_lock_is_held_by_other_threads(
    store: Store, client: Client, elector: LeaderElector
) -> None:
    runtime, candidate = client.runtime(), elector._candidate
    taken, finish = threading.Barrier(2), threading.Event()

    def hold_everything() -> None:
        with (
            client._lock,
            candidate._changed,
            runtime._state,
            runtime.io._changed,
            runtime.callbacks._changed,
            elector._feed._lock,
            store._store.lock,
        ):
            taken.wait(PATIENCE)
            finish.wait(PATIENCE)

    def child() -> None:
        assert not elector.is_leader
        assert elector.stop()
        elector.start()
        assert elector.wait_elected(PATIENCE)
        assert elector.stop()

    with in_thread(hold_everything):
        taken.wait(PATIENCE)
        try:
            assert in_child(child) == ""
        finally:
            finish.set()


def test_forks_in_the_middle_of_everything(client: Client) -> None:
    electors = [client.elector(f"e-{number}") for number in range(10)]
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            for elector in electors:
                elector.start()
                elector.wait_elected(0.01)
                elector.stop(timeout=0)

    def child() -> None:
        for elector in electors:
            assert not elector.is_leader
        electors[0].start()
        assert electors[0].wait_elected(PATIENCE)
        assert electors[0].is_leader
        client.close()

    with in_thread(busy):
        try:
            for _ in range(20):
                assert in_child(child) == ""
        finally:
            stop.set()


def test_a_child_forked_in_a_lead_block_can_leave_it(client: Client) -> None:
    elector = client.elector("e")

    def inside(leadership: Leadership) -> str:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            os.close(writer)
            with open(reader, "rb") as pipe:  # noqa: PTH123 - a descriptor
                return pipe.read().decode()
        os.close(reader)
        os.dup2(writer, 1000)
        leadership.check()
        raise AssertionError("not reached: the child does not lead")

    parent, report = os.getpid(), b"nothing"
    try:
        with elector.lead(timeout=PATIENCE) as leadership:
            answer = inside(leadership)
            assert elector.is_leader
    except BaseException as error:
        if os.getpid() == parent:
            raise
        report = repr(error).encode()
    finally:
        if os.getpid() != parent:
            os.write(1000, report)
            os._exit(0)
    os.wait()
    assert "FORKED" in answer and "LeadershipLost" in answer
    with elector.lead(timeout=PATIENCE):
        pass


def test_a_child_forked_in_an_observation_sees_it_end(client: Client) -> None:
    elector = client.elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    changes = elector.observe()
    next(changes)

    def child() -> None:
        assert list(changes) == []

    assert in_child(child) == ""
    changes.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("clients")
def test_a_guarded_function_contends_anew_in_a_child() -> None:
    calls: list[int] = []

    @leader_only("memory://guarded-fork?ttl=3", "e")
    def job() -> int:
        calls.append(os.getpid())
        return os.getpid()

    assert job() == os.getpid()

    def child() -> None:
        assert job() == os.getpid(), "the memory store of a child is its own"

    assert in_child(child) == ""
    assert calls == [os.getpid()]


def test_a_backend_that_was_given_is_abandoned_in_a_child_even_if_it_was_not_in_use(
    clients: Callable[..., Client],
) -> None:
    store = Store()
    client = clients(store)
    other = clients(store.sibling()).elector("e")
    other.start()
    assert other.wait_elected(PATIENCE)

    def child() -> None:
        with client.elector("e").lead(timeout=PATIENCE):
            pass  # the parent's holder is none here

    assert in_child(child) == ""


@pytest.fixture
def sqlite(tmp_path: object) -> Iterator[str]:
    yield f"sqlite://{tmp_path}/election.db?ttl=3"


def child_of_a_pool(url: str, leads: str) -> str:
    """In another process: the parent leads; nobody else does."""
    elector = LeaderElector(url, "e")
    info = elector.leader()
    with elector:
        elected = elector.wait_elected(0.2)
    return f"{info.candidate_id if info else None} {elected}"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_are_candidates_of_their_own(sqlite: str, method: str) -> None:
    with LeaderElector(sqlite, "e", candidate_id="parent") as elector:
        assert elector.wait_elected(PATIENCE)
        with multiprocessing.get_context(method).Pool(1) as pool:
            answer = pool.apply(child_of_a_pool, (sqlite, "parent"))
        assert answer == "parent False"
        assert elector.is_leader
