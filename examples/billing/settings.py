"""What is to be run."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date
from pathlib import Path


class Mode(enum.StrEnum):
    """With everything, or with one thing missing."""

    FENCED = "fenced"
    NO_FENCE = "no fence"
    NO_ELECTION = "no election"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line asks for."""

    folder: Path
    url: str
    election: str
    ttl: float
    longest_failover: float  # seconds, as the elector computes it for this store and ttl
    subscriptions: int
    seed: int
    day: date
    mode: Mode
    began: float  # when the program was started, which is when its deadline started to run

    @property
    def database(self) -> Path:
        """The file of the subscriptions."""
        return self.folder / "subscriptions.db"

    @property
    def ledger(self) -> Path:
        """The payment service's own file."""
        return self.folder / "ledger.db"

    @property
    def election_file(self) -> Path:
        """Where the election is held, unless a store was given."""
        return self.folder / "election.db"

    @property
    def deadline(self) -> float:
        """Seconds from the start of the program; what follows takes no five more.

        Two leaders go without a word.
        """
        return 44.0 + 2 * self.longest_failover
