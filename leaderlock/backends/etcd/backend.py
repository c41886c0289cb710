"""Elections in etcd 3.4 or newer.

    etcd://user:password@host1:2379,host2:2379      servers of one cluster
    etcds://host:2379?ca=ca.pem                     with TLS; also cert and key

Every attempt has a key, and all keys of a client one lease. The keys of an election are a queue:
whose key was created first leads, the others wait for the one before them to go. The token is the
create_revision of the leader's key, which rises through the whole life of a cluster.

A term is proved by a keep-alive of the lease, and after it a linearizable read that finds the own
key as it was created, or the write that creates it. Either alone proves nothing: a keep-alive does
not see that an operator has deleted the key, and a read does not prolong the lease. Both have to
come from the same raft term, because a server that has been deposed, and does not know it yet, may
answer keep-alives that nobody else has heard of (etcd#15247). What lies between them only costs
belief, which counts from the keep-alive: so a campaign asks for none if there was one just before.

What it does not promise:

* That a term has ended before the next one begins when an operator deletes its key or revokes its
  lease: the next one is let in at once, and the deposed leader learns of it by its next heartbeat.
* Tokens that rise over a snapshot that was restored, unless its revision was bumped (etcd#16028).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from leaderlock.backends.base import (
    Attempt,
    Backend,
    Granted,
    Reading,
    Renewal,
    Renewed,
    Settings,
    Waiting,
)
from leaderlock.backends.etcd.connection import Connection, Talk
from leaderlock.backends.etcd.keys import Keys, end_of
from leaderlock.backends.etcd.lease import Lease, SharedLease
from leaderlock.backends.etcd.queue import Queue, View
from leaderlock.backends.etcd.target import OPTIONS, Target, target_of
from leaderlock.backends.etcd.waiting import Watcher
from leaderlock.backends.layout import unpack
from leaderlock.backends.wakes import net
from leaderlock.capabilities import Capabilities
from leaderlock.errors import BackendUnavailable
from leaderlock.url import Option, StoreURL

_CAPABILITIES = Capabilities(
    linearizable=True,
    event_driven=True,
    fifo=True,
    renews_waiting=True,
    min_ttl=2.0,  # with etcd's default --election-timeout; with a longer one it grants more
    max_ttl=86_400.0,
    # etcd looks every half second which leases are over, and counts in whole seconds.
    expiry_slack=1.5,
    notice=0.5,
)


class EtcdBackend(Backend):
    """The elections in one etcd cluster."""

    schemes = ("etcd", "etcds")
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, target: Target, settings: Settings) -> None:
        super().__init__(settings)
        self._keys = Keys(settings.namespace)
        self._lease = SharedLease(settings)
        self._connection = Connection(target, settings.request_timeout)
        self._watcher = Watcher(self._connection)
        self._queue = Queue(self._keys, self._lease, settings.ttl)
        self._waits: dict[str, Callable[[], None]] = {}  # by attempt id: the ways to stop

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        target_of(url)
        return _CAPABILITIES

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(target_of(url), settings)

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        talk = self._connection.talk()
        view, lease = self._queue.find(talk, attempt)
        if view.before is not None:
            self._wait_for(talk, attempt, view)
            return Waiting(retry_after=self._net(view))
        self._lease.check_same_term(lease, view.header)
        self._stop_waiting(attempt)
        return Granted(
            token=view.place.revision,
            source=_source_of(view.header),
            ttl=lease.ttl,
            sent_at=lease.sent_at,
        )

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        outcomes: dict[str, Renewal] = {}
        groups: dict[int, list[Attempt]] = {}  # by lease: mostly one
        for attempt in attempts:
            if place := self._queue.places.get(attempt.attempt_id):
                groups.setdefault(place.lease, []).append(attempt)
            else:
                outcomes[attempt.attempt_id] = Renewal.TAKEN
        talk = self._connection.talk()
        leases: list[Lease] = []
        try:
            for number, group in groups.items():
                lease = self._lease.keep_alive(talk, number)
                if lease is None:
                    outcomes |= {a.attempt_id: Renewal.SESSION_LOST for a in group}
                    continue
                leases.append(lease)
                for some in self._queue.renew(talk, lease, group):
                    outcomes |= some
        except BackendUnavailable:
            if not outcomes:  # otherwise some have their answer
                raise
        return Renewed(
            outcomes=outcomes,
            ttl=min((lease.ttl for lease in leases), default=None),
            sent_at=min((lease.sent_at for lease in leases), default=None),
        )

    def release(self, attempt: Attempt) -> None:
        self._stop_waiting(attempt)
        self._queue.leave(self._connection.talk(), attempt)

    def leader(self, election: str) -> Reading:
        answer = self._connection.talk().ask("range", self._keys.oldest(election))
        source = _source_of(answer.header)
        if not answer.kvs:
            return Reading(source=source)
        record = unpack(answer.kvs[0].value)
        return Reading(
            payload=None if record is None else record[1],  # None: no candidate has written it
            token=answer.kvs[0].create_revision,
            source=source,
        )

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        prefix = self._keys.prefix(election)
        return self._watcher.watch(prefix, end_of(prefix), wake)

    def close(self) -> None:
        talk = self._connection.talk()
        self._lease.end(talk, {place.lease for place in list(self._queue.places.values())})
        self._watcher.close(talk.left)
        self._connection.close()

    def abandon(self) -> None:
        self._watcher.abandon()
        self._connection.abandon()
        self._lease.start()
        self._queue.start()
        self._waits = {}

    def _wait_for(self, talk: Talk, attempt: Attempt, view: View) -> None:
        """Have it woken when the one before it goes, also if that has happened by now."""
        stop = self._watcher.watch(
            view.before.key, b"", attempt.wake, since=view.header.revision + 1
        )
        self._stop_waiting(attempt)  # for the one that was before it until now
        self._waits[attempt.attempt_id] = stop
        if view.before.lease == 0:
            self._queue.outlast(talk, view.before)

    def _net(self, view: View) -> float:
        is_stray = view.before.lease == 0  # nobody but those who wait removes it
        return net(self.settings.ttl, 0 if is_stray else len(self._waits))

    def _stop_waiting(self, attempt: Attempt) -> None:
        if stop := self._waits.pop(attempt.attempt_id, None):
            stop()


def _source_of(header: Any) -> str:
    return f"etcd:{header.cluster_id:x}"
