"""`leaderlock run`: a command runs only while its node leads."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from leaderlock import FencingToken, LeaderElector
from leaderlock.cli.runner import Runner, Wish
from leaderlock.testing.servers.redis import RedisServer
from tests.cli.tools import LEADERLOCK, Run, environment, leaderlock, wait_said, worker


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/election.db?ttl=3"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def run(url: str, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return leaderlock("run", "-q", "-e", "e", *words, given=given, LEADERLOCK_URL=url)


@pytest.mark.parametrize(
    ("wishes", "code"), [(["exits", "0"], 0), (["exits", "7"], 7), (["kills", "SIGKILL"], 137)]
)
def test_the_exit_code_is_that_of_the_command(
    url: str, journal: Path, wishes: list[str], code: int
) -> None:
    assert run(url, "--", *worker(journal, *wishes)).returncode == code


def test_the_command_knows_its_term(url: str, journal: Path) -> None:
    with Run(url, journal, "-n", "shop", wishes=["exits", "0"]) as first:
        assert first.process.wait(20) == 0
    with Run(url, journal, "-n", "shop", wishes=["exits", "0"]) as second:
        assert second.process.wait(20) == 0
    told = second.notes("started")[0]["env"]
    assert told | {"LEADERLOCK_TOKEN": "", "LEADERLOCK_URL": ""} == {
        "LEADERLOCK_TOKEN": "",
        "LEADERLOCK_URL": "",
        "LEADERLOCK_EPOCH": "1",
        "LEADERLOCK_ELECTION": "e",
        "LEADERLOCK_CANDIDATE_ID": "a",
        "LEADERLOCK_NAMESPACE": "shop",
    }
    lower, higher = map(FencingToken.parse, second.tokens())
    assert lower < higher


def test_stdin_and_stdout_are_the_commands(url: str) -> None:
    done = run(url, "--", "sed", "s/x/y/", given="xyz\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "yyz\n", "")


def test_options_of_the_command_are_its_own(url: str) -> None:
    assert run(url, "echo", "--timeout", "-q").stdout == "--timeout -q\n"


def test_a_second_one_waits_and_takes_over(url: str, journal: Path, tmp_path: Path) -> None:
    with Run(url, journal) as first:
        first.wait("started")
        with Run(url, tmp_path / "other", name="b") as second:
            wait_said(second, "a leads 'e'; waiting")
            assert first.end() == 0
            second.wait("started")
            assert not first.living()
            assert second.tokens() > first.tokens()


def test_the_command_drains_before_the_next_one_leads(
    url: str, journal: Path, tmp_path: Path
) -> None:
    with Run(url, journal, wishes=["slow"]) as first:
        first.wait("started")
        with Run(url, tmp_path / "other", name="b") as second:
            wait_said(second, "waiting")
            first.end()
            assert second.wait("started")["at"] > first.wait("drained")["at"]


def test_what_a_command_leaves_behind_ends_before_the_next_one_leads(
    url: str, journal: Path, tmp_path: Path
) -> None:
    with Run(url, journal, wishes=["family"]) as first:
        first.wait("grandchild", 2)
        first.wait("started", 3)
        with Run(url, tmp_path / "other", name="b") as second:
            wait_said(second, "waiting")
            first.end()
            second.wait("started")
            assert not first.living()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"])
def test_signals_are_passed_on(url: str, journal: Path, name: str) -> None:
    with Run(url, journal) as it:
        it.wait("started")
        it.process.send_signal(getattr(signal, name))
        it.wait(name)
        assert it.end() == 0
        assert len(it.notes("SIGTERM")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait(
    url: str, journal: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with Run(url, journal) as first:
        first.wait("started")
        with Run(url, tmp_path / "other", name="b") as second:
            wait_said(second, "waiting")
            assert second.end(number) == 128 + number
        assert first.end() == 0


def test_nohup_is_respected(url: str, journal: Path) -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        it = Run(url, journal)
    finally:
        signal.signal(signal.SIGHUP, old)
    with it:
        it.wait("started")
        it.process.send_signal(signal.SIGHUP)
        it.process.send_signal(signal.SIGUSR1)
        it.wait("SIGUSR1")
        assert not it.notes("SIGHUP")
        assert it.end() == 0


def test_it_is_told_why_a_young_redis_elects_nobody(own_redis: RedisServer, journal: Path) -> None:
    with Run(f"{own_redis.url}?ttl=60", journal) as it:
        wait_said(it, "the server was started lately, and may have forgotten a leader")
        assert it.end() == 143


def test_not_elected_in_time(url: str, journal: Path) -> None:
    with LeaderElector(url, "e", candidate_id="me").lead(timeout=20):
        done = run(url, "--timeout", "0.5", "--", *worker(journal))
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "leaderlock: not elected in 'e' within 0.5 s\n"
    assert not journal.exists()


def test_a_silent_store_is_told_apart_from_a_long_queue() -> None:
    done = run("redis://127.0.0.1:1?ttl=1", "--timeout", "1.5", "--", "true")
    assert done.returncode == 69
    assert "not elected in 'e' within 1.5 s: " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("no-such-program", 127, "leaderlock: 'no-such-program': no such command\n"),
        ("./no/such/program", 127, "leaderlock: './no/such/program': no such command\n"),
        ("/etc/passwd", 126, "leaderlock: '/etc/passwd': cannot be run\n"),
    ],
)
def test_a_command_that_is_not_there_does_not_contend(
    url: str, tmp_path: Path, name: str, code: int, said: str
) -> None:
    done = run(url, "--", name)
    assert (done.returncode, done.stderr) == (code, said)
    assert not (tmp_path / "election.db").exists()


def test_a_command_that_turns_out_not_to_run(url: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = run(url, "--", str(script))
    assert done.returncode == 127
    assert done.stderr.startswith(f"leaderlock: cannot run {str(script)!r}: No such file")


def test_restart_contends_again_when_the_command_has_ended_but_not_without_a_pause(
    url: str, journal: Path
) -> None:
    with Run(url, journal, "--restart", wishes=["exits", "3"]) as it:
        it.wait("started", 5)
        times = [note["at"] for note in it.notes("started")]
        assert it.end() in (3, 143)
    assert it.tokens() == sorted(set(it.tokens()))
    assert times[4] - times[3] > 0.4  # 0.05 s, doubled three times, and more


def test_it_can_be_told_to_resign(url: str, journal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with Run(url, journal, "--resign-on", "usr1", wishes=["slow"]) as first:
        first.wait("started")
        with Run(url, other, "--resign-on", "USR1", name="b") as second:
            wait_said(second, "waiting")
            second.process.send_signal(signal.SIGUSR1)  # means nothing to who does not lead
            first.process.send_signal(signal.SIGUSR1)
            assert second.wait("started")["at"] > first.wait("drained")["at"]
            wait_said(first, "b leads 'e'; waiting")
            assert not first.notes("SIGUSR1")
            second.process.send_signal(signal.SIGUSR1)
            first.wait("started", 2)
            assert first.end() == 0
            second.wait("started", 2)
            assert second.end() == 0


def test_a_timeout_of_0_asks_once_at_the_most(url: str, journal: Path) -> None:
    done = run(url, "--timeout", "0", "--", *worker(journal))
    assert (done.returncode, done.stderr) == (75, "leaderlock: not elected in 'e' within 0 s\n")


def test_a_timeout_may_be_longer_than_a_thread_can_wait(url: str) -> None:
    done = run(url, "--timeout", "1e30", "true")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_before_the_wait_has_begun_is_not_lost(url: str) -> None:
    """As soon as it has its own handler, which the system tells of."""
    with subprocess.Popen(
        [*LEADERLOCK, "run", "-q", "-e", "e", "--", "sleep", "60"],
        env=environment(LEADERLOCK_URL=url),
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        mask = 1 << (signal.SIGUSR2 - 1)
        while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & mask:
            assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 143


def test_after_a_signal_no_command_is_started_however_late_its_thread_comes(
    url: str, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "_contend_no_more", lambda runner: None)
    wish = Wish(words=["touch", str(journal)], grace=0.5, quiet=True)
    runner = Runner(LeaderElector(url, "e"), wish, {})
    runner._on_signal(signal.SIGTERM)
    assert runner.run() == 128 + signal.SIGTERM
    assert not journal.exists()


def test_a_supervisor_that_cannot_be_started_is_no_reason_to_try_for_ever(url: str) -> None:
    elector = LeaderElector(url, "e")
    runner = Runner(elector, Wish(words=["true"], grace=0.5, quiet=True), {"a": "x" * 10_000_000})
    assert runner.run() == 126


def test_the_wait_for_a_release_can_be_cut_short(journal: Path) -> None:
    with Run("redis://127.0.0.1:1?ttl=60", journal) as it:
        wait_said(it, "does not answer|no answer")
        it.process.send_signal(signal.SIGTERM)
        assert it.end(signal.SIGINT) in (130, 143)


def test_that_nobody_listens_any_more_is_no_reason_to_do_less(url: str, journal: Path) -> None:
    words = [*LEADERLOCK, "run", "-e", "e", "--", *worker(journal, "exits", "5")]
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(words, stderr=writer, env=environment(LEADERLOCK_URL=url))
    os.close(writer)
    assert process.wait(20) == 5
    assert journal.exists()
