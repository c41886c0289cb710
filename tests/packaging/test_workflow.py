""".github/workflows/ci.yml runs what CI runs here, and nothing that it need not be trusted with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.elector.tools import ROOT
from tests.packaging.environments import SUPPORTED

FILE = ROOT / ".github" / "workflows" / "ci.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return content


@pytest.mark.parametrize(
    "words",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["zizmor", "--offline", "--no-progress", "--quiet"],
    ],
    ids=lambda words: words[0],
)
def test_the_linters_find_nothing_in_it(words: list[str]) -> None:
    program = str(Path(sys.executable).with_name(words[0]))
    done = subprocess.run(
        [program, *words[1:], str(FILE)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_calls_the_script_of_ci_on_every_supported_python(workflow: dict[Any, Any]) -> None:
    job = workflow["jobs"]["ci"]
    assert job["strategy"]["matrix"] == {"python": SUPPORTED}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_it_may_only_read_and_its_actions_are_pinned(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in workflow["jobs"]["ci"]["steps"] if "uses" in step]
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
