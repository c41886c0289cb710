"""A job that cron starts on every host in the same minute, and that one of them does.

    * * * * *  LEADERLOCK_URL=etcd://10.0.0.1:2379 python -m examples.recipes.cron_job

Leading alone is not enough here: a host whose clock is late may be elected, rightly, when the
first one has finished and resigned. What is done is therefore written down for each period, under
the fence, and the second host finds nothing to do. If the first one dies in the middle, the next
that leads goes on where it stopped.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from examples.recipes.ledger import Ledger
from leaderlock import CampaignTimeout, LeaderElector, Leadership, stop_on_signals

CUSTOMERS = [f"customer-{number}" for number in range(100)]


def charge(day: str, leadership: Leadership) -> int:
    job, charged = f"charge {day}", 0
    with Ledger(os.environ.get("LEDGER", "ledger.db")) as ledger:
        ledger.touch(job, leadership.token)  # before anything is read
        for customer in CUSTOMERS:
            leadership.check()  # ends the work early; what keeps it safe is the ledger
            charged += ledger.claim(job, customer, leadership.token)
    return charged


def main() -> None:
    day = sys.argv[1] if len(sys.argv) > 1 else datetime.now(UTC).date().isoformat()
    elector = LeaderElector(election="charge")  # the store's URL is in LEADERLOCK_URL
    try:
        # Long enough for a host that starts first to finish: who waits takes over if it dies.
        with stop_on_signals(elector), elector.lead(timeout=30) as leadership:
            print("charged", charge(day, leadership))
    except CampaignTimeout:
        print("another host is still at it")


if __name__ == "__main__":
    main()
