"""How the backends that are broken on purpose are listed, and how a case is tried on one."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from leaderlock.backends.memory import MemoryBackend
from leaderlock.testing import BackendConformance, BackendHarness, FaultyBackend
from leaderlock.testing.conformance.history import History
from tests.conformance.harnesses import FaultyHarness, MemoryHarness

# Nobody has to wait for what never comes.
_SLACK = 0.4
_PATIENCE = 1.5
_REQUEST_TIMEOUT = 0.5


@dataclass(frozen=True)
class Mutant:
    """A broken backend, the cases that have to fail over it, and what they pass over."""

    name: str
    cases: tuple[str, ...]
    make_harness: Callable[[], BackendHarness]
    sound: type[MemoryHarness]


MUTANTS: list[Mutant] = []

B = TypeVar("B", bound=type[MemoryBackend])
W = TypeVar("W", bound=type[FaultyBackend])


def mutant(*cases: str) -> Callable[[B], B]:
    """A broken store or adapter."""

    def register(broken: B) -> B:
        MUTANTS.append(
            Mutant(broken.__name__, cases, lambda: _hurried(MemoryHarness(broken)), MemoryHarness)
        )
        return broken

    return register


def behind_a_network(*cases: str) -> Callable[[B], B]:
    """A broken store that can be frozen."""

    def register(broken: B) -> B:
        MUTANTS.append(
            Mutant(broken.__name__, cases, lambda: _hurried(FaultyHarness(broken)), FaultyHarness)
        )
        return broken

    return register


def broken_client(*cases: str) -> Callable[[W], W]:
    """A sound store, but a client that misbehaves when it gets no answer."""

    def register(broken: W) -> W:
        def make_harness() -> BackendHarness:
            return _hurried(FaultyHarness(wrapper=broken))

        MUTANTS.append(Mutant(broken.__name__, cases, make_harness, FaultyHarness))
        return broken

    return register


def complaint(case: str, harness: BackendHarness) -> str | None:
    """What the case says about the backend; None: it passes."""
    method = getattr(BackendConformance(), case)
    fixtures: dict[str, object] = {"harness": harness}
    if "history" in inspect.signature(method).parameters:
        fixtures["history"] = History(harness, "threads")
    try:
        method(**fixtures)
    except AssertionError as error:
        return str(error)
    finally:
        with contextlib.suppress(RuntimeError):  # of a mutant that cannot be closed twice
            harness.close()
    return None


def all_cases() -> list[str]:
    return [name for name in dir(BackendConformance) if name.startswith("test_")]


def _hurried(harness: MemoryHarness) -> BackendHarness:
    harness.slack = _SLACK
    harness.patience = _PATIENCE
    harness.request_timeout = _REQUEST_TIMEOUT
    return harness
