"""The wheel with each extra alone, on every Python of this machine, with old and new versions."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.building import build
from tests.packaging.environments import EXTRAS, make, packages, pythons
from tests.packaging.jobs import JOBS

# For those who work on leaderlock, and with files that are in no wheel.
OF_THE_CHECKOUT = {"demo", "stores", "peers", "recipes", "dev"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build(Path(__file__).parents[2], folder, "wheel")
    return next(folder.glob("*.whl"))


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts what an extra is for."""

    def start(interpreter: Path, job: str) -> subprocess.Popen[str]:
        folder = tmp_path / job
        folder.mkdir()
        store = JOBS[job].store
        url = request.getfixturevalue(store).url if store else f"sqlite://{folder}/election.db"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LEADERLOCK_", "PYTHON"))}
        programs = f"{interpreter.parent}{os.pathsep}{kept['PATH']}"
        return subprocess.Popen(
            [interpreter, "-W", "error", "-c", JOBS[job].code],
            cwd=folder,
            env={
                **kept,
                "PATH": programs,
                "LEADERLOCK_URL": url,
                "LEADERLOCK_ELECTION": f"extras-{uuid.uuid4().hex}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def see_done(job: subprocess.Popen[str]) -> None:
    said, _ = job.communicate(timeout=100)
    # A busy machine may have it say before that a request was late.
    assert job.returncode == 0 and said.endswith("done\n"), said


def names(extra: str) -> set[str]:
    """The packages that an extra names, itself or by the extras in it."""
    found: set[str] = set()
    for requirement in EXTRAS[extra]:
        name, inner = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", requirement).groups()  # type: ignore[union-attr]
        found |= set().union(*map(names, inner.split(","))) if inner else {name}
    return found


def test_every_extra_has_a_job() -> None:
    assert JOBS.keys() - {"none"} == EXTRAS.keys() - OF_THE_CHECKOUT - {"metrics", "all"}


@pytest.mark.parametrize("extra", JOBS)
def test_an_extra_alone_does_its_job_and_brings_what_it_names(
    extra: str, wheel: Path, start: Start, tmp_path: Path
) -> None:
    interpreter = make(tmp_path / "venv", wheel, "" if extra == "none" else extra)
    see_done(start(interpreter, extra))
    own = {"leaderlock", "tenacity"} | (names(extra) if extra != "none" else set())
    there = packages(interpreter).keys()
    assert own <= there
    if extra in ("none", "redis", "zookeeper", "prometheus"):  # whose packages need no others
        assert there == own
    of_others = set().union(*map(names, EXTRAS.keys() - OF_THE_CHECKOUT)) - own
    assert not of_others & there


@pytest.mark.parametrize("version", pythons())
@pytest.mark.parametrize("old", [False, True], ids=["newest", "oldest"])
def test_all_of_them_work_on_every_python_with_old_and_new_versions(
    version: str, old: bool, wheel: Path, start: Start, tmp_path: Path
) -> None:
    interpreter = make(tmp_path / "venv", wheel, "all,chaos", version, old)
    started = [start(interpreter, job) for job in JOBS if job != "none"]
    for job in started:
        see_done(job)
