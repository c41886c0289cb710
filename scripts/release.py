"""Builds what is published of a version, after checking that it is one: `make release`.

Twice, in folders of its own, from the commit that is checked out: the two must be the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path.cwd()


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], check=True, capture_output=True).stdout


def check_version() -> str:
    """The version; ends the program where the clone does not have one that is ready."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if git("status", "--porcelain"):
        sys.exit("release: the clone has changes that are not committed: see git status.")
    package = (ROOT / "leaderlock" / "__init__.py").read_text("utf-8")
    if f'__version__ = "{version}"' not in package:
        sys.exit(f"release: leaderlock/__init__.py has another version than pyproject: {version}.")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = re.findall(r"^## \[([^]]+)\](.*)\n([\s\S]*?)(?=^## |\Z)", changes, re.MULTILINE)
    notes = {name: (date, text.strip()) for name, date, text in sections}
    if notes.get("Unreleased", ("", ""))[1]:
        sys.exit(f"release: CHANGELOG.md has changes under Unreleased: give them to {version}.")
    date, text = notes.get(version, ("", ""))
    if not re.search(r"^- ", text, re.MULTILINE) or not re.fullmatch(r" - \d{4}-\d\d-\d\d", date):
        sys.exit(f"release: CHANGELOG.md has no notes under '## [{version}] - YYYY-MM-DD'.")
    return version


def build(folder: Path) -> dict[str, bytes]:
    """What the commit makes, by file name."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
        archive.extractall(folder / "source", filter="data")
    epoch = git("show", "--no-patch", "--format=%ct", "HEAD").decode().strip()
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder / "dist")]
    done = subprocess.run(
        command,
        cwd=folder / "source",
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"release: the build failed:\n{done.stdout}{done.stderr}")
    return {path.name: path.read_bytes() for path in sorted((folder / "dist").iterdir())}


def main() -> None:
    version = check_version()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as another:
        built = build(Path(one))
        if build(Path(another)) != built:
            sys.exit("release: two builds differ: something depends on the folder or the time.")
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    for stale in dist.iterdir():
        stale.unlink()
    for name, content in built.items():
        (dist / name).write_bytes(content)
    check = [sys.executable, "-m", "twine", "--no-color", "check", "--strict"]
    if subprocess.run([*check, *(str(dist / name) for name in built)]).returncode:
        sys.exit("release: an index would not take them, for the reason above.")
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in built.items()]
    (dist / "SHA256SUMS").write_text("\n".join(sums) + "\n", "ascii")
    print(f"release: {version} is in dist/, built twice with the same bytes:", *sums, sep="\n")


if __name__ == "__main__":
    main()
