"""mypy and pyright see the public API as it is meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.elector.tools import ROOT

API = Path(__file__).with_name("api.py")
CHECKERS = {
    "mypy": ["mypy", "--strict", "--warn-unused-ignores", str(API)],
    "pyright": ["basedpyright", "--project", str(API.parent)],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_see_what_is_wrapped(checker: str, tmp_path: Path) -> None:
    program, *arguments = CHECKERS[checker]
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=ROOT,
        env={**os.environ, "MYPY_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
