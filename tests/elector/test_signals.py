"""stop_on_signals: SIGTERM and SIGINT hand over, in good order, whatever the main thread does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leaderlock import Client, ConfigurationError, LeaderElector, LossReason, stop_on_signals
from tests.elector.tools import PATIENCE, ROOT, Record, eventually, python

MakeElector = Callable[[], LeaderElector]

PROGRAM = """
import os, signal, sys, threading
from leaderlock import LeaderElector, stop_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in a background
elector = LeaderElector(sys.argv[1], "signals", candidate_id="child")
def say(*words):  # in one piece, from whichever thread
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

elector.on_lost(lambda leadership, reason: say(reason.value))
"""
RUN = """
def work(leadership):
    say("leading")
    assert leadership.wait_lost(60)
    say("drained")

with stop_on_signals(elector) as signals:
    elector.run(work)
say("after", signals.received.name)
"""
LEAD = """
with stop_on_signals(elector):
    with elector.lead() as leadership:
        say("leading")
        while True:
            leadership.check()
            threading.Event().wait(0.01)
say("not reached")
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/election.db?ttl=60"


@contextmanager
def program(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has printed `leading`; it is killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM + code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        killer = threading.Timer(PATIENCE, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first in ("leading\n", "ready\n"), first + process.communicate()[1]
            yield process
        finally:
            killer.cancel()
            process.kill()


def rest_of(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output.split("\n")[:-1], errors


def with_ttl(url: str, ttl: float) -> str:
    return f"{url}{'&' if '?' in url else '?'}ttl={ttl:g}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("code", "says", "code_of_exit"),
    [
        pytest.param(RUN, ["drained", "stopped", "after {}"], lambda n: 0, id="run"),
        pytest.param(LEAD, ["stopped"], lambda n: 128 + n, id="lead"),
    ],
)
@pytest.mark.parametrize("store", ["sqlite", "redis", "etcd", "zookeeper", "consul"])
def test_a_follower_leads_within_a_second_of_a_signal(
    store: str,
    code: str,
    says: list[str],
    code_of_exit: Callable[[int], int],
    number: signal.Signals,
    url: str,
    request: pytest.FixtureRequest,
) -> None:
    if store != "sqlite":
        # A ttl that no test waits for: what leads soon after has been handed over to.
        url = with_ttl(request.getfixturevalue(store).url, 30)
        url += "&quarantine=false" if store == "redis" else ""
    with (
        program(code, url) as leader,
        LeaderElector(url, "signals", candidate_id="follower") as follower,
    ):
        observed = follower.leader()
        assert observed is not None and observed.candidate_id == "child"
        assert not follower.wait_elected(0.3), "it waits in the queue by now"
        leader.send_signal(number)
        began = time.monotonic()
        assert follower.wait_elected(PATIENCE)
        took = time.monotonic() - began
        returncode, output, errors = rest_of(leader)
    assert sorted(output) == sorted(line.format(number.name) for line in says)
    assert (returncode, errors) == (code_of_exit(number), "")
    assert took < 1


def test_a_signal_ends_a_lead_that_waits(url: str) -> None:
    code = """
elector.on_leader_change(lambda info: say("ready"))
with stop_on_signals(elector), elector.lead():
    say("not reached")
"""
    with LeaderElector(url, "signals").lead(timeout=PATIENCE), program(code, url) as waiting:
        waiting.send_signal(signal.SIGTERM)
        assert rest_of(waiting) == (128 + signal.SIGTERM, [], "")


def test_whoever_does_not_want_to_wait_says_ctrl_c_once_more(url: str) -> None:
    code = """
def work(leadership):
    say("leading")
    leadership.wait_lost(60)
    say("stopping")
    threading.Event().wait(60)  # does not look at its leadership any more

with stop_on_signals(elector):
    elector.run(work)
"""
    with program(code, url) as leader:
        leader.send_signal(signal.SIGTERM)
        assert leader.stdout is not None
        # on_lost may be told before the work has noticed, or after
        assert {leader.stdout.readline(), leader.stdout.readline()} == {"stopping\n", "stopped\n"}
        leader.send_signal(signal.SIGTERM)  # a supervisor repeats itself: nothing changes
        with pytest.raises(subprocess.TimeoutExpired):
            leader.wait(0.2)
        leader.send_signal(signal.SIGINT)
        returncode, _, errors = rest_of(leader)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert returncode == -signal.SIGINT


def test_a_repeated_signal_does_not_cut_off_the_release(url: str) -> None:
    """Also where only the end of the block waits for it."""
    code = """
import time
from leaderlock.backends.sqlite.backend import SQLiteBackend
release = SQLiteBackend.release

def slowly(self, attempt):
    say("releasing")
    threading.Event().wait(1)
    release(self, attempt)
    say("released")

SQLiteBackend.release = slowly
with stop_on_signals(elector) as signals:
    elector.start()
    assert elector.wait_elected(20)
    say("leading")
    while signals.received is None:
        threading.Event().wait(0.01)
say("after")
"""
    with program(code, url) as leader:
        leader.send_signal(signal.SIGTERM)
        assert leader.stdout is not None
        while (line := leader.stdout.readline()) != "released\n":
            assert line in ("releasing\n", "stopped\n")
            if line == "releasing\n":
                for _ in range(10):
                    leader.send_signal(signal.SIGTERM)
                    threading.Event().wait(0.02)
        returncode, output, errors = rest_of(leader)
    assert (returncode, output, errors) == (0, ["after"], "")
    began = time.monotonic()
    with LeaderElector(url, "signals").lead(timeout=PATIENCE):
        assert time.monotonic() - began < 10


def test_a_sleep_of_the_user_does_not_keep_the_term(url: str) -> None:
    """The main thread is anywhere: the term is over at once, and handed over."""
    code = """
import threading, time
with stop_on_signals(elector):
    elector.start()
    assert elector.wait_elected(20)
    # From another thread, when this one sleeps: a signal in the instant before is seen at the end.
    threading.Timer(0.5, say, ["leading"]).start()
    time.sleep(60)
"""
    with program(code, url) as leader:
        leader.send_signal(signal.SIGTERM)
        began = time.monotonic()
        with LeaderElector(url, "signals").lead(timeout=PATIENCE):
            assert time.monotonic() - began < 5
        assert leader.poll() is None


def test_a_forked_child_ends_of_a_signal_as_ever(url: str) -> None:
    """multiprocessing ends its workers by SIGTERM; they inherit the handler, but no thread."""
    code = """
import multiprocessing, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)

def work(leadership):
    fork = multiprocessing.get_context("fork")
    running = fork.Event()
    child = fork.Process(target=lambda: (running.set(), time.sleep(60)))
    child.start()
    assert running.wait(20)  # Python forgets what arrives in the instant of the fork
    child.terminate()
    child.join(20)
    assert child.exitcode == -signal.SIGTERM, child.exitcode
    assert elector.is_leader
    say("leading")
    leadership.wait_lost(60)

with stop_on_signals(elector):
    elector.run(work)
"""
    with program(code, url) as leader:
        leader.send_signal(signal.SIGTERM)
        assert rest_of(leader)[0] == 0


def test_while_nothing_contends_a_signal_does_what_it_did_before(url: str) -> None:
    done = python(
        PROGRAM
        + """
with stop_on_signals(elector) as signals:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        say("interrupted")
    assert signals.received is None
    os.kill(os.getpid(), signal.SIGTERM)
print("not reached")
""",
        url,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "interrupted\n", "")


def test_handlers_come_back_and_what_is_ignored_stays_ignored(url: str) -> None:
    done = python(
        PROGRAM
        + """
mine = lambda *_: say("mine")
signal.signal(signal.SIGTERM, mine)
signal.signal(signal.SIGINT, signal.SIG_IGN)
with stop_on_signals(elector) as signals:
    elector.start()
    os.kill(os.getpid(), signal.SIGINT)
    assert elector.wait_elected(20)
    assert signals.received is None
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received is signal.SIGTERM
assert signal.getsignal(signal.SIGTERM) is mine
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
with stop_on_signals(elector):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "what was set within stays"
""",
        url,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


def test_a_storm_of_signals_meets_no_lock_of_anybody() -> None:
    """The handler runs between any two instructions of the main thread."""
    done = python(
        """
import signal, threading, time
from leaderlock import LeaderElector, stop_on_signals
electors = [LeaderElector("memory://", f"e-{n}", ttl=3) for n in range(2)]
rounds, end = 0, time.monotonic() + 3
signal.signal(signal.SIGALRM, lambda *_: None)
while rounds < 20 or time.monotonic() < end:
    with stop_on_signals(*electors, signals=[signal.SIGALRM]) as signals:
        signal.setitimer(signal.ITIMER_REAL, 0.0003 * (rounds % 7 + 1), 0.002)
        for elector in electors:
            elector.start()
        while signals.received is None:
            threading.Event().wait(0.001)
        for elector in electors:  # also one that was started after the signal
            for _ in elector.observe():
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert not any(elector.is_leader for elector in electors)
    rounds += 1
print("ended", flush=True)
""",
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_a_client_is_closed_with_all_its_electors(client: Client) -> None:
    record = Record()
    electors = [client.elector(f"e-{n}", on_lost=record.lost) for n in range(3)]
    with stop_on_signals(client, signals=[signal.SIGUSR1]) as signals:
        for elector in electors:
            elector.start()
            assert elector.wait_elected(PATIENCE)
        os.kill(os.getpid(), signal.SIGUSR1)
        eventually(lambda: signals.received is signal.SIGUSR1)
    assert record.of("lost") == [LossReason.STOPPED] * 3
    assert not any(elector.is_leader for elector in electors)


def test_an_error_of_the_user_leaves_the_block_as_it_is(client: Client) -> None:
    elector = client.elector("e")
    with (
        pytest.raises(ZeroDivisionError),
        stop_on_signals(elector, signals=[signal.SIGUSR1]),
        elector.lead(timeout=PATIENCE),
    ):
        os.kill(os.getpid(), signal.SIGUSR1)
        raise ZeroDivisionError


def test_what_cannot_be_done_is_refused(client: Client) -> None:
    elector = client.elector("e")
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            with stop_on_signals(elector):
                pass
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(errors)
    with pytest.raises(ConfigurationError, match="electors or clients"), stop_on_signals():
        pass
    with (
        pytest.raises(ConfigurationError, match="'sqlite"),
        stop_on_signals("sqlite:///x"),  # type: ignore[arg-type]
    ):
        pass
