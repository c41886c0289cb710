"""The one session under which a client holds all its locks."""

from __future__ import annotations

import threading

from leaderlock.backends.base import Settings
from leaderlock.backends.consul.connection import Connection
from leaderlock.errors import BackendUnavailable

_FRESH = 0.02  # of a ttl: so much of the belief may be gone when a term begins


class OurSession:
    """Made when a key is first to be locked, and again when it has ended.

    Nobody renews it while the client neither leads nor waits.

    Attributes:
        id: the present one's, dead or alive; empty: there has been none.
    """

    def __init__(self, store: Connection, settings: Settings, lock_delay: float) -> None:
        self._store = store
        self._settings = settings
        self._lock_delay = lock_delay
        self._fresh_for = _FRESH * settings.ttl
        self._making = threading.Lock()
        self.id = ""
        # Which one lived, at which reading of the clock. One attribute, for threads that read
        # while another one writes.
        self._proof = "", 0.0

    def keep(self) -> tuple[str, float]:
        """A session that lives, and the clock reading from which it certainly does for a ttl.

        What was heard of it just now counts: the term is believed from then on, and so for a
        shorter time. That it lives still is for the lock to say, which Consul refuses without.
        """
        # One at a time, so that there are no two sessions; renewals do not come by here.
        if not self._making.acquire(timeout=self._store.time_left()):
            raise BackendUnavailable("Consul has not answered another request for a session")
        try:
            sent_at, (proved, proved_at) = self._settings.clock.now(), self._proof
            if self.id and proved == self.id and sent_at < proved_at + self._fresh_for:
                return proved, proved_at
            if not self.renew(self.id):
                sent_at = self._settings.clock.now()
                name = f"leaderlock {self._settings.namespace}"
                self.id = self._store.create_session(name, self._settings.ttl, self._lock_delay)
                self._proof = self.id, sent_at
            return self.id, sent_at
        finally:
            self._making.release()

    def renew(self, session: str) -> bool:
        """False: it has ended. It is not made anew here: what it carried is lost."""
        sent_at = self._settings.clock.now()
        lives = bool(session) and self._store.renew_session(session)
        self._proof = (session, sent_at) if lives else ("", 0.0)
        return lives

    def doubt(self) -> None:
        """It may have ended: ask before it is used again."""
        self._proof = "", 0.0

    def end(self) -> None:
        """Whatever it still holds is kept from everybody for the lock-delay."""
        if self.id:
            self._store.destroy_session(self.id)

    def abandon(self) -> None:
        """In a forked child: the session is the parent's."""
        self._making = threading.Lock()
        self.id = ""
        self.doubt()
