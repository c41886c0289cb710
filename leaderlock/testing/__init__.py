"""For tests: elections that go as a test says, and the suite that every backend has to pass.

FakeElection        an elector, elected and deposed when the test says so; as a fixture in `.plugin`
FakeClock           a clock that a test moves
FaultyBackend       any backend, with faults on demand
BackendHarness      what the suite has to know of a store
BackendConformance  the suite, a class for pytest; only it needs pytest to be installed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leaderlock.testing.clock import FakeClock as FakeClock
from leaderlock.testing.fake import FakeElection as FakeElection
from leaderlock.testing.faults import Fault as Fault
from leaderlock.testing.faults import FaultyBackend as FaultyBackend
from leaderlock.testing.harness import BackendHarness as BackendHarness

if TYPE_CHECKING:
    from leaderlock.testing.conformance import BackendConformance as BackendConformance


def __getattr__(name: str) -> Any:
    if name == "BackendConformance":
        from leaderlock.testing.conformance import BackendConformance

        return BackendConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
