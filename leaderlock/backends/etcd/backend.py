"""Elections in etcd 3.4 or newer.

    etcd://user:password@host1:2379,host2:2379      servers of one cluster
    etcds://host:2379?ca=ca.pem                     with TLS; also cert and key

Every attempt has a key, and all keys of a client one lease. The keys of an election are a queue:
whose key was created first leads, the others wait for the one before them to go. The token is the
create_revision of the leader's key, which rises through the whole life of a cluster.

A term is proved by a keep-alive of the lease, and after it a linearizable read that finds the own
key as it was created. Either alone proves nothing: a keep-alive does not see that an operator has
deleted the key, and a read does not prolong the lease. Both have to come from the same raft term,
because a server that has been deposed, and does not know it yet, may answer keep-alives that nobody
else has heard of (etcd#15247).

What it does not promise:

* That a term has ended before the next one begins when an operator deletes its key or revokes its
  lease: the next one is let in at once, and the deposed leader learns of it by its next heartbeat.
* Tokens that rise over a snapshot that was restored, unless its revision was bumped (etcd#16028).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

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
from leaderlock.backends.etcd.connection import Connection, LeaseGone, Talk
from leaderlock.backends.etcd.keys import (
    Keys,
    Place,
    delete,
    end_of,
    found_in,
    get,
    is_at,
    put,
    read,
)
from leaderlock.backends.etcd.lease import Lease, SharedLease
from leaderlock.backends.etcd.target import OPTIONS, Target, target_of
from leaderlock.backends.etcd.waiting import Watcher
from leaderlock.backends.layout import pack, unpack
from leaderlock.capabilities import Capabilities
from leaderlock.errors import BackendUnavailable
from leaderlock.url import Option, StoreURL

_CHUNK = 128  # keys in one request: etcd's --max-txn-ops
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


class _View(NamedTuple):
    """A place in a queue, the key before it if there is one, and the answer's header."""

    place: Place
    before: Any
    header: Any


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
        self._start()

    def _start(self) -> None:
        self._places: dict[str, Place] = {}  # by attempt id, like the others
        self._waits: dict[str, Callable[[], None]] = {}
        self._unanswered: dict[str, int] = {}  # may still be queued, under that lease
        self._strays: dict[bytes, tuple[int, float]] = {}  # by key: revision, when first seen

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
        view = None
        while view is None:  # as long as somebody interferes, and there is time
            lease = self._lease.alive(talk)
            view = self._look(talk, attempt, lease) or self._enter(talk, attempt, lease)
        if view.before is not None:
            self._wait_for(talk, attempt, view)
            return Waiting(retry_after=self.settings.ttl)  # a net: the watch wakes
        _check_same_term(lease, view.header)
        self._stop_waiting(attempt)
        return Granted(
            token=view.place.revision,
            source=_source_of(view.header),
            ttl=lease.ttl,
            sent_at=lease.sent_at,
        )

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        number = self._lease.number
        outcomes: dict[str, Renewal] = {}
        places: dict[str, Place] = {}
        for attempt in attempts:
            place = self._places.get(attempt.attempt_id)
            if place is None:
                outcomes[attempt.attempt_id] = Renewal.TAKEN
            elif place.lease != number:
                outcomes[attempt.attempt_id] = Renewal.SESSION_LOST
            else:
                places[attempt.attempt_id] = place
        if not places:
            return Renewed(outcomes=outcomes)
        talk = self._connection.talk()
        lease = self._lease.keep_alive(talk, number)
        if lease is None:
            return Renewed(outcomes=outcomes | dict.fromkeys(places, Renewal.SESSION_LOST))
        ids = list(places)
        try:
            for start in range(0, len(ids), _CHUNK):
                chunk = {i: places[i] for i in ids[start : start + _CHUNK]}
                outcomes |= self._prove(talk, chunk, lease)
        except BackendUnavailable:
            if not outcomes:  # otherwise some have their answer
                raise
        return Renewed(outcomes=outcomes, ttl=lease.ttl, sent_at=lease.sent_at)

    def release(self, attempt: Attempt) -> None:
        self._stop_waiting(attempt)
        self._places.pop(attempt.attempt_id, None)
        talk, key = self._connection.talk(), self._keys.of(attempt)
        lease = self._unanswered.get(attempt.attempt_id)
        if lease is None:
            talk.txn(success=[delete(key)])
            return
        try:  # what a server has yet to carry out finds a tombstone, and does nothing
            talk.txn(success=[delete(key), put(self._keys.tombstone(attempt), b"", lease)])
        except LeaseGone:  # then it will fail without
            talk.txn(success=[delete(key)])
        self._unanswered.pop(attempt.attempt_id, None)

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
        self._lease.end(talk)
        self._watcher.close(talk.left)
        self._connection.close()

    def abandon(self) -> None:
        self._watcher.abandon()
        self._connection.abandon()
        self._lease.start()
        self._start()

    def _look(self, talk: Talk, attempt: Attempt, lease: Lease) -> _View | None:
        """Where it stands in the queue; None: nowhere any more."""
        place = self._places.get(attempt.attempt_id)
        if place is None or place.lease != lease.number:
            return None
        before = self._keys.newest(attempt.election, 1, before=place.revision)
        answer = talk.txn(success=[get(place.key), read(before)])
        if not place.is_intact(own := found_in(answer, 0)):
            _remove(talk, own)
            return None
        return _View(place, next(iter(found_in(answer, 1)), None), answer.header)

    def _enter(self, talk: Talk, attempt: Attempt, lease: Lease) -> _View | None:
        """Queue it, once, whatever became of earlier requests. None: again, please."""
        attempt_id, key = attempt.attempt_id, self._keys.of(attempt)
        tombstone = self._keys.tombstone(attempt)
        was_answered = self._unanswered.get(attempt_id) != lease.number
        self._unanswered[attempt_id] = lease.number
        try:
            answer = talk.txn(
                compare=[is_at(key, 0), is_at(tombstone, 0)],
                success=[
                    put(key, pack(attempt), lease.number),
                    read(self._keys.newest(attempt.election, 2)),
                ],
                failure=[get(key)],
                repeat=False,
            )
        except LeaseGone:
            return None
        found = found_in(answer, -1)
        if not found:  # it was released, and asks again nevertheless: a term of its own
            talk.txn(success=[delete(tombstone)])
            return None
        if was_answered:
            self._unanswered.pop(attempt_id, None)
        place = Place(key, found[0].create_revision, lease.number)
        if answer.succeeded:
            self._places[attempt_id] = place
            return _View(place, found[1] if len(found) > 1 else None, answer.header)
        if not place.is_intact(found):
            _remove(talk, found)
            return None
        self._places[attempt_id] = place  # an earlier request was carried out
        return self._look(talk, attempt, lease)

    def _wait_for(self, talk: Talk, attempt: Attempt, view: _View) -> None:
        """Have it woken when the one before it goes, also if that has happened by now."""
        stop = self._watcher.watch(
            view.before.key, b"", attempt.wake, since=view.header.revision + 1
        )
        self._stop_waiting(attempt)  # for the one that was before it until now
        self._waits[attempt.attempt_id] = stop
        if view.before.lease == 0:
            self._outlast(talk, view.before)

    def _stop_waiting(self, attempt: Attempt) -> None:
        if stop := self._waits.pop(attempt.attempt_id, None):
            stop()

    def _outlast(self, talk: Talk, stray: Any) -> None:
        """Remove a key that something else has written, and that would block the queue for ever.

        Not at once: if it is a leader's, that one learns by its next heartbeat that it is no more.
        """
        revision, since = self._strays.get(stray.key, (0, 0.0))
        if revision != stray.mod_revision:
            self._strays[stray.key] = (stray.mod_revision, time.monotonic())
        elif time.monotonic() - since > self.settings.ttl:
            _remove(talk, [stray])
            self._strays.pop(stray.key, None)

    def _prove(
        self, talk: Talk, places: Mapping[str, Place], lease: Lease
    ) -> Mapping[str, Renewal]:
        """Which of the keys are as they were created, after the lease was kept alive."""
        answer = talk.txn(
            compare=[is_at(place.key, place.revision) for place in places.values()],
            # Also where nothing differs: etcd answers a transaction that could read nothing
            # without asking the other servers.
            failure=[get(place.key) for place in places.values()],
        )
        _check_same_term(lease, answer.header)
        outcomes = dict.fromkeys(places, Renewal.RENEWED)
        if not answer.succeeded:
            for number, (attempt_id, place) in enumerate(places.items()):
                if not place.is_intact(found_in(answer, number)):
                    outcomes[attempt_id] = Renewal.TAKEN
        return outcomes


def _remove(talk: Talk, found: Sequence[Any]) -> None:
    """Delete keys, unless they were written to since they were read."""
    for kv in found:
        talk.txn(compare=[is_at(kv.key, kv.mod_revision)], success=[delete(kv.key)])


def _check_same_term(lease: Lease, header: Any) -> None:
    if header.raft_term != lease.term:
        raise BackendUnavailable("etcd has elected another leader of its own meanwhile")


def _source_of(header: Any) -> str:
    return f"etcd:{header.cluster_id:x}"
