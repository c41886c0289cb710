"""A backend by somebody else: installed, found by its scheme, and checked by our suite.

`leaderlock-flock` is a project of its own, the example of docs/writing-a-backend.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import leaderlock
from leaderlock.testing import BackendConformance

PROJECT = Path(__file__).with_name("leaderlock-flock")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-backend.md"

ELECT = """
import sys
from leaderlock import LeaderElector

with LeaderElector(sys.argv[1], "billing").lead(timeout=20) as leadership:
    leadership.check()
    print(leadership.token.value, leadership.token.source.partition(":")[0])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copied, so that nothing of ours lies above it."""
    leave_out = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", "dist")
    return shutil.copytree(PROJECT, tmp_path_factory.mktemp("project") / "flock", ignore=leave_out)


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would install. pip itself would have to download the project's build backend."""
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = shutil.copytree(project / "src", tmp_path_factory.mktemp("environment") / "site")
    info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n",
        encoding="utf-8",
    )
    lines = [
        line
        for group, points in about["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return site


def python(
    *arguments: str, cwd: Path, packages: list[Path], timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """An interpreter that knows, beside its own packages, this leaderlock and `packages`."""
    ours = Path(leaderlock.__file__).parents[1]
    # The options of the pytest around us are not for the one inside.
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=outside | {"PYTHONPATH": os.pathsep.join(map(str, [*packages, ours]))},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_an_installed_backend_is_found_by_its_scheme_alone(site: Path, tmp_path: Path) -> None:
    for term in (1, 2):
        done = python(
            "-W", "error", "-c", ELECT, f"flock://{tmp_path}", cwd=tmp_path, packages=[site]
        )
        assert (done.stdout, done.stderr) == (f"{term} flock\n", "")


def test_without_it_nobody_serves_its_scheme(tmp_path: Path) -> None:
    done = python("-c", ELECT, f"flock://{tmp_path}", cwd=tmp_path, packages=[])
    assert "UnknownBackend: no backend for flock://" in done.stderr


def test_its_own_tests_pass_and_are_the_whole_suite(
    project: Path, site: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.xml"
    done = python(
        "-m", "pytest", "-q", f"--junitxml={report}", cwd=project, packages=[site], timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    # A case that is skipped says so in an element of its own.
    not_passed = Counter(outcome.tag for case in cases for outcome in case)
    assert not not_passed, done.stdout
    run = {
        case.attrib["name"].partition("[")[0]
        for case in cases
        if case.attrib["classname"].endswith(".TestFlock")
    }
    assert run == {name for name in dir(BackendConformance) if name.startswith("test_")}


def excerpts() -> Iterator[tuple[str, str]]:
    """What the page shows of it, by the kind of file."""
    text = PAGE.read_text(encoding="utf-8")
    yield from re.findall(r"^```(py|toml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_documentation_shows_it_as_it_is() -> None:
    """An excerpt may stand further left than in the file, and leaves nothing out."""
    files = [path for path in PROJECT.rglob("*") if path.suffix in (".py", ".toml")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    indents = ("", " " * 4, " " * 8)
    shown = list(excerpts())
    assert {kind for kind, _ in shown} == {"py", "toml"}
    for _, code in shown:
        assert any(
            textwrap.indent(code, indent) in source for indent in indents for source in sources
        ), f"{PAGE.name} shows what is nowhere in {PROJECT.name}:\n{code}"
