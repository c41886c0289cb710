"""CI tests the wheel; everywhere else the tests see the checkout as it is being worked on."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import leaderlock
from tests.elector.tools import ROOT

IN_CI = os.environ.get("CI") == "true"
TESTED = Path(sysconfig.get_path("purelib")) if IN_CI else ROOT


def test_the_package_under_test_is_the_wheel_in_ci_and_the_checkout_elsewhere() -> None:
    assert Path(leaderlock.__file__).parents[1] == TESTED


def test_and_so_it_is_for_the_programs_that_the_tests_start(tmp_path: Path) -> None:
    where = [sys.executable, "-c", "import leaderlock, tests; print(leaderlock.__file__)"]
    for folder in ROOT, tmp_path:
        done = subprocess.run(where, cwd=folder, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == (f"{TESTED}/leaderlock/__init__.py\n", "")


def test_it_has_what_the_checkout_has() -> None:
    """In CI: nothing is missing in the wheel, and it was not built before the last change."""
    ours = [path for path in (ROOT / "leaderlock").rglob("*") if "__pycache__" not in path.parts]
    names = [str(path.relative_to(ROOT)) for path in ours if path.is_file()]
    equal, *others = filecmp.cmpfiles(ROOT, TESTED, names, shallow=False)
    assert (others, len(equal)) == ([[], []], len(names))
