"""What each extra is for, in a few lines: programs for environments that have nothing else.

LEADERLOCK_URL and LEADERLOCK_ELECTION say where. One that is done says "done".
"""

from __future__ import annotations

from typing import NamedTuple


class Job(NamedTuple):
    """A program, and the server that it needs, if any."""

    code: str
    store: str = ""


_ELECT = """
from leaderlock import LeaderElector
with LeaderElector.from_env().lead(timeout=60) as leadership:
    leadership.check()
print("done")
"""

_NOTHING_ELSE = """
import subprocess
from leaderlock import MissingDependency, connect
for store in "zookeeper", "etcd", "consul", "redis":
    try:
        connect(f"{store}://127.0.0.1")
    except MissingDependency as error:
        assert f"leaderlock[{store}]" in str(error), error
    else:
        raise AssertionError(store)
for name in "prometheus", "opentelemetry":
    try:
        __import__(f"leaderlock.telemetry.{name}")
    except MissingDependency as error:
        assert f"leaderlock[{name}]" in str(error), error
    else:
        raise AssertionError(name)
done = subprocess.run(["leaderlock", "who"], capture_output=True, text=True)
assert done.returncode == 2 and "leaderlock[cli]" in done.stderr, done
"""

_CLI = """
import subprocess
program = 'test -n "$LEADERLOCK_TOKEN" && leaderlock who --json | grep -q "$LEADERLOCK_TOKEN"'
words = ["leaderlock", "run", "--quiet", "--", "sh", "-c", program]
subprocess.run(words, check=True, timeout=90)
print("done")
"""

_PROMETHEUS = """
import prometheus_client
from leaderlock import LeaderElector
from leaderlock.telemetry import prometheus
elector = LeaderElector.from_env()
prometheus.instrument(elector)
with elector.lead(timeout=60):
    text = prometheus_client.generate_latest().decode()
    (line,) = [line for line in text.splitlines() if line.startswith("leaderlock_is_leader{")]
    assert line.endswith(" 1.0"), line
print("done")
"""

_OPENTELEMETRY = """
from leaderlock import LeaderElector
from leaderlock.telemetry import opentelemetry
elector = LeaderElector.from_env()
opentelemetry.instrument(elector)
with elector.lead(timeout=60):
    pass
print("done")
"""

_MONITOR = """
import json, subprocess, urllib.request
words = ["leaderlock", "monitor", "--listen", "127.0.0.1:0", "--json"]
with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as monitor:
    try:
        url = json.loads(monitor.stdout.readline())["url"]
        for path, text in (
            ("", "static/monitor.js"), ("static/monitor.js", "EventSource"),
            ("metrics", "leaderlock_monitor_store_up"), ("api/state", '"namespace":"leaderlock"'),
        ):
            with urllib.request.urlopen(url + path, timeout=60) as reply:
                assert text in reply.read().decode(), path
        with urllib.request.urlopen(url + "api/events", timeout=60) as reply:
            assert reply.readline().startswith(b"retry"), reply
            monitor.terminate()
            assert monitor.wait(30) == 143, monitor.returncode
    finally:
        monitor.terminate()
print("done")
"""

_CHAOS = """
import subprocess, sys
words = [sys.executable, "-m", "leaderlock.testing.chaos", "--help"]
done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=90)
assert "--backend" in done.stdout, done
print("done")
"""

JOBS = {
    "none": Job(_NOTHING_ELSE + _ELECT),
    "zookeeper": Job(_ELECT, "zookeeper"),
    "etcd": Job(_ELECT, "etcd"),
    "consul": Job(_ELECT, "consul"),
    "redis": Job(_ELECT, "redis"),
    "cli": Job(_CLI),
    "prometheus": Job(_PROMETHEUS),
    "opentelemetry": Job(_OPENTELEMETRY),
    "monitor": Job(_MONITOR),
    "chaos": Job(_CHAOS),
}
