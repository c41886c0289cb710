"""Tells a webhook of alarms: one POST for all that has happened since the last one.

On a thread of its own, which waits for nobody but the webhook. What cannot be told is tried again,
with longer and longer pauses, for an hour at most. What happens meanwhile is kept up to a number;
after that the oldest is dropped and counted.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential_jitter,
)

from leaderlock.monitor.alarms import Alarm
from leaderlock.telemetry.post import Endpoint, NoAnswer

log = logging.getLogger("leaderlock")

TIMEOUT = 10.0
_MOST = 1000
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_GIVE_UP = 3600.0


class Webhook:
    """Where alarms are told.

    Args:
        place: what is told beside each change: the store and the namespace.

    Attributes:
        failures: requests without success.
        dropped: changes that were never told.
    """

    def __init__(self, endpoint: Endpoint, place: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._place = dict(place)
        self._changes: deque[dict[str, Any]] = deque()
        self._lock = threading.Condition()
        self._closed = False
        self._stop = threading.Event()
        self.failures = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="leaderlock-webhook", daemon=True)
        self._thread.start()

    def tell(self, alarms: Sequence[Alarm]) -> None:
        """Have these changes told. Does not wait."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._lock:
            for alarm in alarms:
                if len(self._changes) >= _MOST:
                    self._changes.popleft()
                    self.dropped += 1
                self._changes.append(_change(alarm, at))
            self._lock.notify_all()

    def close(self, timeout: float) -> None:
        """Tell what is left, for at most `timeout` seconds."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._thread.join(timeout)
        self._stop.set()

    def _run(self) -> None:
        while (changes := self._next()) is not None:
            body = self._place | {
                "text": "\n".join(change["text"] for change in changes),
                "changes": changes,
            }
            try:
                self._send(json.dumps(body).encode())
            except RetryError as error:
                self.dropped += len(changes)
                log.error(
                    "leaderlock.webhook_given_up changes=%d error=%s",
                    len(changes),
                    error.last_attempt.exception(),
                )

    def _next(self) -> list[dict[str, Any]] | None:
        with self._lock:
            while not self._changes and not self._closed:
                self._lock.wait()
            if not self._changes:
                return None
            changes = list(self._changes)
            self._changes.clear()
            return changes

    def _send(self, body: bytes) -> None:
        failing = False
        for attempt in Retrying(
            retry=retry_if_exception_type(NoAnswer),
            wait=wait_exponential_jitter(_FIRST_PAUSE, _LONGEST_PAUSE, jitter=_FIRST_PAUSE),
            stop=stop_after_delay(_GIVE_UP) | stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
        ):
            with attempt:
                try:
                    answer = self._endpoint.post(body)
                    if not 200 <= answer.status < 300:
                        raise NoAnswer(f"{self._endpoint} answers {answer.status}")
                except NoAnswer as error:
                    self.failures += 1
                    if not failing:
                        log.warning("leaderlock.webhook_failing error=%s", error)
                    failing = True
                    raise
        if failing:
            log.info("leaderlock.webhook_recovered webhook=%s", self._endpoint)


def _change(alarm: Alarm, at: str) -> dict[str, Any]:
    over = alarm.resolved is not None
    where = f" {alarm.election!r}" if alarm.election else ""
    return {
        "state": "resolved" if over else "raised",
        "at": at,
        "number": alarm.number,
        "kind": alarm.kind.value,
        "election": alarm.election or None,
        "why": alarm.why,
        "lasted": alarm.resolved - alarm.raised if alarm.resolved is not None else None,
        "text": f"{'resolved' if over else 'ALARM'}: {alarm.kind.value}{where}: {alarm.why}",
    }
