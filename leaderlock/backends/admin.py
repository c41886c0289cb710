"""What an administrator asks a store, beyond what an election needs: the optional `Admin` contract.

A store's own stands in a module `admin` beside its backend, as `make_admin(backend)`, and is
imported on first use; a backend without one elects all the same. Like a backend it is thin, answers
within `settings.request_timeout` or nearly so, and raises nothing but `BackendUnavailable` and
`BackendRefused`.
"""

from __future__ import annotations

import enum
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from leaderlock.backends.base import Attempt, Backend
from leaderlock.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A candidate as the store shows it.

    Attributes:
        attempt_id: of this candidacy.
        payload: what the candidate shows.
        token: the value of the leader's token; 0 for a candidate that waits, or where only the
            term's beginning makes it.
        since: when it was elected, or has queued where the store knows no more, in seconds since
            1970 on the store's clock; None: it does not tell.
        mark: what else the store needs to find just this one.
    """

    attempt_id: str
    payload: bytes = field(repr=False)
    token: int = 0
    since: float | None = None
    mark: str = ""


class Grade(enum.Enum):
    """How much a finding matters."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing; elections are safe."""
    BAD = "bad"
    """Elections are endangered, or do not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination has found: one sentence."""

    grade: Grade
    text: str


class Admin(ABC):
    """A store in the hands of an administrator.

    Args:
        backend: whose connections and namespace are used. Not closed.
    """

    knows_waiting: ClassVar[bool] = True
    """Whether `candidates` tells of those that wait; otherwise it shows the leader only."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @abstractmethod
    def elections(self) -> Sequence[str]:
        """The elections of the namespace that the store knows of, sorted.

        One without a leader may be among them, or not. A name too long for a key is shown as the
        store has it.
        """

    @abstractmethod
    def candidates(self, election: str) -> Sequence[Standing]:
        """Who leads, then those that wait, in their order; empty while nobody leads or waits."""

    def evict(self, election: str, standing: Standing) -> bool:
        """End the term, or the candidacy, and let the next one in. False: it was over already.

        The candidate is not asked: it learns of it with its next heartbeat, and contends again.
        """
        if all(each.attempt_id != standing.attempt_id for each in self.candidates(election)):
            return False  # an administrator took time to decide
        attempt = Attempt(election, standing.attempt_id, standing.payload, lambda: None)
        self.backend.release(attempt)
        return True

    @abstractmethod
    def examine(self) -> Iterator[Finding]:
        """The server's version, and settings that endanger elections."""


def admin_of(backend: Backend) -> Admin:
    """The store of a backend in the hands of an administrator.

    Raises:
        ConfigurationError: this kind of store has none.
    """
    package = type(backend).__module__.rpartition(".")[0]
    try:
        module = importlib.import_module(f"{package}.admin")
        admin: Admin = module.make_admin(backend)
    except (ImportError, AttributeError, ValueError):
        raise ConfigurationError(
            f"{type(backend).schemes[0]}:// offers nothing to administrators"
        ) from None
    return admin


def is_older(version: str, than: str) -> bool:
    """Whether a version like 3.5.16 comes before another."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> list[int]:
    parts = version.lstrip("v").split("-")[0].split("+")[0].split(".")
    return [int(part) for part in parts if part.isdigit()]
