"""Fixtures for pytest. In a conftest.py: `pytest_plugins = ["leaderlock.testing.plugin"]`.

It is not loaded by itself: who only installs leaderlock gets no fixtures that they did not ask for.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing.fake import FakeElection


@pytest.fixture
def fake_election() -> Iterator[FakeElection]:
    """An election that goes as the test says, with an elector of its own."""
    with FakeElection() as election:
        yield election
