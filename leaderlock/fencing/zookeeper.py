"""Writes into ZooKeeper that are carried out only for the present leader. See `StoreFence`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kazoo.exceptions import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
)
from kazoo.protocol.serialization import (
    CheckVersion,
    Create,
    Delete,
    Exists,
    GetData,
    SetData,
    Sync,
    Transaction,
)

from leaderlock.backends.zookeeper.backend import ZooKeeperBackend
from leaderlock.backends.zookeeper.connection import Talk
from leaderlock.errors import BackendRefused, ConfigurationError
from leaderlock.fencing.store import StoreFence
from leaderlock.tokens import FencingToken

_ANY = -1  # version
_PERSISTENT = 0


class _Place(NamedTuple):
    """The leader's node. One that was deleted and made again has another version."""

    path: str
    version: int


class ZooKeeperFence(StoreFence[ZooKeeperBackend]):
    """Nodes in ZooKeeper, written in one transaction with a check of the leader's own node.

    Keys are paths, "/app/state", below the path of the elector's URL. Nodes above them are made
    where they are missing. One transaction is at most 1 MB (jute.maxbuffer).
    """

    _schemes = ZooKeeperBackend.schemes

    def read(self, key: str) -> bytes | None:
        path = self._path(key)
        with self._backend._connection.talk() as talk:
            talk.ask(Sync(path))
            try:
                return bytes(talk.ask(GetData(path, None))[0])
            except NoNodeError:
                return None

    def _own_prefix(self) -> str:
        return f"/{self._backend._nodes._base.rpartition('/')[2]}/"

    def _require_key(self, key: str) -> None:
        super()._require_key(key)
        parts = key.split("/")[1:]
        if not key.startswith("/") or any(part in ("", ".", "..") for part in parts):
            raise ConfigurationError(f"{key!r} is not the path of a node: write /app/state")

    def _path(self, key: str) -> str:
        return self._backend._nodes._base.rpartition("/")[0] + key

    def _find(self, token: FencingToken) -> _Place | None:
        nodes = self._backend._nodes
        with self._backend._connection.talk() as talk:
            queue = nodes.queue(talk, nodes.parent(self.resource))
            if not queue:
                return None
            path = queue[0].path
            try:
                value, stat = talk.ask(GetData(path, None))
                if stat.czxid == token.value and stat.version == 0:
                    # Its leader will write it with the next heartbeat. Until then it could not be
                    # told from one that was deleted and made again.
                    stat = talk.ask(SetData(path, value, 0))
            except (NoNodeError, BadVersionError):
                return None
            return _Place(path, stat.version) if stat.czxid == token.value else None

    def _commit(
        self,
        token: FencingToken,
        place: _Place,
        puts: Mapping[str, bytes],
        deletes: tuple[str, ...],
    ) -> bool:
        with self._backend._connection.talk() as talk:
            operations: list[Any] = [CheckVersion(place.path, place.version)]
            acl = self._backend._nodes._acl
            made: set[str] = set()
            for key, value in puts.items():
                path = self._path(key)
                if path in made or self._exists(talk, path):
                    operations.append(SetData(path, value, _ANY))
                    continue
                for missing in reversed(self._missing_above(talk, path, made)):
                    operations.append(Create(missing, b"", acl, _PERSISTENT))
                    made.add(missing)
                operations.append(Create(path, value, acl, _PERSISTENT))
                made.add(path)
            gone = [path for path in map(self._path, deletes) if self._exists(talk, path)]
            operations += [Delete(path, _ANY) for path in gone]
            return _was_carried_out(talk.ask(Transaction(operations)))

    def _exists(self, talk: Talk, path: str) -> bool:
        return talk.ask(Exists(path, None)) is not None

    def _missing_above(self, talk: Talk, path: str, made: set[str]) -> list[str]:
        """The lowest first."""
        missing = []
        parent = path.rpartition("/")[0]
        while parent and parent not in made and not self._exists(talk, parent):
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        return missing


def _was_carried_out(answers: list[object]) -> bool:
    """False: the leader's node, or one that was to be written, is not as it was."""
    failures = [
        answer
        for answer in answers
        if isinstance(answer, Exception) and not isinstance(answer, RolledBackError)
    ]
    if not any(isinstance(answer, Exception) for answer in answers):
        return True
    # The first failure is the reason; what comes after it was not tried.
    if failures and isinstance(failures[0], NotEmptyError):
        raise BackendRefused("a node that has children cannot be deleted: name them before it")
    if failures and not isinstance(failures[0], NoNodeError | BadVersionError | NodeExistsError):
        raise failures[0]
    return False
