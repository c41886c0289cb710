"""The wheel and the sdist: the same bytes wherever they are built, and what is in them."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import leaderlock
from tests.elector.tools import ROOT
from tests.packaging.building import Distributions, build, build_both, copy_checkout

NAME = f"leaderlock-{leaderlock.__version__}"
YEAR = 365 * 24 * 3600


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("here") / "leaderlock")


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return build_both(checkout, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def unpacked(built: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built.sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / NAME


@pytest.fixture(scope="module")
def metadata(built: Distributions) -> Message:
    with zipfile.ZipFile(built.wheel) as archive:
        return email.message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))


def test_another_folder_a_year_later_for_another_user_makes_the_same_bytes(
    built: Distributions, tmp_path: Path
) -> None:
    other = copy_checkout(tmp_path / "somewhere" / "else")
    for path in [other, *other.rglob("*")]:
        os.utime(path, (path.stat().st_mtime + YEAR,) * 2)
        path.chmod(path.stat().st_mode & 0o700)
    again = build_both(other, tmp_path / "built", TZ="Pacific/Auckland", LC_ALL="C")
    assert again.wheel.name == built.wheel.name == f"{NAME}-py3-none-any.whl"
    assert again.sdist.name == built.sdist.name == f"{NAME}.tar.gz"
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()


def test_the_date_in_them_is_the_one_that_is_asked_for(checkout: Path, tmp_path: Path) -> None:
    build(checkout, tmp_path, "wheel", SOURCE_DATE_EPOCH="1700000000")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        assert {info.date_time for info in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}


def test_the_sdist_makes_the_same_wheel(
    built: Distributions, unpacked: Path, tmp_path: Path
) -> None:
    build(unpacked, tmp_path, "wheel")
    assert next(tmp_path.glob("*.whl")).read_bytes() == built.wheel.read_bytes()


def test_the_sdist_is_the_whole_checkout(checkout: Path, unpacked: Path) -> None:
    """So that `make test` runs in it."""
    assert files_below(unpacked) == files_below(checkout) | {"PKG-INFO"}
    for name in files_below(checkout):
        executable = [os.access(folder / name, os.X_OK) for folder in (checkout, unpacked)]
        assert executable in ([True, True], [False, False]), name


def test_the_wheel_is_the_package_and_nothing_else(built: Distributions, checkout: Path) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    about = {f"{NAME}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")}
    about |= {f"{NAME}.dist-info/{name}" for name in ("entry_points.txt", "licenses/LICENSE")}
    package = {f"leaderlock/{name}" for name in files_below(checkout / "leaderlock")}
    assert names == package | about
    assert {"leaderlock/py.typed", "leaderlock/testing/chaos/report.html"} <= names


def test_an_index_takes_them(built: Distributions) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *map(str, built)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr


def test_an_index_shows_no_link_that_leads_nowhere(metadata: Message) -> None:
    readme = metadata.get_payload()
    assert isinstance(readme, str)
    targets = re.findall(r"\]\(([^)]*)\)", readme)
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "![" not in readme
    # It has the rest of the README.
    assert "pip install 'leaderlock[etcd]'" in readme
    headings = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    shown = set(re.findall(r"^## (.*)$", readme, re.MULTILINE))
    assert shown == {*headings, "Install"} - {"Two commands", "Documentation"}


def test_the_metadata_says_which_pythons_there_are_and_how_to_ask_for_extras(
    metadata: Message,
) -> None:
    classifiers = metadata.get_all("Classifier", [])
    pythons = [c.rpartition(" ")[2] for c in classifiers if re.search(r":: 3\.\d+$", c)]
    assert metadata["Requires-Python"] == f">={pythons[0]}"
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert needed == ["tenacity>=8.2"]
    assert {"zookeeper", "etcd", "consul", "redis", "cli"} <= set(
        metadata.get_all("Provides-Extra", [])
    )
