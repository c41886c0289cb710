"""APScheduler in every process of a service; each job runs in the one that leads.

    LEADERLOCK_URL=redis://127.0.0.1:6379 python -m examples.recipes.apscheduler_job

Every process has the same jobs and fires them all; on a follower the guarded function returns
None at once. So a new leader needs no hand-over: its next firing is the first one that works.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from examples.recipes.ledger import Ledger
from leaderlock import LeaderElector, Leadership, stop_on_signals

elector = LeaderElector(election="reports")


@elector.leader_only
def report(leadership: Leadership) -> None:
    # Two hosts may lead one after the other within one period: it is claimed, and done once.
    period = datetime.now(UTC).isoformat(timespec="seconds")
    with Ledger(os.environ.get("LEDGER", "ledger.db")) as ledger:
        if ledger.claim("report", period, leadership.token):
            print("reported", period, flush=True)


def main() -> None:
    scheduler = BackgroundScheduler(timezone=UTC)
    # Of firings that were missed (a pause, a full pool), one is made up for, if it is young.
    scheduler.add_job(
        report, "cron", second="*", coalesce=True, misfire_grace_time=30, max_instances=1
    )
    with stop_on_signals(elector), elector:
        scheduler.start()
        for info in elector.observe():  # ends when a signal has stopped the elector
            print("leader:", info.candidate_id if info else "nobody", flush=True)
        scheduler.shutdown()


if __name__ == "__main__":
    main()
