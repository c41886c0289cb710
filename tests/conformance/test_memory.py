"""memory:// keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from tests.conformance.harnesses import MemoryHarness


class TestMemory(BackendConformance):
    @pytest.fixture
    def harness(self) -> Iterator[BackendHarness]:
        with MemoryHarness() as harness:
            yield harness
