"""os.fork while leading, on every store, and the start methods of multiprocessing."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import LeaderElector, aio, connect
from tests.elector.tools import python

FORK = """
import os, signal, sys, threading, traceback, warnings
from leaderlock import LeaderElector
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
signal.alarm(60)
elector = LeaderElector(sys.argv[1], "fork")
elector.start()
assert elector.wait_elected(20)
leadership = elector.leadership
token = leadership.token
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    try:
        signal.alarm(60)
        assert not elector.is_leader
        elector.start()  # a candidate of its own, over a session of its own
        assert not elector.wait_elected(0.5)
        for _ in range(20):
            assert elector.leader().token == token
        os.write(writer, b"contends\\n")
        assert elector.wait_elected(30), "the parent has resigned"
        assert elector.leadership.token > token
        os.write(writer, b"leads\\n")
        assert elector.stop()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
os.close(writer)
told = open(reader)

for _ in range(20):  # while the child talks to the store, too
    assert elector.leader().token == token
assert told.readline() == "contends\\n"
believed = leadership._valid_until
for _ in range(1000):  # renewed after the fork
    if leadership._valid_until > believed:
        break
    threading.Event().wait(0.01)
assert leadership._valid_until > believed
leadership.check()
assert elector.leadership is leadership
assert elector.stop()
assert told.readline() == "leads\\n"
assert os.waitpid(child, 0)[1] == 0
told.close()
print("well")
"""


@pytest.mark.parametrize("store", ["sqlite", "redis", "etcd", "zookeeper", "consul"])
def test_the_parent_leads_on_and_the_child_contends_for_itself(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if store == "sqlite":
        url = f"sqlite://{tmp_path}/election.db"
    else:
        url = request.getfixturevalue(store).url
    url += f"{'&' if '?' in url else '?'}ttl={10 if store == 'consul' else 3}"
    url += "&quarantine=false" if store == "redis" else ""
    done = python(FORK, url)
    assert (done.stdout, done.stderr, done.returncode) == ("well\n", "", 0)


MULTIPROCESSING = """
import multiprocessing, os, sys, warnings
from leaderlock import LeaderElector

elector = LeaderElector(os.environ["STORE"], "e")  # of the module: made anew where it is imported

def child(answers):
    leads_at_first = elector.is_leader
    elector.start()
    answers.put((leads_at_first, elector.wait_elected(0.3), elector.leader() is not None))
    elector.stop()

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
    context = multiprocessing.get_context(sys.argv[1])
    with elector:
        assert elector.wait_elected(20)
        token = elector.leadership.token
        answers = context.Queue()
        children = [context.Process(target=child, args=(answers,)) for _ in range(2)]
        for each in children:
            each.start()
        for each in children:
            assert answers.get(timeout=30) == (False, False, True)
        for each in children:
            each.join(30)
            assert each.exitcode == 0
        assert elector.leadership.token == token
    print("well")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_do_not_lead_for_their_parent(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program.py"
    program.write_text(MULTIPROCESSING)
    monkeypatch.setenv("STORE", f"sqlite://{tmp_path}/election.db?ttl=60")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), method],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("well\n", "", 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LeaderElector("memory://pickled", "e"),
        lambda: connect("memory://pickled"),
        lambda: aio.LeaderElector("memory://pickled", "e"),
    ],
    ids=["elector", "client", "aio"],
)
@pytest.mark.parametrize("handed_on", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_is_of_one_process_is_not_handed_to_another(
    make: Callable[[], object], handed_on: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="hand on the URL"):
        handed_on(make())


def test_an_elector_as_an_argument_of_a_spawned_process_is_refused_at_once() -> None:
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=print, args=(LeaderElector("memory://pickled", "e"),))
    with pytest.raises(TypeError, match="hand on the URL"):
        process.start()
