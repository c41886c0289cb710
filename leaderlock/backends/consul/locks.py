"""The locks that the attempts of one client hold, all under one session.

To Consul they are one and the same: a lock that is taken again by its session succeeds, and any
attempt could release that of another. So each write is bound to a reading, by its index, and what
each attempt may have at the store is remembered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from leaderlock.backends.base import Attempt
from leaderlock.backends.consul.connection import Connection, Entry, Outcome, Written
from leaderlock.backends.layout import pack

_MOST_NOTED = 64


@dataclass(slots=True)
class Claim:
    """What an attempt may hold at the store.

    Attributes:
        bound_to: the index that its last request for the lock was bound to.
        unanswered: such a request may still be carried out.
        session: the session of that request.
        token: that of its term; 0: not granted as far as we know.
        retired: its release has been asked for, and not succeeded yet.
    """

    attempt: Attempt
    key: str
    bound_to: int = 0
    unanswered: bool = False
    session: str = ""
    token: int = 0
    retired: bool = False


class Locks:
    """Takes locks, and gives them back."""

    def __init__(self, store: Connection) -> None:
        self._store = store
        self.forget_all()

    def find(self, attempt: Attempt) -> Claim | None:
        """None: it holds nothing, and cannot come to hold anything either."""
        return self._claims.get(attempt.attempt_id)

    def all(self) -> list[Claim]:
        return list(self._claims.values())

    def forget_all(self) -> None:
        """Begin without any; also in a forked child."""
        self._claims: dict[str, Claim] = {}  # by attempt id
        self._free: dict[str, Entry] = {}  # by key

    def note_free(self, entry: Entry) -> None:
        """So the key was seen when nobody held it: the next one that asks for it need not look."""
        self._free[entry.key] = entry
        if len(self._free) > _MOST_NOTED:
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread was quicker
                del self._free[next(iter(self._free))]

    def noted(self, key: str, attempt: Attempt) -> Entry | None:
        """What was noted of the key, once. A request that is bound to what is no more so fails."""
        claim = self.find(attempt)
        if claim is not None and claim.unanswered:
            return None  # that request may be bound to a later reading
        return self._free.pop(key, None)

    def adopt(self, attempt: Attempt, seen: Entry) -> Claim:
        """The attempt was seen to hold the lock: it asked before, and has not heard of it."""
        claim = self._claim(attempt, seen.key)
        claim.session, claim.token = seen.session, claim.token or seen.index
        return claim

    def take(
        self, attempt: Attempt, seen: Entry, session: str, also_read: str, also_delete: str
    ) -> tuple[Outcome, Claim, Entry]:
        """Ask for a lock that was seen to be free, and for another key as it is at that moment."""
        claim = self._claim(attempt, seen.key)
        if claim.bound_to != seen.index:
            claim.bound_to, claim.unanswered = seen.index, False  # what was before fails for sure
        claim.session, claim.token = session, 0
        before, claim.unanswered = claim.unanswered, True
        outcome, claim.token, read = self._store.write(
            seen,
            "lock",
            pack(attempt),
            session=session,
            also_read=also_read,
            also_delete=also_delete,
        )
        claim.unanswered = before
        return outcome, claim, read

    def give_back(self, claim: Claim) -> None:
        """When this returns, the store holds nothing of the attempt, nor will it ever."""
        # As nearly always: it is as we have locked it. If not, nothing is written.
        seen = Entry(claim.key, claim.token, claim.session, pack(claim.attempt))
        is_known = bool(claim.token) and not claim.unanswered
        while claim.token or claim.unanswered:
            if not is_known:
                seen = self._store.read(claim.key)
            is_known = False
            if seen.session and self._holders(seen) == [claim]:
                written = self._unlock(seen, claim.token)
            elif claim.unanswered and not seen.session and seen.index == claim.bound_to:
                # Any write makes the request void that is still on its way.
                tombstone = claim.attempt.attempt_id.encode()
                written = self._store.write(seen, "set", tombstone, flags=seen.flags)
            else:
                break
            if written.outcome is Outcome.DONE:
                break
        self._claims.pop(claim.attempt.attempt_id, None)

    def sweep(self, held: Sequence[Entry]) -> None:
        """Unlock what our session holds for nobody.

        The core gave up releasing it, or it came too late; it would stay locked for as long as the
        session lives.
        """
        for claim in self.all():
            if claim.retired:
                self.give_back(claim)
        for seen in held:
            if all(claim.retired for claim in self._holders(seen)):
                self._unlock(seen)

    def _claim(self, attempt: Attempt, key: str) -> Claim:
        claim = self._claims.setdefault(attempt.attempt_id, Claim(attempt, key))
        claim.retired = False
        return claim

    def _unlock(self, seen: Entry, token: int = 0) -> Written:
        # The flags tell those who ask which was the last term.
        flags = token or seen.index
        written = self._store.write(seen, "unlock", seen.value, session=seen.session, flags=flags)
        if written.outcome is Outcome.DONE:
            self.note_free(Entry(seen.key, written.modified, "", seen.value, flags))
        return written

    def _holders(self, seen: Entry) -> list[Claim]:
        """Whose lock it may be. Several attempts', if somebody has written over the value."""
        named = self._claims.get(seen.attempt_id or "")
        if named is not None:
            return [named]
        return [
            claim
            for claim in self.all()
            if (claim.key, claim.session) == (seen.key, seen.session)
            and (claim.token or claim.unanswered)
        ]
