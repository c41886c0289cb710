"""What stands in an election's file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Self

MALFORMED = (ValueError, KeyError, TypeError, OverflowError)
"""What `Term.parse` raises for a text that `Term.dump` has not made."""


def file_name(namespace: str, election: str) -> str:
    """A hash: names may be too long for a file, or differ only in what a file system ignores."""
    return hashlib.sha256(json.dumps([namespace, election]).encode()).hexdigest() + ".json"


@dataclass(frozen=True, slots=True)
class Term:
    """The last term of an election. It is kept for ever: the next token has to be higher."""

    token: int = 0
    attempt_id: str = ""  # empty: released
    payload: bytes = b""
    renewed_at: float = 0.0
    ttl: float = 0.0

    @property
    def leader(self) -> tuple[int, str]:
        """Another one after each election and each release, the same after a renewal."""
        return self.token, self.attempt_id

    def left(self, now: float) -> float:
        """For how many seconds others are kept out. `now` has to be read after the file."""
        if not self.attempt_id or now < self.renewed_at:  # a reboot has set the clock back
            return 0.0
        return max(0.0, self.renewed_at + self.ttl - now)

    @classmethod
    def parse(cls, text: str) -> Self:
        found = json.loads(text)
        return cls(
            token=int(found["token"]),
            attempt_id=str(found["attempt_id"]),
            payload=str(found["payload"]).encode("latin-1"),
            renewed_at=float(found["renewed_at"]),
            ttl=float(found["ttl"]),
        )

    def dump(self, **about: str) -> str:
        """JSON, with `about` for people who look into the file."""
        return json.dumps(about | asdict(self) | {"payload": self.payload.decode("latin-1")})
