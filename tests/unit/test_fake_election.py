"""FakeElection: a real elector under a test's hand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import (
    CampaignTimeout,
    ConfigurationError,
    LeaderElector,
    LeaderLockError,
    LeadershipLost,
    LossReason,
    aio,
)
from leaderlock.leadership import Leadership
from leaderlock.testing import FakeElection
from tests.elector.tools import PATIENCE, Record, eventually, in_thread, our_threads


@pytest.fixture
def election() -> Iterator[FakeElection]:
    with FakeElection() as election:
        yield election
    eventually(lambda: not our_threads(), "all threads have ended")


@pytest.fixture
def record(election: FakeElection) -> Record:
    record = Record()
    election.elector.on_elected(record.elected)
    election.elector.on_lost(record.lost)
    election.elector.on_leader_change(
        lambda info: record.leader(info and (info.candidate_id, info.token.value))
    )
    return record


def test_callbacks_have_run_when_a_method_returns(election: FakeElection, record: Record) -> None:
    for number in range(1, 30):
        record.told.clear()
        leadership = election.elect()
        assert election.elector.leadership is leadership
        assert record.of("elected") == [leadership.token.value]
        assert record.of("leader")[-1] == ("me", leadership.token.value)
        reason = [LossReason.TAKEN, LossReason.EXPIRED, LossReason.SESSION_LOST][number % 3]
        election.lose(reason)
        assert not election.elector.is_leader
        assert record.of("lost") == [reason]
        assert record.of("leader")[-1] is None
    assert leadership.token.value == 29


@pytest.mark.parametrize("reason", [LossReason.RESIGNED, LossReason.STOPPED])
def test_the_terms_end_that_the_program_ends_too(
    election: FakeElection, record: Record, reason: LossReason
) -> None:
    for _ in range(3):
        election.elect()
        election.lose(reason)
        assert record.of("lost")[-1] is reason
    assert len(record.of("lost")) == 3


@pytest.mark.parametrize("reason", [LossReason.WORK_FAILED, LossReason.FORKED])
def test_a_reason_that_nobody_can_give_from_outside_is_refused(
    election: FakeElection, reason: LossReason
) -> None:
    election.elect()
    with pytest.raises(ConfigurationError, match="the program itself"):
        election.lose(reason)


def test_others_lead(election: FakeElection, record: Record) -> None:
    election.elector.start()
    election.someone_else_leads("b", {"host": "x"})
    assert record.told[-1] == ("leader", ("b", 1))
    info = election.elector.leader()
    assert info is not None and info.metadata == {"host": "x"}
    first = election.elect()
    assert first.token.value == 2
    election.someone_else_leads("c")
    assert record.of("lost") == [LossReason.TAKEN]
    assert record.of("leader")[-1] == ("c", 3)
    assert election.elect().token > first.token
    election.nobody_leads()
    assert record.of("lost") == [LossReason.TAKEN] * 2
    assert record.of("leader")[-1] is None


def test_time_passes_only_when_the_test_says_so(election: FakeElection, record: Record) -> None:
    leadership = election.elect()
    window = election.elector.timing.belief_window
    assert leadership.remaining() == pytest.approx(window)
    election.advance(window - 1)
    assert leadership.remaining() == pytest.approx(1)
    election.elector._client.runtime()._beat()
    assert leadership.remaining() == pytest.approx(1), "no heartbeat comes in between"
    election.advance(1.1)
    assert record.of("lost") == [LossReason.EXPIRED]


def test_expire_ends_the_work_of_run(election: FakeElection) -> None:
    seen: list[object] = []
    working = threading.Event()

    def work(leadership: Leadership) -> None:
        working.set()
        assert leadership.wait_lost(PATIENCE)
        seen.append(leadership.reason)
        working.clear()

    with in_thread(lambda: election.elector.run(work)):
        for _ in range(2):
            election.elect()
            assert working.wait(PATIENCE)
            election.expire()
            eventually(lambda: not working.is_set())
        election.elector.stop()
    assert seen == [LossReason.EXPIRED] * 2


def test_lead_check_and_leader_only_do_as_in_production(
    election: FakeElection,
) -> None:
    elector = election.elector
    job = elector.leader_only(lambda: "done")
    assert job() is None
    with pytest.raises(CampaignTimeout), elector.lead(timeout=0.05):
        pass
    election.elect()
    assert job() == "done"
    with pytest.raises(LeadershipLost) as caught, elector.lead(timeout=0) as leadership:
        leadership.check()
        election.lose()
        assert job() is None
        with pytest.raises(LeaderLockError):
            election.elect()  # this work has not ended
        leadership.check()
    assert caught.value.reason is LossReason.TAKEN
    election.elect()


def test_what_a_callback_raises_fails_the_test(election: FakeElection) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("mine")

    election.elector.on_lost(fail)
    election.elect()
    with pytest.raises(AssertionError, match="mine"):
        election.lose()
    election.elect()  # it has been told; the election goes on


def test_what_makes_no_sense_is_said(election: FakeElection) -> None:
    with pytest.raises(LeaderLockError, match="does not lead"):
        election.lose()
    election.elect()
    with pytest.raises(LeaderLockError, match="leads already"):
        election.elect()
    election.elector.on_lost(lambda leadership, reason: election.nobody_leads())
    with pytest.raises(LeaderLockError, match="from the test"):
        election.lose()


def test_an_elector_of_the_program_is_taken_over_and_given_back(tmp_path: Path) -> None:
    record = Record()
    elector = LeaderElector(
        f"sqlite://{tmp_path}/e.db?ttl=7", "billing", candidate_id="web-1", on_lost=record.lost
    )

    @elector.leader_only
    def guarded(leadership: Leadership) -> str:
        return leadership.token.source

    with FakeElection(elector) as election:
        assert election.elector is elector
        leadership = election.elect()
        assert leadership.election == "billing" and leadership.leader_id == "web-1"
        assert elector.timing.ttl == 7
        assert guarded() == "stage"
        elector.on_elected(record.elected)  # of the test only
        election.expire()
        assert record.told == [("lost", LossReason.EXPIRED)]
        election.elect()
    assert record.kinds() == ["lost", "elected", "lost"]
    assert list(tmp_path.iterdir()) == [], "the store has not been touched"
    with elector.lead(timeout=PATIENCE) as leadership:
        assert leadership.token.source.startswith("sqlite")
    assert record.kinds() == ["lost", "elected", "lost", "lost"]


def test_an_elector_that_contends_is_not_taken_over() -> None:
    with (
        LeaderElector("memory://taken-over", "e") as elector,
        pytest.raises(ConfigurationError, match="stop it first"),
        FakeElection(elector),
    ):
        pass


def test_the_plugin_needs_nothing_but_pytest(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["leaderlock.testing.plugin"]\n')
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_it(fake_election):\n"
        "    assert fake_election.elect().is_valid\n"
        "    clients = {'redis', 'kazoo', 'etcd3', 'consul', 'typer', 'matplotlib'}\n"
        "    assert not clients & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "LEADERLOCK_URL": "redis://nowhere"},
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_an_elector_of_asyncio_is_steered_from_another_thread() -> None:
    asyncio.run(_steer_an_elector_of_asyncio())


async def _steer_an_elector_of_asyncio() -> None:
    told: list[object] = []
    elector = aio.LeaderElector("redis://nowhere", "e")

    @elector.on_elected
    async def elected(leadership: aio.Leadership) -> None:
        await asyncio.sleep(0.01)
        told.append(leadership.token.value)

    @elector.on_lost
    async def lost(leadership: aio.Leadership, reason: LossReason) -> None:
        await asyncio.sleep(0.01)
        told.append(reason)
        if reason is LossReason.TAKEN:
            raise AssertionError("mine")

    async with FakeElection(elector) as election:
        with pytest.raises(LeaderLockError, match="start it on its loop"):
            await asyncio.to_thread(election.elect)
        with pytest.raises(LeaderLockError, match="to_thread"):
            election.elect()
        elector.start()
        await asyncio.to_thread(election.elect)
        assert told == [1]
        entered = asyncio.Event()
        leading = asyncio.create_task(_lead(elector, entered))
        await entered.wait()
        await asyncio.to_thread(election.expire)
        with pytest.raises(LeadershipLost):
            await leading
        assert told == [1, LossReason.EXPIRED]
        await asyncio.to_thread(election.elect)
        with pytest.raises(AssertionError, match="mine"):
            await asyncio.to_thread(election.someone_else_leads, "b")
        await asyncio.to_thread(election.elect)
        await asyncio.to_thread(election.lose, LossReason.RESIGNED)
        await asyncio.to_thread(election.elect)
    assert told == [1, LossReason.EXPIRED, 2, LossReason.TAKEN, 4, LossReason.RESIGNED, 5] + [
        LossReason.STOPPED
    ]
    eventually(lambda: not our_threads(), "all threads have ended")


async def _lead(elector: aio.LeaderElector, entered: asyncio.Event) -> None:
    async with elector.lead() as leadership:
        entered.set()
        assert leadership.remaining() > 0
        await asyncio.sleep(PATIENCE)
