"""One of the four servers. Whichever leads charges what is due; the others stand by.

Why everybody is charged exactly once, without idempotency keys:

1. The FIRST act of a term is to raise the fence at the payment service to the term's token. From
   then on no charge of a predecessor is accepted, not even one that is already on its way.
2. Only THEN the term reads the service's ledger. Nothing can slip in behind that read, so what it
   shows is all that was ever charged. A charge that a predecessor made but did not live to record
   is recorded now (nobody twice); everything else that is due is still to be charged (nobody
   forgotten).
3. Each charge carries the token. When a successor has done step 1, the next charge of this term is
   refused, and that ends its work.

The election makes sure that there is normally one leader, and soon a new one; the fence makes sure
that it does no harm when for a moment there are two.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from examples.billing.database import Subscription, SubscriptionDatabase
from examples.billing.events import EventWriter, Kind
from examples.billing.gateway import PaymentGateway
from examples.billing.ledger import StaleCharge
from leaderlock import LeaderElector, LeaderLockError, Leadership, LossReason

BATCH = 20


class Billing:
    """The work: charge what falls due on one day."""

    def __init__(
        self,
        *,
        server: str,
        day: date,
        database: Path,
        payments: str,
        events: EventWriter,
    ) -> None:
        self._server = server
        self._day = day
        self._database = database
        self._payments = payments
        self._events = events

    def lead(self, leadership: Leadership) -> None:
        """The work of one term."""
        token = str(leadership.token)
        self._events.emit(Kind.ELECTED, token)
        try:
            if self._work(token, leadership.check):
                leadership.wait_lost()  # all is charged; lead on, so that nobody looks again
        finally:
            self._events.emit(Kind.WORK_ENDED, token)

    def work_without_election(self) -> None:
        """The same work with nobody's leave: what goes wrong then is the point of it."""
        self._work(None, check=lambda: None)
        self._events.emit(Kind.WORK_ENDED)

    def _work(self, token: str | None, check: Callable[[], None]) -> bool:
        """Charge all that is due; False if the fence has stopped it."""
        with (
            PaymentGateway(self._payments, self._server, token) as gateway,
            SubscriptionDatabase.open(self._database) as database,
        ):
            try:
                if token is not None:
                    gateway.raise_fence()
                due = self._reconcile(gateway, database, token or "")
                for batch in _batches(due):
                    # Once per batch and not per charge, as real programs do it. A pause after this
                    # line makes the rest of the batch late, and no check, however frequent, can
                    # close that gap: a pause fits between any check and the charge after it.
                    check()
                    self._charge(batch, gateway, database, token or "")
            except StaleCharge as refusal:
                self._events.emit(Kind.REFUSED, token or "", detail=refusal.current)
                return False
        self._events.emit(Kind.FINISHED, token or "")
        return True

    def _reconcile(
        self, gateway: PaymentGateway, database: SubscriptionDatabase, token: str
    ) -> list[Subscription]:
        """Record what was charged but not recorded; return what is still to be charged."""
        charged = gateway.charged(self._day)
        due = database.due(self._day)
        unrecorded = [subscription for subscription in due if subscription.id in charged]
        for subscription in unrecorded:
            database.renew(subscription, self._server)
        self._events.emit(Kind.RECONCILED, token, [each.id for each in unrecorded])
        return [subscription for subscription in due if subscription.id not in charged]

    def _charge(
        self,
        batch: list[Subscription],
        gateway: PaymentGateway,
        database: SubscriptionDatabase,
        token: str,
    ) -> None:
        numbers = [subscription.id for subscription in batch]
        self._events.emit(Kind.BATCH_STARTED, token, numbers)
        for subscription in batch:
            gateway.charge(subscription, self._day)
            database.renew(subscription, self._server)
            self._events.emit(Kind.CHARGED, token, [subscription.id])
        self._events.emit(Kind.BATCH_DONE, token, numbers)


def _batches(subscriptions: list[Subscription]) -> Iterator[list[Subscription]]:
    for start in range(0, len(subscriptions), BATCH):
        yield subscriptions[start : start + BATCH]


def _elector(election: str, name: str, ttl: float, events: EventWriter) -> LeaderElector:
    # The URL comes by the environment: a password in it would show in the process list.
    elector = LeaderElector(os.environ["LEADERLOCK_URL"], election, candidate_id=name, ttl=ttl)

    @elector.on_lost
    def lost(leadership: Leadership, reason: LossReason) -> None:
        events.emit(Kind.LOST, str(leadership.token), detail=reason.value)

    return elector


def _obey(elector: LeaderElector) -> None:
    """Do what the orchestrator says; stop when it says so, or says no more because it is gone."""
    for command in map(str.strip, sys.stdin):
        if command == "resign":
            elector.resign()
        elif command == "stop":
            break
    elector.stop()


def main() -> None:
    """Run one server."""
    parser = argparse.ArgumentParser(prog="python -m examples.billing.server")
    parser.add_argument("--name", required=True, help="this server's name, and candidate id")
    parser.add_argument("--day", type=date.fromisoformat, required=True)
    parser.add_argument("--database", type=Path, required=True, help="the subscriptions")
    parser.add_argument("--payments", required=True, help="URL of the payment service")
    parser.add_argument("--election", default="billing", help="the name contended for")
    parser.add_argument("--ttl", type=float, default=2.0)
    parser.add_argument("--no-election", action="store_true", help="just work")
    options = parser.parse_args()

    events = EventWriter(options.name, sys.stdout)
    billing = Billing(
        server=options.name,
        day=options.day,
        database=options.database,
        payments=options.payments,
        events=events,
    )
    elector = None
    if not options.no_election:
        elector = _elector(options.election, options.name, options.ttl, events)
    events.emit(Kind.READY)
    if sys.stdin.readline().strip() != "start":
        return
    if elector is None:
        billing.work_without_election()
        sys.stdin.readline()
        return
    elector.start()  # before the commands, so that no `stop` can come too early
    commands = threading.Thread(target=_obey, args=[elector], name="commands", daemon=True)
    commands.start()
    try:
        elector.run(billing.lead)
    except LeaderLockError as error:  # the store refuses us: a sentence for people, no traceback
        sys.exit(f"{options.name} gives up: {error}")
    commands.join()  # the elector is stopped from there; let that be seen through


if __name__ == "__main__":
    main()
