"""`make bench` on a real Redis, quick: the table, the JSON file and its keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from benchmarks.field import FIELDS, FLOOR, OURS
from benchmarks.workers import Failed, Worker
from leaderlock.testing.servers.redis import RedisServer

ROOT = Path(__file__).resolve().parents[2]
NAMES = {entry.name for field in FIELDS if field.store == "redis" for entry in field.entries}


@pytest.mark.timeout(180)
def test_a_quick_run_measures_everybody_on_redis(tmp_path: Path) -> None:
    file, page = tmp_path / "bench.json", tmp_path / "bench.md"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--stores", "redis"]
    run = subprocess.run(
        [*command, "--json", str(file), "--markdown", str(page)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\x1b" not in run.stdout, "plain text in a pipe"
    results = json.loads(file.read_text("utf-8"))
    assert results["about"]["ttl"] == 3
    on = results["stores"]["redis"]
    assert on["contestants"].keys() | on["missing"].keys() == NAMES
    for name, figures in on["contestants"].items():
        assert not figures["errors"], name
        assert figures["elect_resign"]["p50"] > 0
        assert figures["hand_over"]["p99"] >= figures["hand_over"]["p50"] > 0
        assert figures["ratios"]["elect_resign_to_floor"] > 0
        assert f"\n{name}" in run.stdout
        assert f"| {name} |" in page.read_text("utf-8")
    floor, ours = on["contestants"][FLOOR], on["contestants"][OURS]
    assert floor["requests"]["elect_resign"] == 2, "what is documented of it"
    assert ours["requests"]["elect_resign"] >= 2
    assert ours["requests"].keys() == {"elect_resign", "hand_over", "leader", "follower"}
    assert ours["cpu"].keys() == {"leader", "follower"}
    assert ours["asks"].keys() == {"is_leader", "check()"}
    assert ours["threads"] > 1
    assert ours["threads_more"] == 0
    assert ours["memory"] is not None
    assert results["imports"]["from leaderlock import LeaderElector"] > 0


def test_a_store_that_is_not_known_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "--stores", "paper"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "the stores are redis, etcd, zookeeper, consul" in run.stderr


def test_a_worker_passes_on_what_a_library_raises(redis: RedisServer) -> None:
    worker = Worker(sys.executable, "redis_locks:make_redis_py", redis.url, 3)
    name = f"worker-{uuid.uuid4()}"  # the server is everybody's
    try:
        worker.wait()
        worker.do("acquire", name=name)
        worker.do("release")
        with pytest.raises(Failed, match="IndexError"):
            worker.do("release")
        assert worker.do("cycles", name=name, many=1)["seconds"], "it goes on"
        worker.kill()
        with pytest.raises(Failed, match="ended"):
            worker.do("release")
    finally:
        worker.end()


def test_a_contestant_that_cannot_start_says_why() -> None:
    worker = Worker(sys.executable, "redis_locks:no_such_lock", "redis://127.0.0.1:1", 3)
    try:
        with pytest.raises(Failed, match="no_such_lock"):
            worker.wait()
    finally:
        worker.end()
