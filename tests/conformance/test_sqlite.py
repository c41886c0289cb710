"""sqlite:// keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from tests.conformance.harnesses import SQLiteHarness


class TestSQLite(BackendConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[BackendHarness]:
        with SQLiteHarness(tmp_path) as harness:
            yield harness
