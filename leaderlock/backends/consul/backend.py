"""Elections in Consul: one session for all that a client leads, one key for each election.

    consul://127.0.0.1:8500                     the agent of this machine
    consuls://a:8501,b:8501,c:8501?ca=ca.pem    TLS, and hosts that are asked in turn

Whoever has locked the key `<namespace>/<election>/leader` leads; its value names the attempt. The
token is the ModifyIndex of the write that took the lock. A heartbeat renews the session, then
reads all keys by a majority of the servers: a term is proved by the key being held by our session
and with our value, for a session alone says nothing of a key that was deleted or taken.

Of all clients that wait, three are told when the lock is free: `Heirs`.

Every write is a transaction that is bound to the index of the reading it follows from. So two
attempts of one session cannot both lock a key, though to Consul they are the same (a lock taken
again by its session succeeds); and what a server carries out after we have given up does nothing.

What it does not promise:

* A quick fail-over. Consul ends a session up to two ttl after its last renewal, and then keeps
  everybody out for the lock-delay: `timing.worst_case_failover` says how long that may be.
* That terms do not overlap when an operator releases or deletes a leader's key. There is no
  lock-delay then, and the leader hears of it with its next heartbeat. Its writes are fenced.
* A term that outlives a foreign write to its key: that ends it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

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
from leaderlock.backends.consul.connection import Connection, Entry, Outcome
from leaderlock.backends.consul.heirs import LEADER, PATIENCE, Heirs
from leaderlock.backends.consul.line import Line
from leaderlock.backends.consul.locks import Locks
from leaderlock.backends.consul.session import OurSession
from leaderlock.backends.consul.source import Source, name_of
from leaderlock.backends.consul.target import LONGEST_LOCK_DELAY, OPTIONS, Target, target_of
from leaderlock.backends.consul.waiting import Watcher
from leaderlock.backends.layout import key_part, unpack
from leaderlock.capabilities import Capabilities
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.url import Option, StoreURL

_BELIEF_RATIO = 2 / 3
_POLL = 1.0
_TRIES = 5
_NET = 10  # times the ttl: heirs and heartbeats notice everything before that, as far as we know


class ConsulBackend(Backend):
    """The elections in one datacenter."""

    schemes = ("consul", "consuls")
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, target: Target, settings: Settings, lock_delay: float | None = None) -> None:
        super().__init__(settings)
        self._capabilities = _capabilities(lock_delay)
        self._lock_delay = lock_delay or min(settings.ttl, LONGEST_LOCK_DELAY)
        self._prefix = key_part(settings.namespace) + "/"
        self._store = Connection(target, settings.request_timeout)
        self._session = OurSession(self._store, settings, self._lock_delay)
        self._source = Source(self._store, self._prefix)
        self._locks = Locks(self._store)
        self._line = Line()
        self._heirs = Heirs(
            self._store, self._session, self._line, self._lock_delay, self._locks.note_free
        )
        self._watcher = Watcher(target, self._prefix, self._heirs)
        self._closed = False

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        target_of(url)
        return _capabilities(url.options.get("lock_delay"))

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(target_of(url), settings, url.options.get("lock_delay"))

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        folder, found = self._folder(attempt.election), None
        is_new = self._line.join(folder, attempt)
        with self._store.deadline():
            seen = self._locks.noted(folder + LEADER, attempt)
            for _ in range(_TRIES):
                if seen is None:
                    found = self._store.read_all(folder)
                    seen = found.get(folder + LEADER, Entry(folder + LEADER))
                answer = self._contend(folder, attempt, seen)
                if isinstance(answer, Granted):
                    return answer
                if answer is not Outcome.CHANGED:
                    break
                seen = None
            is_heir = self._line.is_first(folder, attempt) and self._is_heir(folder, found, is_new)
        if answer is Outcome.DELAYED and is_heir and seen is not None:
            self._locks.note_free(seen)
        elif answer is not Outcome.CHANGED:
            return Waiting(retry_after=random.uniform(0.5, 1.0) * _NET * self.settings.ttl)
        # Nobody is told of the end of a lock-delay, not by a blocking query either.
        return Waiting(retry_after=random.uniform(0.5, 1.0) * min(_POLL, self._lock_delay / 4))

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        if not attempts:
            return Renewed(outcomes={})
        with self._store.deadline():
            session, sent_at = self._session.id, self.settings.clock.now()
            alive = self._session.renew(session)
            waiting = {
                a.attempt_id for a in attempts if self._line.has(self._folder(a.election), a)
            }
            leads = alive and len(waiting) < len(attempts)
            entries: Mapping[str, Entry] = {}
            if is_read := leads or self._heirs.is_look_due() or (waiting and not alive):
                # A server that was deposed may still renew; it cannot answer this reading.
                entries = self._store.read_all(self._prefix)
            outcomes = {}
            for attempt in attempts:
                claim, entry = self._locks.find(attempt), entries.get(self._key(attempt.election))
                found = (entry.session, entry.attempt_id) if entry else None
                is_ours = alive and found == (session, attempt.attempt_id)
                if is_ours or attempt.attempt_id in waiting:
                    outcomes[attempt.attempt_id] = Renewal.RENEWED
                elif claim and claim.session and not (alive and claim.session == session):
                    outcomes[attempt.attempt_id] = Renewal.SESSION_LOST
                else:
                    outcomes[attempt.attempt_id] = Renewal.TAKEN
            if is_read:
                with contextlib.suppress(
                    BackendUnavailable, BackendRefused
                ):  # there is a next time
                    self._look_after(session if alive else "", entries)
        return Renewed(outcomes=outcomes, sent_at=sent_at)

    def release(self, attempt: Attempt) -> None:
        folder, claim = self._folder(attempt.election), self._locks.find(attempt)
        self._line.leave(folder, attempt)
        with self._store.deadline():
            if claim is not None:
                claim.retired = True
                self._locks.give_back(claim)
            self._heirs.leave(folder)

    def leader(self, election: str) -> Reading:
        with self._store.deadline():
            entry, found = self._store.read_both(self._key(election), self._source.key)
        source = name_of(found)
        record = unpack(entry.value) if entry.session else None
        if record is None:
            return Reading(token=entry.flags or entry.index, source=source)
        return Reading(payload=record[1], token=entry.index, source=source)

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        return self._watcher.watch(self._key(election), wake)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # What cannot be given back in time runs out by itself: nobody renews the session.
        with contextlib.suppress(BackendUnavailable, BackendRefused), self._store.deadline():
            for claim in self._locks.all():
                self._locks.give_back(claim)  # before the session ends: that begins a lock-delay
            self._heirs.leave_all()
            self._session.end()
        self._store.close()
        self._watcher.close(self.settings.request_timeout)

    def abandon(self) -> None:
        self._store.abandon()
        self._watcher.abandon()
        self._session.abandon()
        self._locks.forget_all()
        self._line.forget_all()
        self._heirs.forget_all()

    def _contend(self, folder: str, attempt: Attempt, seen: Entry) -> Granted | Outcome:
        """CHANGED: look again."""
        is_own = seen.attempt_id == attempt.attempt_id and seen.session == self._session.id
        if seen.session and not is_own:
            return Outcome.HELD
        session, sent_at = self._session.keep()
        place = self._heirs.key_without(folder, attempt)
        if not seen.session:
            outcome, claim, source = self._locks.take(
                attempt, seen, session, self._source.key, place
            )
            if outcome is Outcome.NO_SOURCE:
                self._source.write(session)
            if outcome is Outcome.NO_SESSION:
                self._session.doubt()
            if outcome is not Outcome.DONE:
                return outcome if outcome is Outcome.DELAYED else Outcome.CHANGED
        elif seen.session == session:
            claim = self._locks.adopt(attempt, seen)  # asked again after a lost reply
            source = self._source.read()
            if not source.index:
                self._source.write(session)
                return Outcome.CHANGED
        else:
            return Outcome.CHANGED
        self._source.note(source, session)
        self._line.leave(folder, attempt)
        self._heirs.elected(folder, is_gone=bool(place))
        return Granted(token=claim.token, source=name_of(source), sent_at=sent_at)

    def _is_heir(self, folder: str, found: Mapping[str, Entry] | None, is_new: bool) -> bool:
        """Whether this client is told when the lock is free."""
        if found is None:  # there was no need to look
            if self._heirs.is_one(folder):
                return True
            found = self._store.read_all(folder)
        is_heir = self._heirs.apply(folder, found, is_new=is_new)
        if is_heir:
            self._watcher.start()
        return is_heir

    def _look_after(self, session: str, entries: Mapping[str, Entry]) -> None:
        """What a heartbeat has to do besides, in a session that lives, if there is one."""
        self._heirs.look_after(entries)
        if self._heirs:
            self._watcher.start()
        if session:
            ours = [e for k, e in entries.items() if e.session == session and k.endswith(LEADER)]
            self._locks.sweep(ours)
            if self._source.key not in entries:
                self._source.write(session)

    def _key(self, election: str) -> str:
        return self._folder(election) + LEADER

    def _folder(self, election: str) -> str:
        return f"{self._prefix}{key_part(election)}/"


def _capabilities(lock_delay: float | None) -> Capabilities:
    return Capabilities(
        linearizable=True,
        event_driven=True,
        min_ttl=1.0,
        # When a session is destroyed, only the lock-delay keeps others out while its leader still
        # believes: it has to last for the belief window.
        max_ttl=LONGEST_LOCK_DELAY / _BELIEF_RATIO,
        belief_ratio=_BELIEF_RATIO,
        # Consul doubles every ttl (SessionTTLMultiplier); by default the lock-delay is another one.
        expiry_factor=3.0 if lock_delay is None else 2.0,
        expiry_slack=0.5,
        hold_off=lock_delay or 0.0,
        hold_off_option="lock_delay" if lock_delay else "",
        notice=_POLL + PATIENCE,
        renews_waiting=True,
    )
