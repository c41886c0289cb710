"""The command: its exit status, its files, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock.testing.chaos.events import read
from leaderlock.testing.servers.process import wait_until

_COMMAND = [sys.executable, "-m", "leaderlock.testing.chaos"]
_SHORT = [
    "--backend",
    "redis",
    "--candidates",
    "2",
    "--ttl",
    "1",
    "--seed",
    "5",
    "--faults",
    "pause",
]


def chaos(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--backend", "mongodb"], "etcd, zookeeper, consul, redis"),
        (["--faults", "earthquake"], "kill, pause"),
        (["--backend", "etcd", "--nodes", "1", "--faults", "wipe"], "wipe"),
        (["--backend", "redis", "--nodes", "3"], "--nodes 1"),
        (["--backend", "etcd", "--ttl", "1"], "ttl=1"),
        (["--keep-logs", str(Path(__file__).parent)], "not empty"),
    ],
)
def test_wrong_use_is_explained_with_status_2(
    arguments: list[str], hint: str, tmp_path: Path
) -> None:
    done = chaos(*arguments, TMPDIR=str(tmp_path))
    assert done.returncode == 2
    assert hint in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_violations_ends_with_status_0(tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "run.json"), "--keep-logs", str(tmp_path / "logs")]
    done = chaos(*_SHORT, "--faults", "pause", "--seconds", "3", *files)
    assert done.returncode == 0, done.stderr
    assert "seed 5" in done.stdout
    facts = json.loads((tmp_path / "run.json").read_text())
    assert len(facts["verdicts"]) == 10
    events = read((tmp_path / "logs").glob("*.jsonl"))
    assert facts["events"] == len(events)
    assert facts["counts"]["accepted"] == sum(event.what == "accepted" for event in events) > 0


def test_a_violation_ends_with_status_1_and_the_events_that_show_it() -> None:
    kind = ["--candidate", "tests.chaos.controls.naive:RemembersLeading"]
    done = chaos(*_SHORT, "--faults", "fork", "--seconds", "3", *kind)
    assert done.returncode == 1, done.stderr
    assert "I4: " in done.stdout
    assert ".fork1" in done.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_no_folder(
    how: signal.Signals, tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*_COMMAND, *_SHORT, "--seconds", "60"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        process_group=0,
    ) as process:
        started = wait_until(
            lambda: len(own := list(_using(tmp_path))) >= 4 and own, 30.0, lambda: "no candidates"
        )
        assert started
        process.send_signal(how)
        assert process.wait(30) != 0
    wait_until(lambda: not list(_using(tmp_path)), 10.0, lambda: "processes are left")
    assert list(tmp_path.iterdir()) == []


def _using(folder: Path) -> Iterator[int]:
    """The processes that were started with this folder for temporary files."""
    mark = f"TMPDIR={folder}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if mark in environment.split(b"\0"):
                yield int(entry.name)


def test_a_table_is_made_of_many_runs(tmp_path: Path) -> None:
    def file(store: str, seed: int, **statuses: str) -> str:
        statuses = {f"I{number}": "held" for number in range(1, 11)} | statuses
        facts = {
            "store": store,
            "nodes": 5,
            "seconds": 90.0,
            "seed": seed,
            "counts": {"faults": 7, "terms": 5, "accepted": 400, "refused": 2},
            "verdicts": [{"invariant": name, "status": s} for name, s in statuses.items()],
        }
        path = tmp_path / f"{store}-{seed}.json"
        path.write_text(json.dumps(facts))
        return str(path)

    def summary(*files: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "leaderlock.testing.chaos.summary", *files]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    good = [file("etcd", 2), file("etcd", 1, I4="reported"), file("consul", 1)]
    done = summary(*good)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        "| consul, 5 servers | 1, seeds 1 | 1.5 | 7 | 5 | 400 | 2 | all held |",
        "| etcd, 5 servers | 2, seeds 1, 2 | 3 | 14 | 10 | 800 | 4 | reported: I4 in 1 |",
    ]
    done = summary(*good, file("redis", 1, I4="violated", I9="not applicable"))
    assert done.returncode == 1
    assert "violated: I4 in 1; not applicable: I9 in 1" in done.stdout
