"""A backend behind a network that can fail keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing import BackendConformance, BackendHarness
from tests.conformance.harnesses import FaultyHarness


class TestFaulty(BackendConformance):
    @pytest.fixture
    def harness(self) -> Iterator[BackendHarness]:
        with FaultyHarness() as harness:
            yield harness
