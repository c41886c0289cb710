"""The queues of candidates, and the places of our own in them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from leaderlock.backends.base import Attempt, Renewal
from leaderlock.backends.etcd.connection import LeaseGone, Talk
from leaderlock.backends.etcd.keys import Keys, Place, delete, found_in, get, is_at, put, read
from leaderlock.backends.etcd.lease import FOR_A_PLACE, Lease, SharedLease
from leaderlock.backends.layout import pack
from leaderlock.errors import BackendRefused, BackendUnavailable

_CHUNK = 128  # keys in one request: etcd's --max-txn-ops
_MANY = 4 * _CHUNK  # of our own, so that listing all keys is less than asking for each
_PAGE = 5000  # keys of 370 bytes at most in one answer, of which gRPC takes 4 MiB
_OTHERS = 4  # times as many keys as our own, or more, in a namespace: too many to list


class View(NamedTuple):
    """A place in a queue, the key before it if there is one, and the answer's header."""

    place: Place
    before: Any
    header: Any


class Queue:
    """Our places in the queues of all elections.

    Attributes:
        places: by attempt id.
    """

    def __init__(self, keys: Keys, lease: SharedLease, ttl: float) -> None:
        self._keys = keys
        self._lease = lease
        self._ttl = ttl
        self.start()

    def start(self) -> None:
        """Begin without a place; also in a forked child."""
        self.places: dict[str, Place] = {}
        # Pages of the last listing, by digest, if all was intact: one that is the same still is.
        self._pages: dict[bytes, Mapping[str, Place]] = {}
        self._unanswered: dict[str, int] = {}  # by attempt: may still be queued, under that lease
        self._strays: dict[bytes, tuple[int, float]] = {}  # by key: revision, when first seen

    def find(self, talk: Talk, attempt: Attempt) -> tuple[View, Lease]:
        """Where it stands, and the lease, heard of before; queues it if it has no place."""
        while True:  # as long as somebody interferes, and there is time
            if place := self.places.get(attempt.attempt_id):
                lease = self._lease.heard(place.lease, FOR_A_PLACE)
                lease = lease or self._lease.keep_alive(talk, place.lease)
                if lease and (view := self._look(talk, attempt, place)):
                    return view, lease
            lease = self._lease.alive(talk)
            if view := self._enter(talk, attempt, lease):
                return view, lease

    def leave(self, talk: Talk, attempt: Attempt) -> None:
        """Give the place up, also one that a server has yet to give."""
        place = self.places.pop(attempt.attempt_id, None)
        lease = self._unanswered.get(attempt.attempt_id)
        late = [] if lease is None else [put(self._keys.tombstone(attempt), b"", lease)]
        gone = delete(self._keys.of(attempt))
        try:
            try:  # what is carried out late finds a tombstone, and does nothing
                talk.txn(success=[gone, *late])
            except LeaseGone:  # then it will fail without
                talk.txn(success=[gone])
        except (BackendUnavailable, BackendRefused):
            # Nobody may ask again, and others would keep its lease alive, and the key in the way.
            self._retire(lease or (place.lease if place else 0))
            raise
        self._unanswered.pop(attempt.attempt_id, None)

    def renew(
        self, talk: Talk, lease: Lease, attempts: Sequence[Attempt]
    ) -> Iterator[Mapping[str, Renewal]]:
        """What became of those under a lease, after it was kept alive; some at a time."""
        known = self._with_places(attempts)
        listed = self._prove_by_listing(talk, known, lease) if len(known) > _MANY else {}
        if listed:
            yield listed
        # What is not as it was written is looked at closely.
        for chunk in _chunks([a for a in attempts if a.attempt_id not in listed]):
            yield self._prove(talk, chunk, lease)
        if not self._lease.is_present(lease):
            self._move(talk, attempts)

    def outlast(self, talk: Talk, stray: Any) -> None:
        """Remove a key that something else has written, and that would block the queue for ever.

        Not at once: if it is a leader's, that one learns by its next heartbeat that it is no more.
        """
        revision, since = self._strays.get(stray.key, (0, 0.0))
        if revision != stray.mod_revision:
            self._strays[stray.key] = (stray.mod_revision, time.monotonic())
        elif time.monotonic() - since > self._ttl:
            _remove(talk, [stray])
            self._strays.pop(stray.key, None)

    def _retire(self, number: int) -> None:
        self._lease.retire(number)
        in_use = {self._lease.number, *(place.lease for place in list(self.places.values()))}
        for attempt_id, lease in list(self._unanswered.items()):
            if lease not in in_use:  # whatever comes late under it runs out
                self._unanswered.pop(attempt_id, None)

    def _look(self, talk: Talk, attempt: Attempt, place: Place) -> View | None:
        """Where it stands in the queue; None: nowhere any more."""
        before = self._keys.newest(attempt.election, 1, before=place.revision)
        answer = talk.txn(success=[get(place.key), read(before)])
        if not place.is_intact(own := found_in(answer, 0)):
            self.places.pop(attempt.attempt_id, None)
            _remove(talk, own)
            return None
        return View(place, next(iter(found_in(answer, 1)), None), answer.header)

    def _enter(self, talk: Talk, attempt: Attempt, lease: Lease) -> View | None:
        """Queue it, once, whatever became of earlier requests. None: again, please."""
        attempt_id, key = attempt.attempt_id, self._keys.of(attempt)
        tombstone = self._keys.tombstone(attempt)
        was_answered = attempt_id not in self._unanswered
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
            self._lease.doubt(lease.number)
            return None
        except BackendRefused:  # which is an answer: nothing of it comes late
            if was_answered:
                self._unanswered.pop(attempt_id, None)
            raise
        found = found_in(answer, -1)
        if not found:  # it was released, and asks again nevertheless: a term of its own
            talk.txn(success=[delete(tombstone)])
            return None
        if was_answered:
            self._unanswered.pop(attempt_id, None)
        place = Place(key, found[0].create_revision, found[0].create_revision, lease.number)
        if answer.succeeded:
            self.places[attempt_id] = place
            return View(place, found[1] if len(found) > 1 else None, answer.header)
        if not place.is_intact(found):
            _remove(talk, found)
            return None
        self.places[attempt_id] = place  # an earlier request was carried out
        return self._look(talk, attempt, place)

    def _prove(
        self, talk: Talk, attempts: Sequence[Attempt], lease: Lease
    ) -> Mapping[str, Renewal]:
        """Which of the keys are as they were written."""
        outcomes = {attempt.attempt_id: Renewal.TAKEN for attempt in attempts}
        known = self._with_places(attempts)
        answer = talk.txn(
            compare=[is_at(place.key, place.modified) for _, place in known],
            # Also where nothing differs: etcd answers a transaction that could read nothing
            # without asking the other servers.
            failure=[get(place.key) for _, place in known],
        )
        self._lease.check_same_term(lease, answer.header)
        for number, (attempt, place) in enumerate(known):
            if answer.succeeded or place.is_intact(found := found_in(answer, number)):
                outcomes[attempt.attempt_id] = Renewal.RENEWED
            elif self._was_moved(attempt, place, found):
                del outcomes[attempt.attempt_id]  # the other lease has to be kept alive
        return outcomes

    def _prove_by_listing(
        self, talk: Talk, known: Sequence[tuple[Attempt, Place]], lease: Lease
    ) -> Mapping[str, Renewal]:
        """Those of many whose keys are as they were written, by one reading of all keys.

        Of the others it says nothing, and nothing at all where most keys are other clients'.
        """
        pages: dict[bytes, Mapping[str, Place]] = {}
        most = _OTHERS * len(known)
        start: bytes | None = b""
        while start is not None:
            request = self._keys.all(start, min(_PAGE, most))
            try:
                answer = talk.ask("range", request)
            except BackendRefused:  # the user may not read other elections
                break
            if answer.count > most:  # from `start` to the end
                break
            # Each reading is linearizable by itself. A key that comes and goes between two of
            # them was not ours, and one of ours has to be seen within the part that it is in.
            self._lease.check_same_term(lease, answer.header)
            start = answer.kvs[-1].key + b"\0" if answer.more else None
            digest = _digest(answer)
            if (found := self._pages.get(digest)) is None:
                found = _intact({place.key: (a.attempt_id, place) for a, place in known}, answer)
            pages[digest] = found
        intact = {attempt_id: at for page in pages.values() for attempt_id, at in page.items()}
        outcomes = {
            attempt.attempt_id: Renewal.RENEWED
            for attempt, place in known
            if intact.get(attempt.attempt_id) is place
        }
        self._pages = pages if len(outcomes) == len(known) else {}
        return outcomes

    def _move(self, talk: Talk, attempts: Sequence[Attempt]) -> None:
        """Put keys under the present lease. They keep their create_revision."""
        lease = self._lease.alive(talk)
        for chunk in _chunks(attempts):
            moving = self._with_places(chunk)
            with suppress(LeaseGone):  # again with a later heartbeat, as if one of them differs
                answer = talk.txn(
                    compare=[is_at(place.key, place.modified) for _, place in moving],
                    success=[put(place.key, pack(a), lease.number) for a, place in moving],
                )
                if answer.succeeded:
                    for attempt, place in moving:
                        self._note_move(attempt, place, answer.header.revision, lease.number)

    def _was_moved(self, attempt: Attempt, place: Place, found: Sequence[Any]) -> bool:
        """Whether that is what `_move` has written, whose answer was lost."""
        ours = (place.revision, self._lease.number, pack(attempt))
        for kv in found:
            if (kv.create_revision, kv.lease, kv.value) == ours:
                self._note_move(attempt, place, kv.mod_revision, kv.lease)
                return True
        return False

    def _note_move(self, attempt: Attempt, place: Place, modified: int, lease: int) -> None:
        if attempt.attempt_id in self.places:
            self.places[attempt.attempt_id] = place._replace(modified=modified, lease=lease)

    def _with_places(self, attempts: Sequence[Attempt]) -> list[tuple[Attempt, Place]]:
        return [(a, place) for a in attempts if (place := self.places.get(a.attempt_id))]


def _chunks(attempts: Sequence[Attempt]) -> Iterator[Sequence[Attempt]]:
    return (attempts[at : at + _CHUNK] for at in range(0, len(attempts), _CHUNK))


def _digest(answer: Any) -> bytes:
    """Of the keys in a listing, and all that it says of them; sooner done than to look at each."""
    for other in "header", "count", "more":
        answer.ClearField(other)
    return sha256(answer.SerializeToString()).digest()


def _intact(awaited: Mapping[bytes, tuple[str, Place]], answer: Any) -> Mapping[str, Place]:
    """The attempts whose keys are listed as they were written."""
    found = {}
    for kv in answer.kvs:
        attempt_id, place = awaited.get(kv.key, ("", None))
        if place is not None and place.is_intact([kv]):
            found[attempt_id] = place
    return found


def _remove(talk: Talk, found: Sequence[Any]) -> None:
    """Delete keys, unless they were written to since they were read."""
    for kv in found:
        talk.txn(compare=[is_at(kv.key, kv.mod_revision)], success=[delete(kv.key)])
