"""The one session under which a client holds all its locks."""

from __future__ import annotations

import threading

from leaderlock.backends.base import Settings
from leaderlock.backends.consul.connection import Connection
from leaderlock.errors import BackendUnavailable


class OurSession:
    """Made when a lock is first asked for, and again when it has ended.

    Nobody renews it while the client leads nothing, and a client that only waits has none.

    Attributes:
        id: the present one's, dead or alive; empty: there has been none.
    """

    def __init__(self, store: Connection, settings: Settings, lock_delay: float) -> None:
        self._store = store
        self._settings = settings
        self._lock_delay = lock_delay
        self._making = threading.Lock()
        self.id = ""

    def keep(self) -> tuple[str, float]:
        """A session that lives, and the clock reading from which it certainly does for a ttl."""
        # One at a time, so that there are no two sessions; renewals do not come by here.
        if not self._making.acquire(timeout=self._store.time_left()):
            raise BackendUnavailable("Consul has not answered another request for a session")
        try:
            sent_at = self._settings.clock.now()
            if not self.renew(self.id):
                sent_at = self._settings.clock.now()
                name = f"leaderlock {self._settings.namespace}"
                self.id = self._store.create_session(name, self._settings.ttl, self._lock_delay)
            return self.id, sent_at
        finally:
            self._making.release()

    def renew(self, session: str) -> bool:
        """False: it has ended. It is not made anew here: what it carried is lost."""
        return bool(session) and self._store.renew_session(session)

    def end(self) -> None:
        """Whatever it still holds is kept from everybody for the lock-delay."""
        if self.id:
            self._store.destroy_session(self.id)

    def abandon(self) -> None:
        """In a forked child: the session is the parent's."""
        self._making = threading.Lock()
        self.id = ""
