"""What the tests of the monitor share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.tools import MonitorProcess, Monitors


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/election.db"


@pytest.fixture
def monitors(tmp_path: Path) -> Iterator[Monitors]:
    made: list[MonitorProcess] = []

    def make(url: str, *options: str, **more: str) -> MonitorProcess:
        made.append(MonitorProcess(url, tmp_path, *options, **more))
        return made[-1]

    yield make
    for monitor in made:
        monitor.__exit__()
