"""Virtual environments with the wheel in them, made by uv: of any Python, with old or new versions.

Where packages come from is for uv's own settings to say; pip's are not its.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.elector.tools import ROOT

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = _PROJECT["optional-dependencies"]
SUPPORTED = [
    line.rpartition(" ")[2]
    for line in _PROJECT["classifiers"]
    if re.search(r"Python :: 3\.\d+$", line)
]
"""The Pythons that leaderlock says it works with: "3.11", ..."""

_UV = Path(sys.executable).with_name("uv")


@functools.cache
def pythons() -> dict[str, Path]:
    """The interpreters of this machine by version, of those that are supported."""
    found = {}
    for version in SUPPORTED:
        for path in _candidates(version):
            if _runs(path, version):
                found[version] = path
                break
    return found


def _candidates(version: str) -> Iterator[Path]:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield Path(sys.executable)
    name = f"python{version}"
    if on_path := shutil.which(name):
        yield Path(on_path)
    # pyenv has a program on the PATH for each version, which works for the chosen one only.
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from sorted(versions.glob(f"{version}.*/bin/{name}"), reverse=True)


def _runs(path: Path, version: str) -> bool:
    tell = [str(path), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(tell, capture_output=True, text=True)
    return done.stdout == f"{version}\n"


def uv(*words: str | Path) -> str:
    """Run uv, which never brings a Python of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [_UV, *words],
        env={**environment, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make(folder: Path, wheel: Path, extras: str = "", version: str = "", old: bool = False) -> Path:
    """An environment with the wheel and what its extras need; returns its interpreter.

    Args:
        folder: where it is made; what is there is removed.
        extras: separated by commas.
        version: of Python; that of the caller if none is named.
        old: with the lowest versions that pyproject.toml allows, in place of the highest.
    """
    python = pythons()[version] if version else Path(sys.executable)
    uv("venv", "--quiet", "--clear", "--python", python, folder)
    interpreter = folder / "bin" / "python"
    install: list[str | Path] = ["pip", "install", "--quiet", "--python", interpreter]
    if old:
        lowest = folder / "lowest.txt"
        options = ["--no-deps", "--extra", "all", "--resolution", "lowest-direct"]
        project = ROOT / "pyproject.toml"
        uv("pip", "compile", "-q", project, *options, "--python", interpreter, "-o", lowest)
        install += ["--constraint", lowest]
    uv(*install, f"leaderlock[{extras}] @ {wheel.as_uri()}")
    return interpreter


def packages(interpreter: Path) -> dict[str, str]:
    """What is installed, and which version of it."""
    listed = uv("pip", "list", "--quiet", "--format", "freeze", "--python", interpreter)
    found = {}
    for line in listed.splitlines():
        name, _, version = line.partition("==")
        found[name.partition(" @ ")[0]] = version
    return found


def main() -> None:
    """Say which Pythons the tests could not meet."""
    for version in sorted(set(SUPPORTED) - pythons().keys()):
        print(f"packaging: there is no Python {version} on this machine, and no test met it")


if __name__ == "__main__":
    main()
