"""The payment service's ledger: every charge it accepted or refused, and the fence.

The fence is one row: the highest token seen. A charge checks it and is written in ONE transaction,
so no charge can be accepted under a token that is already superseded. There is deliberately nothing
else against charging somebody twice, no idempotency key and no unique index: whatever is right in
the end is right because of the election and the fence.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from examples.billing.events import now

SCHEMA = """
CREATE TABLE IF NOT EXISTS fence (
    resource TEXT PRIMARY KEY CHECK (resource = 'billing'),
    token    TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS charge (
    number       INTEGER PRIMARY KEY,
    at           REAL NOT NULL,
    accepted     INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    day          TEXT NOT NULL,
    cents        INTEGER NOT NULL,
    server       TEXT NOT NULL,
    token        TEXT
);
"""

# Tokens have a fixed width (str(token)), so comparing them as text compares them as numbers.
ADVANCE = """
INSERT INTO fence (resource, token) VALUES ('billing', ?)
ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE fence.token <= excluded.token
"""


class StaleCharge(Exception):
    """The token is lower than one that the fence has seen."""

    def __init__(self, current: str) -> None:
        super().__init__(f"the fence has seen the token {current}")
        self.current = current


@dataclass(frozen=True, slots=True)
class Charge:
    """What a server asks the payment service to collect."""

    subscription: int
    day: str
    cents: int
    server: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A charge, and when it was accepted or refused."""

    at: float
    charge: Charge


class Ledger:
    """The ledger file, held open by the payment service (and afterwards by the auditor)."""

    def __init__(self, path: Path, *, fenced: bool = True) -> None:
        self._fenced = fenced
        # Transactions are begun by hand: "check the fence, then write" must be one of them.
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def advance(self, token: str | None) -> None:
        """Raise the fence to `token`; raises StaleCharge if it stands higher already."""
        if not self._passes(token):
            raise StaleCharge(self._fence())

    def charge(self, charge: Charge) -> None:
        """Write the charge down; raises StaleCharge (and writes that down) if it is fenced off."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            accepted = self._passes(charge.token)
            self._connection.execute(
                "INSERT INTO charge (at, accepted, subscription, day, cents, server, token)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    now(),
                    accepted,
                    charge.subscription,
                    charge.day,
                    charge.cents,
                    charge.server,
                    charge.token,
                ),
            )
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        if not accepted:
            raise StaleCharge(self._fence())

    def charged(self, day: str) -> list[int]:
        """The subscriptions charged for `day`, once per charge."""
        rows = self._connection.execute(
            "SELECT subscription FROM charge WHERE accepted AND day = ? ORDER BY number",
            (day,),
        )
        return [subscription for (subscription,) in rows]

    def decisions(self, *, accepted: bool) -> list[Decision]:
        """Every charge that was accepted, or every one that was refused, in that order."""
        rows = self._connection.execute(
            "SELECT at, subscription, day, cents, server, token FROM charge"
            " WHERE accepted = ? ORDER BY number",
            (accepted,),
        )
        return [Decision(at, Charge(*charge)) for at, *charge in rows]

    def _passes(self, token: str | None) -> bool:
        if not self._fenced:
            return True
        return self._connection.execute(ADVANCE, (token,)).rowcount > 0

    def _fence(self) -> str:
        (token,) = self._connection.execute("SELECT token FROM fence").fetchone()
        return str(token)
