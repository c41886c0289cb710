"""The end of a process: it hands over, it does not hang; signals stop it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from leaderlock import LeaderElector
from tests.elector.tools import PATIENCE, ROOT, python

LEADS = """
import sys, threading
from leaderlock import LeaderElector
elector = LeaderElector(sys.argv[1], "e", candidate_id="child")
elector.start()
assert elector.wait_elected(20)
"""


@pytest.fixture
def url(tmp_path: object) -> str:
    return f"sqlite://{tmp_path}/election.db?ttl=60"


def leads_at_once(url: str) -> None:
    """Within less time than a ttl of a minute: somebody has handed over."""
    began = time.monotonic()
    with LeaderElector(url, "e").lead(timeout=PATIENCE):
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="the last line"),
        pytest.param("sys.exit(3)", id="sys.exit"),
        pytest.param("raise ValueError('mine')", id="an exception"),
    ],
)
def test_a_process_that_ends_hands_over(url: str, end: str) -> None:
    done = python(LEADS + end, url)
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(end, 1), done.stderr
    assert "leaderlock" not in done.stderr
    leads_at_once(url)


def test_on_lost_is_told_at_the_end_of_the_process() -> None:
    done = python(
        LEADS + "elector.on_lost(lambda leadership, reason: print(reason.value, flush=True))",
        "memory://",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


def test_an_elector_that_nobody_holds_is_handed_over_too(url: str) -> None:
    done = python(LEADS + "del elector\nimport gc\ngc.collect()", url)
    assert (done.returncode, done.stderr) == (0, "")
    leads_at_once(url)


def test_a_dead_store_and_hanging_callbacks_do_not_hold_up_the_end() -> None:
    began = time.monotonic()
    done = python(
        """
import threading
from leaderlock import connect
from tests.elector.tools import ALL, Store

def hang(*_):
    threading.Event().wait()

clients = []
for number in range(10):
    store = Store(ttl=30)
    client = connect(store)
    elector = client.elector("e", on_lost=hang if number % 2 else None)
    elector.start()
    assert elector.wait_elected(20)
    store.hang(*ALL)
    clients.append(client)
print("leading", flush=True)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "leading\n", "")
    assert time.monotonic() - began < 10, "ten clients share one grace"


def test_one_dead_store_does_not_keep_the_others_from_handing_over(url: str) -> None:
    done = python(
        LEADS
        + """
from leaderlock import connect
from tests.elector.tools import ALL, Store
for number in range(5):
    store = Store(ttl=30)
    dead = connect(store).elector("e")
    dead.start()
    assert dead.wait_elected(20)
    store.hang(*ALL)
""",
        url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    leads_at_once(url)


def test_a_child_that_exits_does_not_resign_for_its_parent(url: str) -> None:
    done = python(
        LEADS
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
if os.fork() == 0:
    sys.exit(0)  # runs the exit handlers
os.wait()
assert elector.is_leader
assert elector.leader().candidate_id == "child"
assert LeaderElector(sys.argv[1], "e").lead(timeout=0.2)
print("still leading")
""",
        url,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "still leading\n", "")


@pytest.mark.parametrize("while_it", ["works", "waits"])
def test_stop_in_a_signal_handler_ends_run(url: str, while_it: str) -> None:
    done = python(
        """
import os, signal, sys, threading
from leaderlock import LeaderElector
elector = LeaderElector(sys.argv[1], "e")
signal.signal(signal.SIGTERM, lambda *_: elector.stop())
kill = lambda: os.kill(os.getpid(), signal.SIGTERM)

def work(leadership):
    threading.Timer(0.1, kill).start()
    assert leadership.wait_lost(20)

if sys.argv[2] == "waits":
    other = LeaderElector(sys.argv[1], "e")
    other.start()
    assert other.wait_elected(20)
    threading.Timer(0.3, kill).start()
elector.run(work)
print("ended", flush=True)
""",
        url,
        while_it,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_a_signal_handler_that_stops_meets_no_lock_of_ours() -> None:
    """The handler runs between any two instructions of the main thread, our own included."""
    done = python(
        """
import signal, sys, time
from leaderlock import LeaderElector
elector = LeaderElector("memory://", "e", ttl=3)
stopped = 0

def stop(*_):
    global stopped
    elector.stop(timeout=1)
    stopped += 1

signal.signal(signal.SIGALRM, stop)

@elector.leader_only
def job():
    pass

end = time.monotonic() + 4
while time.monotonic() < end:
    elector.start()
    before = stopped
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    while stopped == before:
        job()
print("ended", stopped > 0, elector.stop(), flush=True)
""",
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended True True\n", "")


@pytest.mark.parametrize(
    "wait",
    [
        "with elector.lead() as leadership: leadership.wait_lost()",
        "elector.run(lambda leadership: leadership.wait_lost())",
        "rival.start(); assert rival.wait_elected(20); elector.run(lambda leadership: None)",
        "rival.start(); assert rival.wait_elected(20); elector.start(); elector.wait_elected()",
        "elector.wait_elected()",
        "for _ in elector.observe(): pass",
    ],
)
def test_a_signal_that_wakes_nobody_is_handled_all_the_same(wait: str) -> None:
    """As one does that arrives just before the main thread begins to wait."""
    done = python(
        f"""
import _thread, threading
from leaderlock import LeaderElector
elector, rival = (LeaderElector("memory://", "e", ttl=3) for _ in range(2))
threading.Timer(0.3, _thread.interrupt_main).start()
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted")
""",
        timeout=15,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


CTRL_C = """
import sys
from leaderlock import LeaderElector
with LeaderElector(sys.argv[1], "e").lead() as leadership:
    print("leading", flush=True)
    leadership.wait_lost()
"""


def test_ctrl_c_in_lead_hands_over(url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CTRL_C, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "leading\n"
        process.send_signal(signal.SIGINT)
        killer = threading.Timer(PATIENCE, process.kill)
        killer.start()
        _, errors = process.communicate()
        killer.cancel()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    leads_at_once(url)
