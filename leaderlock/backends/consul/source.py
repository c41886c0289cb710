"""Which cluster issues the tokens.

Consul has no name for a cluster that lasts and that every token may read: the datacenter is called
dc1 nearly everywhere. So the first candidate of a namespace writes one into it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from leaderlock.backends.consul.connection import Connection, Entry


class Source:
    """The key `<namespace>/source`. It does not change once it is written."""

    def __init__(self, store: Connection, prefix: str) -> None:
        self._store = store
        self._key = prefix + "source"
        self._known = ""

    def read(self) -> str:
        """Empty: nobody has ever campaigned."""
        if not self._known:
            entry = self._store.read(self._key)
            if entry.index:
                self._known = "consul:" + entry.value.decode("ascii", "replace")
        return self._known

    def make(self) -> str:
        """Write it, unless somebody else was quicker."""
        name = self._known.removeprefix("consul:") or uuid.uuid4().hex
        self._store.write(Entry(self._key), "set", name.encode())
        return self.read()

    def restore(self, entries: Mapping[str, Entry]) -> None:
        """Write it again when an operator has deleted it: it still is the same cluster."""
        if self._known and self._key not in entries:
            self.make()
