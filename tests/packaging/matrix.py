"""The whole suite on every Python that is here, with the newest and the oldest versions allowed.

    make matrix                                    everything: hours
    make matrix ARGS="tests/backends -k redis"     what comes after ARGS goes to pytest
    make matrix ONLY="3.13 oldest"                 the environments whose names have these words

As in CI, the wheel is tested. The environments are made anew in .venv/matrix.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.elector.tools import ROOT
from tests.packaging import environments
from tests.packaging.building import build
from tests.packaging.environments import make, packages, pythons

_FOLDER = ROOT / ".venv" / "matrix"


def main() -> int:
    """Returns the exit status: 1 if tests have failed anywhere."""
    only = os.environ.get("ONLY", "").split()
    environments.main()
    outcomes = {}
    with tempfile.TemporaryDirectory() as folder:
        build(ROOT, Path(folder), "wheel")
        (wheel,) = Path(folder).glob("*.whl")
        for version in pythons():
            for age in "newest", "oldest":
                name = f"{version} {age}"
                if all(word in name.split() for word in only):
                    outcomes[name] = _run(version, age, wheel)
    for name, outcome in outcomes.items():
        print(f"matrix: {name}: {outcome or 'passed'}")
    return 1 if any(outcomes.values()) or not outcomes else 0


def _run(version: str, age: str, wheel: Path) -> str:
    """What went wrong, or nothing."""
    began = time.monotonic()
    python = make(_FOLDER / f"{version}-{age}", wheel, "dev", version, old=age == "oldest")
    (site,) = (python.parent.parent / "lib").glob("python*/site-packages")
    (site / "leaderlock-checkout.pth").write_text(f"{ROOT}\n", "utf-8")
    there = packages(python)
    told = "redis", "kazoo", "python3-etcd3", "py-consul", "tenacity", "typer"
    print(f"matrix: {version} {age}:", *(f"{name} {there[name]}" for name in told), flush=True)
    command = [str(python), "-m", "pytest", "-n", "6", "--dist", "worksteal"]
    if age == "oldest":  # typer's old versions use what click's new ones warn of
        command += ["-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [*command, *sys.argv[1:]], cwd=ROOT, env={**os.environ, "CI": "true", "PYTHONSAFEPATH": "1"}
    )
    print(f"matrix: {version} {age} took {time.monotonic() - began:.0f} s", flush=True)
    return f"pytest ended with {done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
