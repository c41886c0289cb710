"""Which cluster issues the tokens.

Consul has no name for a cluster that lasts and that every token may read: the datacenter is called
dc1 nearly everywhere. So the first candidate of a namespace writes one into it.
"""

from __future__ import annotations

import uuid

from leaderlock.backends.consul.connection import Connection, Entry


def name_of(entry: Entry) -> str:
    """Empty: nobody has ever campaigned."""
    return "consul:" + entry.value.decode("ascii", "replace") if entry.index else ""


class Source:
    """The key `<namespace>/source`. It does not change once it is written.

    What is remembered of it counts only for locks, which are bound to it: another cluster may
    stand in the place of this one by now, or this one have lost its data.

    Attributes:
        key: where the name stands.
    """

    def __init__(self, store: Connection, prefix: str) -> None:
        self.key = prefix + "source"
        self._store = store
        # With the session that a lock was taken under while the entry was there: where the session
        # lives on, it is the same cluster. One attribute, for threads that read while one writes.
        self._known = Entry(self.key), ""

    def read(self) -> Entry:
        """As it is in the store now."""
        return self._store.read(self.key)

    def find(self) -> Entry:
        """What a lock is to be bound to; the first candidate writes it."""
        known, _ = self._known
        if not known.index:
            known = self.read()
        return known if known.index else self._write(uuid.uuid4().hex.encode())

    def note(self, entry: Entry, session: str) -> None:
        """A lock was taken under this session, and the entry was there."""
        self._known = entry, session

    def look_again(self, session: str) -> None:
        """It is not what it was. If an operator has deleted it, the cluster keeps its name."""
        (known, noted_with), found = self._known, self.read()
        if noted_with == session and not found.index:
            found = self._write(known.value)
        self._known = found, session if noted_with == session else ""

    def _write(self, name: bytes) -> Entry:
        """Unless somebody else was quicker."""
        self._store.write(Entry(self.key), "set", name)
        return self.read()
