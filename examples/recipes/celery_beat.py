"""Celery beat on every host, of which one sends.

    LEADERLOCK_URL=redis://127.0.0.1:6379/0 celery -A examples.recipes.celery_beat beat \
        --scheduler examples.recipes.celery_beat:LeaderScheduler

beat keeps when it last sent what in a file of its own host, so that another host would send
again what has just been sent, or miss what is overdue. Here that stands in a shared database,
behind a fence, and is written BEFORE a task is sent: what is due is sent at most once. A beat
that dies between the two loses that one sending; write after sending instead if you would rather
have it twice, and make the task idempotent.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from celery import Celery
from celery.beat import ScheduleEntry, Scheduler

from examples.recipes.ledger import Ledger
from leaderlock import LeaderElector, Leadership, LeadershipLost, StaleToken

app = Celery("recipe", broker=os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/1"))
app.conf.beat_schedule = {
    "charge": {"task": "charge", "schedule": float(os.environ.get("EVERY", "60"))}
}


@app.task(name="charge")
def charge() -> None:
    print("charging")


class LeaderScheduler(Scheduler):
    """Sends while it leads. It runs in one thread, that of beat."""

    max_interval = 1.0  # seconds until a follower looks again whether it leads

    def setup_schedule(self) -> None:
        super().setup_schedule()
        self._ledger = Ledger(os.environ.get("LEDGER", "ledger.db"))
        self._term: Leadership | None = None
        self._elector = LeaderElector(election="celery beat")
        self._elector.start()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        leadership = self._elector.leadership
        if leadership is None:
            return self.max_interval
        try:
            if leadership is not self._term:
                self._take_over(leadership)
            return float(super().tick(*args, **kwargs))
        except (LeadershipLost, StaleToken) as error:
            self.logger.warning("nothing is sent: %s", error)
            self._term = None  # what this beat thinks that it has sent is read anew
            return self.max_interval

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Called for an entry that is due, and already counted as sent in this process."""
        assert self._term is not None
        self._term.check()
        sent_at = self.schedule[entry.name].last_run_at.isoformat()
        if self._ledger.claim(f"beat {entry.name}", sent_at, self._term.token):
            super().apply_entry(entry, producer)

    def close(self) -> None:
        self._elector.stop()
        super().close()

    def _take_over(self, leadership: Leadership) -> None:
        for name, entry in self.schedule.items():
            self._ledger.touch(f"beat {name}", leadership.token)  # before reading
            if last := self._ledger.last(f"beat {name}"):
                entry.last_run_at = datetime.fromisoformat(last.item)
        self._heap = None  # planned anew, from the times that were read
        self._term = leadership
