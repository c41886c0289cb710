"""The commands of docs/cli.md and of the README work as they stand there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderElector
from tests.cli.tools import LEADERLOCK, environment
from tests.docs.test_snippets import Snippet, find_snippets

COMMANDS = [s for s in find_snippets("sh") if "leaderlock " in s.code]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What a reader has: the command, two scripts, a configuration, and a leader."""
    for name, script in (
        ("leaderlock", f'exec {" ".join(LEADERLOCK)} "$@"'),
        ("charge.sh", "echo charged under $LEADERLOCK_TOKEN"),
        ("nightly.sh", "echo done"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "app").mkdir()
    url = f"sqlite://{tmp_path}/election.db"
    (tmp_path / "leaderlock.toml").write_text(
        f'[leaderlock]\nurl = "sqlite://{tmp_path}/cron.db"\nelection = "cron"\n'
    )
    with LeaderElector(url, "billing", candidate_id="web-1") as elector:
        assert elector.wait_elected(timeout=20)
        yield tmp_path


@pytest.mark.parametrize("snippet", COMMANDS, ids=str)
def test_the_commands_run(snippet: Snippet, folder: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-e", "-c", snippet.code.replace("/var/lib/app", f"{folder}/app")],
        cwd=folder,
        env=environment(
            LEADERLOCK_URL=f"sqlite://{folder}/election.db", PATH=f"{folder}:/usr/bin:/bin"
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout


def test_there_are_commands_to_run() -> None:
    assert len(COMMANDS) >= 7
