"""The lease that all attempts of a backend share."""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from etcd3 import etcdrpc as rpc

from leaderlock.backends.base import Settings
from leaderlock.backends.etcd.connection import CLOSED, LeaseExists, LeaseGone, Talk
from leaderlock.errors import BackendRefused, BackendUnavailable

# How long ago, in request_timeouts, a lease may have been heard of that a term begins with. Three
# of them fit into every belief.
FOR_A_PLACE = 1.0  # which the heartbeats keep: the next one is as near as to any other term
_FOR_A_NEW_ONE = 0.5  # the first heartbeat may be a whole interval away


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was alive when the server answered.

    Attributes:
        ttl: what the server grants, in whole seconds; may be more than was asked for.
        sent_at: reading of the clock from which it is certain to run for a whole ttl.
        term: raft's, of the server that answered.
    """

    number: int
    ttl: float
    sent_at: float
    term: int


class SharedLease:
    """Granted when it is needed, and again after it has died.

    Attributes:
        number: the present one's; 0: none. Never used again after its death, so that a late request
            under it fails.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.start()

    def start(self) -> None:
        """Begin without a lease; also in a forked child."""
        self._granting = threading.Lock()
        self._closed = False
        self._granted_in = 0  # raft's term
        self.number = 0
        self._heard: Lease | None = None  # the last word on the present one
        self._next = _new_number()

    def alive(self, talk: Talk) -> Lease:
        """The lease, heard of not long ago; a new one if it is over, or is too old."""
        while True:
            number = self.number
            if (heard := self.heard(number, _FOR_A_NEW_ONE)) and self.is_present(heard):
                return heard
            lease = self.keep_alive(talk, number) if number else None
            if lease is not None and self.is_present(lease):
                return lease
            if not self._granting.acquire(timeout=talk.left):
                raise BackendUnavailable("no answer from etcd to the request for a lease in time")
            try:
                if self.number == number:  # otherwise another thread was faster
                    return self._grant(talk)
            finally:
                self._granting.release()

    def heard(self, number: int, within: float) -> Lease | None:
        """What was last heard of it, if that was asked within so many request_timeouts.

        What another attempt or a heartbeat has asked counts as well as an answer of one's own, and
        costs nothing. A term counts from when it was asked, so nobody believes for longer.
        """
        heard, now = self._heard, self._settings.clock.now()
        if heard is None or heard.number != number:
            return None
        return heard if now < heard.sent_at + within * self._settings.request_timeout else None

    def keep_alive(self, talk: Talk, number: int) -> Lease | None:
        """None: it is over, and all keys under it are gone; no error to etcd, but a ttl of 0."""
        sent_at = self._settings.clock.now()
        answer = talk.ask("keep_alive", rpc.LeaseKeepAliveRequest(ID=number))
        if answer.TTL <= 0:
            self.doubt(number)
            return None
        return self._note(Lease(number, float(answer.TTL), sent_at, answer.header.raft_term))

    def doubt(self, number: int) -> None:
        """The lease may be over: what was heard of it counts no more."""
        if self._heard is not None and self._heard.number == number:
            self._heard = None

    def is_present(self, lease: Lease) -> bool:
        """Whether it is for new keys, and was granted under the leader that etcd has now.

        A leader of before that comes back, from a pause of its process for instance, revokes all
        leases that it takes for expired, also those that its successor has kept alive. It does not
        know of leases that were granted since (etcd#15247; seen to happen with etcd 3.5.16).
        """
        return (lease.number, lease.term) == (self.number, self._granted_in)

    def check_same_term(self, lease: Lease, header: Any) -> None:
        """That what a later answer says holds as long as the lease does; see the backend."""
        if header.raft_term != lease.term:
            self.doubt(lease.number)
            raise BackendUnavailable("etcd has elected another leader of its own meanwhile")

    def retire(self, number: int) -> None:
        """Let it run out, if it is the present one: all that is still wanted moves to the next."""
        if number == self.number:
            self._granted_in = 0

    def end(self, talk: Talk, older: Iterable[int]) -> None:
        """Revoke it and older ones, with all keys under them, and grant none any more."""
        nobody_asks = self._granting.acquire(timeout=talk.left)
        self._closed = True
        numbers = {self.number, 0 if nobody_asks else self._next, *older}
        if nobody_asks:
            self._granting.release()
        for number in numbers - {0}:
            with suppress(BackendUnavailable, BackendRefused, LeaseGone):  # then it runs out
                talk.ask("revoke", rpc.LeaseRevokeRequest(ID=number))

    def _note(self, lease: Lease) -> Lease:
        if lease.number == self.number:
            self._heard = lease
        return lease

    def _grant(self, talk: Talk) -> Lease:
        if self._closed:
            raise BackendUnavailable(CLOSED)
        number, sent_at = self._next, self._settings.clock.now()
        try:
            # The same number until there is an answer, so that a lost one leaves no lease behind.
            request = rpc.LeaseGrantRequest(TTL=math.ceil(self._settings.ttl), ID=number)
            answer = talk.ask("grant", request)
            lease = Lease(number, float(answer.TTL), sent_at, answer.header.raft_term)
            self._granted_in = lease.term
        except LeaseExists:
            self._granted_in = 0  # nobody knows
            found = self.keep_alive(talk, number)
            if found is None:
                self._next = _new_number()
                raise BackendUnavailable("a lease ran out before it was heard of") from None
            lease = found
        self.number, self._next = number, _new_number()
        return self._note(lease)


def _new_number() -> int:
    return secrets.randbits(62) | 1
