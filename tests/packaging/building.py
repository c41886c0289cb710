"""Builds what would be released, from copies of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.elector.tools import ROOT

# What no clean clone has.
_NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv", "site", "dist", "__pycache__", ".hypothesis", ".*_cache", "*.egg-info"
)


class Distributions(NamedTuple):
    wheel: Path
    sdist: Path


def copy_checkout(to: Path) -> Path:
    return shutil.copytree(ROOT, to, ignore=_NOT_OURS)


def build(source: Path, to: Path, *targets: str, **environment: str) -> None:
    """Like `python -m build --no-isolation`, without its copies of pip's messages."""
    options = [option for target in targets for option in ("--target", target)]
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(to), *options],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build_both(source: Path, to: Path, **environment: str) -> Distributions:
    build(source, to, **environment)
    return find(to)


def find(folder: Path) -> Distributions:
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distributions(wheel, sdist)
