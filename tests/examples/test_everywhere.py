"""The billing demo on every store, as `make demo-all` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.billing.everywhere import STORES
from leaderlock.testing.servers.redis import RedisServer
from tests.examples.test_billing import ROOT, SMALL, run_demo


def run_everywhere(*options: str, scratch: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(scratch), "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "examples.billing.everywhere", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize("store", STORES)
def test_on_every_store_everybody_is_charged_exactly_once(store: str, tmp_path: Path) -> None:
    demo = run_everywhere("--store", store, *SMALL, "--json", scratch=tmp_path)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    (row,) = json.loads(demo.stdout)
    assert row["store"] == store
    assert row["exactly_once"] is True
    assert row["refused"] > 0  # what the paused leader tried when it woke up
    assert all(row[fault] is not None for fault in ("killed", "paused", "resigned"))
    assert list(tmp_path.iterdir()) == []


def test_it_ends_in_a_table(tmp_path: Path) -> None:
    demo = run_everywhere("--store", "redis", "--store", "sqlite", *SMALL, scratch=tmp_path)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "\x1b" not in demo.stdout
    for expected in ("after SIGKILL", "after SIGSTOP", "after resign", "refused", "exactly once"):
        assert expected in demo.stdout
    rows = [row for line in demo.stdout.splitlines() if (row := line.split())[-1:] == ["yes"]]
    assert [row[0] for row in rows] == ["redis", "sqlite"], demo.stdout


def test_an_unknown_store_is_refused(tmp_path: Path) -> None:
    demo = run_everywhere("--store", "carrier-pigeon", scratch=tmp_path)

    assert demo.returncode == 2
    assert "carrier-pigeon" in demo.stderr


def test_a_store_that_is_not_there_is_named_before_anything_is_started(tmp_path: Path) -> None:
    demo = run_demo("--url", "redis://:secret@127.0.0.1:1", scratch=tmp_path)

    assert demo.returncode == 2
    assert "Traceback" not in demo.stderr
    assert "cannot be used" in demo.stderr
    assert "secret" not in demo.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_the_url_of_the_store_is_not_shown(tmp_path: Path) -> None:
    with RedisServer(password="s3cret") as server:
        demo = run_demo(*SMALL, "--no-election", "--url", server.url, scratch=tmp_path)

    assert "s3cret" not in demo.stdout + demo.stderr
    assert "redis://:***@" in demo.stdout
