"""What the tests of several stores share."""

from __future__ import annotations

from collections.abc import Callable

from leaderlock.backends.base import Attempt, Backend, Granted


def attempt_at(
    election: str = "e", name: str = "a", wake: Callable[[], None] | None = None
) -> Attempt:
    """An attempt with an id that a test can name."""
    return Attempt(election, name, b"payload of " + name.encode(), wake or (lambda: None))


def win(backend: Backend, attempt: Attempt) -> int:
    """Campaign, and be elected at once. Returns the token."""
    granted = backend.campaign(attempt)
    assert isinstance(granted, Granted), granted
    return granted.token
