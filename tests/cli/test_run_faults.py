"""`leaderlock run` when something breaks: no command outlives its term."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from leaderlock.cli.supervised import Supervised
from leaderlock.testing.servers.redis import RedisServer
from tests.cli.tools import Run, is_alive, leaderlock, now, worker
from tests.elector.tools import eventually

TTL = 3.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/election.db?ttl={TTL:g}"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_a_killed_leader_leaves_no_child_and_no_grandchild(url: str, journal: Path) -> None:
    with Run(url, journal, wishes=["family", "stubborn"]) as it:
        it.wait("started", 3)
        it.wait("grandchild", 2)
        it.process.kill()
        eventually(lambda: not it.living(), "all dead", timeout=5)
        assert not it.notes("SIGTERM")  # there is no time for that


def test_a_killed_supervisor_leaves_no_child_and_no_grandchild(url: str, journal: Path) -> None:
    with Run(url, journal, wishes=["family", "stubborn"]) as it:
        it.wait("started", 3)
        it.wait("grandchild", 2)
        os.kill(it.supervisor(), signal.SIGKILL)
        assert it.process.wait(20) == 137
        assert not it.living()


def test_a_stopped_leader_does_not_keep_its_command(url: str, journal: Path) -> None:
    with Run(url, journal, wishes=["stubborn", "family"]) as it:
        it.wait("started", 3)
        stopped_at = now()
        it.process.send_signal(signal.SIGSTOP)
        eventually(lambda: not it.living(), "all dead")
        assert it.notes("alive")[-1]["at"] < stopped_at + TTL
        term = it.wait("SIGTERM")
        assert term["at"] < it.notes("alive")[-1]["at"]
        it.process.send_signal(signal.SIGCONT)
        eventually(lambda: len(set(it.tokens())) == 2, "leads again")


@pytest.mark.parametrize("wishes", [["stubborn"], []])
def test_a_silent_store_ends_the_command_before_anybody_else_can_lead(
    own_redis: RedisServer, journal: Path, wishes: list[str]
) -> None:
    url = f"{own_redis.url}?ttl={TTL:g}&quarantine=false"
    with Run(url, journal, wishes=[*wishes]) as it:
        it.wait("started")
        frozen_at = now()
        own_redis.freeze()
        eventually(lambda: not it.living(), "dead")
        assert it.wait("SIGTERM")["at"] < frozen_at + TTL * 2 / 3
        assert it.notes()[-1]["at"] < frozen_at + TTL
        own_redis.thaw()
        it.wait("started", 2)  # contends again
        assert len(set(it.tokens())) == 2
        assert it.tokens() == sorted(it.tokens())


def test_exit_on_loss(own_redis: RedisServer, journal: Path) -> None:
    url = f"{own_redis.url}?ttl={TTL:g}&quarantine=false"
    with Run(url, journal, "--exit-on-loss") as it:
        it.wait("started")
        own_redis.freeze()
        assert it.process.wait(20) == 79
        own_redis.thaw()
        assert "lost the term under token" in it.said()


def test_an_evicted_leaders_command_is_killed_at_once(url: str, journal: Path) -> None:
    with Run(url, journal, wishes=["stubborn"]) as it:
        it.wait("started")
        assert leaderlock("evict", "e", "--yes", LEADERLOCK_URL=url).returncode == 0
        it.wait("started", 2)
        assert not it.notes("SIGTERM")
        assert len(set(it.tokens())) == 2


def test_a_signal_for_a_command_that_is_about_to_start_is_not_lost(tmp_path: Path) -> None:
    ring, bell = socket.socketpair()
    with closing(ring), closing(bell), Supervised(os.environ) as it:
        it.send(signal.SIGTERM)
        it.start(["sleep", "60"], now() + 60, grace=0.5)
        news: list[dict[str, object]] = []
        while not any("ended" in each for each in news):
            news += it.listen(1.0, bell)
    assert news[-1] == {"ended": -signal.SIGTERM}


def test_a_supervisor_ends_the_command_even_if_its_leader_never_speaks_again(
    tmp_path: Path,
) -> None:
    """The deadline is in the supervisor, and nothing but a later one moves it."""
    journal = tmp_path / "journal"
    ring, bell = socket.socketpair()
    with closing(ring), closing(bell), Supervised(os.environ) as it:
        assert it.listen(20, bell) == [{"ready": True}]
        until = now() + 1.0
        it.start(worker(journal, "stubborn"), until, grace=0.5)
        news: list[dict[str, object]] = []
        while not any("ended" in each for each in news):
            news += it.listen(1.0, bell)
    assert news[-1] == {"ended": -signal.SIGKILL}
    assert until + 0.5 <= now() < until + 5


@pytest.mark.parametrize("how", ["evicted", "stopped too late"])
def test_a_stopped_supervisor_keeps_no_command(tmp_path: Path, how: str) -> None:
    journal = tmp_path / "journal"
    ring, bell = socket.socketpair()
    with closing(ring), closing(bell), Supervised(os.environ) as it:
        assert it.listen(20, bell) == [{"ready": True}]
        until = now() + (60 if how == "evicted" else 1.0)
        it.start(worker(journal, "stubborn", "family"), until, grace=0.5)
        (started,) = it.listen(20, bell)
        eventually(lambda: journal.exists() and journal.read_text().count('"started"') == 3)
        os.kill(_parent(started["started"]), signal.SIGSTOP)
        if how == "evicted":
            it.end(at_once=True)
        news: list[dict[str, object]] = []
        while not news:
            news += it.listen(0.1, bell)
        ended_at = now()
    assert news == [{"ended": -signal.SIGKILL}]
    assert ended_at < until + 2
    pids = {json.loads(line)["pid"] for line in journal.read_text().splitlines()}
    assert not any(map(is_alive, pids))


def test_a_killed_supervisor_takes_no_child_along_that_is_not_its_own() -> None:
    """As by `sleep 60 & exec leaderlock run ...` in a shell."""
    ring, bell = socket.socketpair()
    other = subprocess.Popen(["sleep", "60"])
    try:
        with closing(ring), closing(bell), Supervised(os.environ) as it:
            assert it.listen(20, bell) == [{"ready": True}]
            it.start(["sleep", "60"], now() + 60, grace=0.5)
            (started,) = it.listen(20, bell)
            os.kill(_parent(started["started"]), signal.SIGKILL)
            assert it.listen(20, bell) == [{"ended": -signal.SIGKILL}]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
