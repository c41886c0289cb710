"""Which cluster issues the tokens.

Consul has no name for a cluster that lasts and that every token may read: the datacenter is called
dc1 nearly everywhere. So the first candidate of a namespace writes one into it.
"""

from __future__ import annotations

import sys
import uuid

from leaderlock.backends.consul.connection import Connection, Entry


def name_of(entry: Entry) -> str:
    """Empty: nobody has ever campaigned."""
    if not entry.index:
        return ""
    return sys.intern("consul:" + entry.value.decode("ascii", "replace"))  # thousands have it


class Source:
    """The key `<namespace>/source`. It does not change once it is written.

    It is read in the transaction that takes a lock, for another cluster may stand in the place of
    this one by now, or this one have lost its data.

    Attributes:
        key: where the name stands.
    """

    def __init__(self, store: Connection, prefix: str) -> None:
        self.key = prefix + "source"
        self._store = store
        # With the session that held a lock beside it: where that lives on, it is the same cluster.
        # One attribute, for threads that read while one writes.
        self._known = b"", ""

    def read(self) -> Entry:
        """As it is in the store now."""
        return self._store.read(self.key)

    def note(self, entry: Entry, session: str) -> None:
        """The entry was read where this session held a lock."""
        self._known = entry.value, session

    def write(self, session: str) -> None:
        """It is missing: put it there, unless somebody else is quicker.

        If an operator has deleted it while our session lives, the cluster keeps its name.
        """
        name, noted_with = self._known
        if not name or noted_with != session:
            name = uuid.uuid4().hex.encode()
        self._store.write(Entry(self.key), "set", name)
