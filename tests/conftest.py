"""Fixtures of all tests, and their order: what takes long first."""

from __future__ import annotations

import gc
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.fixtures import *  # noqa: F403

# The folders of what takes long, the longest first; all others come after. A worker that has no
# tests left takes some of another's, but not of its last two: these had better be short.
_SLOW = (
    "chaos",
    "packaging",
    "third_party",
    "examples",
    "benchmarks",
    "conformance",
    "backends",
    "fencing",
    "servers",
    "cli",
)
_TESTS = Path(__file__).parent

# Where the wheel is tested, the servers are those of the PATH: let them be the same as elsewhere.
_SERVERS = subprocess.run(
    [_TESTS.parent / "scripts" / "servers", "--where"], check=True, capture_output=True, text=True
).stdout.strip()
os.environ["PATH"] = os.pathsep.join([_SERVERS, os.environ.get("PATH", os.defpath)])

# By default an example that takes 0.2 s fails its test: that says something of the machine only.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(_TESTS).parts[0]
        return _SLOW.index(folder) if folder in _SLOW else len(_SLOW)

    items.sort(key=rank)  # stable


def pytest_collection_finish() -> None:
    # Thousands of tests are a large heap. What a test collects is its own garbage.
    gc.freeze()
