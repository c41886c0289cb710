"""A service under load moves from Redis to etcd, both real, with nothing but its configuration."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from examples.swapping import ledger
from examples.swapping.move import move, running, wait_for
from leaderlock import FencingToken, StaleToken
from leaderlock.fencing import SQLFence
from leaderlock.testing.servers.etcd import EtcdServer
from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import ROOT


def test_no_stale_write_is_accepted_and_the_lower_epoch_is_fenced_out(
    own_redis: RedisServer, own_etcd: EtcdServer, tmp_path: Path
) -> None:
    report = move(own_redis.url, own_etcd.url, tmp_path / "ledger.db")
    assert report.old >= 200 and report.new >= 200
    assert report.stale == 0
    assert [fenced["presented"][:10] for fenced in report.fenced] == ["0000000001"] * 2
    assert [fenced["highest"][:10] for fenced in report.fenced] == ["0000000002"] * 2
    assert "'etcd:" in report.refusal and "'redis:" in report.refusal
    assert "epoch 2" in report.refusal and "Raise 'epoch'" in report.refusal


def test_a_move_without_a_new_epoch_is_refused_by_name_while_the_old_leader_goes_on(
    own_redis: RedisServer, own_etcd: EtcdServer, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    ledger.create(path)
    with running("old", own_redis.url, 1, path) as old, contextlib.ExitStack() as stack:
        wait_for(lambda: ledger.count(path, 1), "entries", [old])
        new = stack.enter_context(running("new", own_etcd.url, 1, path))
        wait_for(lambda: not new.runs, "the end of the new node")
        before = ledger.count(path, 1)
        wait_for(lambda: ledger.count(path, 1) > before, "more of the old leader", [old])
        assert old.find("fenced") is None
    refusal = new.find("refused")
    assert refusal is not None
    assert "'redis:" in refusal["why"] and "'etcd:" in refusal["why"]
    # Redis counts in microseconds, and this etcd has just begun to.
    assert min(token.value for token in ledger.accepted(path)) > 10**12


def test_the_way_back_needs_a_higher_epoch_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger.create(path)
    with ledger.open_ledger(path) as connection:
        fence = SQLFence(connection, ledger.RESOURCE)
        fence.advance(FencingToken(1, 100, "redis:a"))
        fence.advance(FencingToken(2, 7, "etcd:b"))
        with contextlib.suppress(StaleToken):
            ledger.append(connection, fence, FencingToken(1, 101, "redis:a"))
        ledger.append(connection, fence, FencingToken(3, 102, "redis:a"))
    assert [str(token)[:10] for token in ledger.accepted(path)] == ["0000000003"]


def test_a_store_that_is_not_there_is_told_in_a_sentence_before_anything_is_started() -> None:
    stores = ["memory://", "redis://127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-m", "examples.swapping", *stores],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    told = done.stderr.splitlines()[-1]
    assert told.startswith("a store cannot be used: no answer from Redis at 127.0.0.1:1")
    assert "Traceback" not in done.stderr
