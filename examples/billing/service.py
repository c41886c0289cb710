"""The parts of the demo as services without an orchestrator, as docker/compose.yml starts them.

    python -m examples.billing.service customers    make the subscriptions, once
    python -m examples.billing.service payments     serve the payment service on port 8080
    python -m examples.billing.service server       contend, and charge who is due while leading
    python -m examples.billing.service audit        how often has everybody been charged?

All share a folder, --folder. A server is configured by the environment: LEADERLOCK_URL,
LEADERLOCK_ELECTION, LEADERLOCK_CANDIDATE_ID, PAYMENTS, the URL of the payment service, and
LEADERLOCK_MONITOR, that of a monitor, if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import uvicorn

from examples.billing.database import SubscriptionDatabase, generate
from examples.billing.events import EventWriter, Kind
from examples.billing.ledger import Ledger
from examples.billing.payments import PaymentService
from examples.billing.server import Billing
from leaderlock import LeaderElector, Leadership, LossReason, stop_on_signals
from leaderlock.telemetry import beacon

LATENCY = 0.015  # seconds per charge


class Files:
    """What the services share."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "subscriptions.db"
        self.ledger = folder / "ledger.db"
        self._plan = folder / "plan.json"

    def make(self, subscriptions: int) -> None:
        """What has been made already stays as it is."""
        if self._plan.exists():
            return
        day = date.today()
        customers = generate(subscriptions, day, seed=1)
        due = [each.id for each in customers if each.expires_on <= day]
        self.database.unlink(missing_ok=True)  # half made, by a run that was broken off
        SubscriptionDatabase.create(self.database, customers)
        self._plan.write_text(json.dumps({"day": str(day), "due": due}), "ascii")

    def read_plan(self) -> tuple[date, list[int]]:
        """The day that is billed, also when it is over, and who is due on it."""
        plan = json.loads(self._plan.read_text("ascii"))
        return date.fromisoformat(plan["day"]), plan["due"]


def serve_payments(files: Files, address: str) -> int:
    """Until SIGTERM or SIGINT."""
    host, _, port = address.rpartition(":")
    service = PaymentService(Ledger(files.ledger), latency=LATENCY, fenced=True)
    app = service.app(EventWriter("payments", sys.stdout), int(port))
    uvicorn.run(app, host=host, port=int(port), log_level="warning", timeout_graceful_shutdown=1)
    return 0


def serve(files: Files) -> int:
    """Contend until SIGTERM or SIGINT, which hands over."""
    elector = LeaderElector.from_env()
    events = EventWriter(elector.candidate_id, sys.stdout)
    billing = Billing(
        server=elector.candidate_id,
        day=files.read_plan()[0],
        database=files.database,
        payments=os.environ["PAYMENTS"],
        events=events,
    )

    @elector.on_lost
    def lost(leadership: Leadership, reason: LossReason) -> None:
        events.emit(Kind.LOST, str(leadership.token), detail=reason.value)

    if "LEADERLOCK_MONITOR" in os.environ:
        beacon.start(elector)
    with stop_on_signals(elector):
        events.emit(Kind.READY)
        elector.run(billing.lead)
    return 0


def audit(files: Files) -> int:
    """0 if all who were due have been charged once, and nobody else."""
    day, due = files.read_plan()
    ledger = Ledger(files.ledger)
    charged = Counter(ledger.charged(str(day)))
    ledger.close()
    once = sum(1 for each in due if charged[each] == 1)
    more = sum(1 for each in due if charged[each] > 1)
    print(f"{len(due)} are due: {once} charged once, {more} more often,", end=" ")
    print(f"{len(due) - once - more} not at all; {len(charged.keys() - due)} others charged")
    return 0 if charged == Counter(due) else 1


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.billing.service")
    parser.add_argument("part", choices=["customers", "payments", "server", "audit"])
    parser.add_argument("--folder", type=Path, required=True, help="what all of them share")
    parser.add_argument("--subscriptions", type=int, default=2000, metavar="N")
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    options = parser.parse_args()
    files = Files(options.folder)
    match options.part:
        case "customers":
            files.make(options.subscriptions)
            return 0
        case "payments":
            return serve_payments(files, options.listen)
        case "server":
            return serve(files)
        case _:
            return audit(files)


if __name__ == "__main__":
    sys.exit(main())
