"""`make release` in clones that are ready, and in such as are not."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import leaderlock
from tests.packaging.building import copy_checkout

VERSION = leaderlock.__version__


def git(clone: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=clone, check=True, capture_output=True)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert re.search(old, text)
    file.write_text(re.sub(old, new, text, count=1), "utf-8")


def release(clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, clone / "scripts" / "release.py"],
        cwd=clone,
        env={k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"},
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """With notes for the version, as if it were about to be released."""
    clone = copy_checkout(tmp_path / "clone")
    log = (clone / "CHANGELOG.md").read_text("utf-8").partition("\n## ")[0]
    notes = f"## [Unreleased]\n\n## [{VERSION}] - 2026-12-01\n\n### Added\n\n- All.\n"
    (clone / "CHANGELOG.md").write_text(f"{log}\n{notes}", "utf-8")
    git(clone, "init", "--quiet")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Everything")
    return clone


def test_a_version_that_is_ready_is_built_and_its_sums_are_written(clone: Path) -> None:
    done = release(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (clone / "dist" / "SHA256SUMS").read_text("ascii").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums.keys() == {f"leaderlock-{VERSION}-py3-none-any.whl", f"leaderlock-{VERSION}.tar.gz"}
    for name, digest in sums.items():
        assert hashlib.sha256((clone / "dist" / name).read_bytes()).hexdigest() == digest
    assert lines == done.stdout.splitlines()[-2:]


def test_what_is_not_committed_is_not_released(clone: Path) -> None:
    (clone / "leaderlock" / "new.py").touch()
    assert "not committed" in release(clone).stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CHANGELOG.md", r" - 2026-12-01", "", "no notes"),
        ("CHANGELOG.md", r"- All\.", "", "no notes"),
        ("CHANGELOG.md", r"\[Unreleased\]\n", "[Unreleased]\n\n- More.\n", "Unreleased"),
        ("pyproject.toml", r'\nversion = "[^"]+"', '\nversion = "9.9.9"', "another version"),
    ],
)
def test_a_version_that_is_not_ready_is_refused(
    clone: Path, file: str, old: str, new: str, said: str
) -> None:
    edit(clone / file, old, new)
    git(clone, "commit", "--quiet", "--all", "--message", "Not ready")
    done = release(clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert not (clone / "dist").exists()
