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
    ttl: float
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
    def election(self) -> Path:
        """The file of the election, unless it is held in another store."""
        return self.folder / "election.db"
