"""The subscriptions: who pays what, and until when it is paid.

A plain SQLite file that all servers open. It knows nothing of elections or tokens, and it does not
need to: the money moves at the payment service, and that is where the fence stands.
"""

from __future__ import annotations

import calendar
import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

MOST_DUE = 1000  # so that the largest run still ends well within a minute
PERIODS = {"monthly": 1, "annual": 12}  # in months
PRICES = {"monthly": (799, 1299, 1799), "annual": (7990, 12990, 17990)}  # in cents

SCHEMA = """
CREATE TABLE subscription (
    id         INTEGER PRIMARY KEY,
    customer   TEXT NOT NULL,
    plan       TEXT NOT NULL CHECK (plan IN ('monthly', 'annual')),
    cents      INTEGER NOT NULL CHECK (cents > 0),
    expires_on TEXT NOT NULL
);
CREATE INDEX subscription_by_expiry ON subscription (expires_on);
CREATE TABLE renewal (
    subscription INTEGER NOT NULL REFERENCES subscription (id),
    expired_on   TEXT NOT NULL,
    expires_on   TEXT NOT NULL,
    renewed_by   TEXT NOT NULL,
    PRIMARY KEY (subscription, expired_on)
);
"""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One customer's plan, paid until `expires_on`."""

    id: int
    customer: str
    plan: str
    cents: int
    expires_on: date

    def renewed(self) -> Subscription:
        """The same subscription, one period later."""
        return replace(self, expires_on=add_months(self.expires_on, PERIODS[self.plan]))


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day: 31 January + 1 = 28 February."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def generate(count: int, day: date, seed: int) -> list[Subscription]:
    """Make `count` subscriptions; two in five of them (at most 1,000) fall due on `day`.

    The same count, day and seed give the same subscriptions.
    """
    rng = random.Random(seed)
    due = set(rng.sample(range(1, count + 1), min(count * 2 // 5, MOST_DUE)))
    subscriptions = []
    for number in range(1, count + 1):
        plan = rng.choices(("monthly", "annual"), weights=(3, 1))[0]
        later = timedelta(days=rng.randint(1, 27 if plan == "monthly" else 364))
        subscriptions.append(
            Subscription(
                id=number,
                customer=f"customer-{number:05d}",
                plan=plan,
                cents=rng.choice(PRICES[plan]),
                expires_on=day if number in due else day + later,
            )
        )
    return subscriptions


class SubscriptionDatabase:
    """The subscriptions file, as one thread of one process has it open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[SubscriptionDatabase]:
        """Open the file for the length of a `with` block."""
        connection = sqlite3.connect(path, timeout=10)
        # A power cut may undo the last commits. That is the same as dying before them: the next
        # term finds the charge in the payment service's ledger and records it.
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            yield cls(connection)
        finally:
            connection.close()

    @classmethod
    def create(cls, path: Path, subscriptions: Iterable[Subscription]) -> None:
        """Write a new file with these subscriptions."""
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
            with connection:
                connection.executemany(
                    "INSERT INTO subscription VALUES (?, ?, ?, ?, ?)",
                    ((s.id, s.customer, s.plan, s.cents, str(s.expires_on)) for s in subscriptions),
                )
        finally:
            connection.close()

    def due(self, day: date) -> list[Subscription]:
        """What is not yet recorded as renewed and ends by `day`, in the order of its ids."""
        return self._select("WHERE expires_on <= ? ORDER BY id", (str(day),))

    def all(self) -> list[Subscription]:
        """Every subscription, in the order of its ids."""
        return self._select("ORDER BY id", ())

    def renew(self, subscription: Subscription, server: str) -> bool:
        """Record that the next period is paid; False if that is recorded already."""
        later = subscription.renewed()
        with self._connection:  # one transaction: the new date and its record, or neither
            updated = self._connection.execute(
                "UPDATE subscription SET expires_on = ? WHERE id = ? AND expires_on = ?",
                (str(later.expires_on), subscription.id, str(subscription.expires_on)),
            )
            if updated.rowcount == 0:
                return False
            self._connection.execute(
                "INSERT INTO renewal VALUES (?, ?, ?, ?)",
                (
                    subscription.id,
                    str(subscription.expires_on),
                    str(later.expires_on),
                    server,
                ),
            )
        return True

    def _select(self, clause: str, parameters: tuple[str, ...]) -> list[Subscription]:
        query = f"SELECT id, customer, plan, cents, expires_on FROM subscription {clause}"
        return [
            Subscription(number, customer, plan, cents, date.fromisoformat(expires_on))
            for number, customer, plan, cents, expires_on in self._connection.execute(
                query, parameters
            )
        ]
