"""What stands in the tree, and how it is read and written.

<root>/<namespace>                 persistent; its value names the ensemble
<root>/<namespace>/<election>      persistent
.../<attempt id>-n_<number>        ephemeral, one for each candidate; the lowest leads
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError
from kazoo.protocol.serialization import (
    Create,
    Create2,
    Delete,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    SetData,
    Sync,
)

from leaderlock.backends.base import Attempt, Reading, Renewal
from leaderlock.backends.layout import key_part, pack, unpack
from leaderlock.backends.zookeeper.connection import Talk
from leaderlock.backends.zookeeper.place import Candidate, Node, Place, queue_of
from leaderlock.backends.zookeeper.requests import (
    EPHEMERAL_SEQUENTIAL,
    Answer,
    Checks,
    check,
    write,
)
from leaderlock.backends.zookeeper.target import Target
from leaderlock.clock import Clock
from leaderlock.errors import BackendUnavailable, ConfigurationError

_SOURCE = "zookeeper:"
_ID = re.compile(rb"[0-9a-f-]{8,40}")
_ANY = -1  # version
_PERSISTENT = 0
_MOST_CHECKS = 500  # in one transaction: a request has to be smaller than 1 MB
_MOST_BYTES = 500_000  # of values in it

Claim = tuple[Attempt, Place, Node]
"""An attempt that says that this node is its own."""


class Line(NamedTuple):
    """Where a place stands.

    Attributes:
        node: its own.
        ahead: those in front of it.
        proved_at: when the write was asked for that has just proved it.
    """

    node: Node
    ahead: Sequence[Candidate]
    proved_at: float


class Nodes:
    """The nodes of one namespace."""

    def __init__(self, target: Target, namespace: str, clock: Clock) -> None:
        self._acl = target.acl
        self._clock = clock
        self._base = f"{target.root}/{key_part(namespace)}"
        if self._base == "/zookeeper":
            raise ConfigurationError(
                "namespace='zookeeper' is ZooKeeper's own: take another, or a path in the URL"
            )
        self._source = ""
        self._is_first = False  # the last candidate of an election that nobody had entered before

    def parent(self, election: str) -> str:
        """The election's node."""
        return f"{self._base}/{key_part(election)}"

    # For candidates

    def line_up(self, talk: Talk, attempt: Attempt, place: Place) -> Line | None:
        """Have one node in the queue, and see where it stands; None: look again.

        A write proves the node, its creation as well as any other, and a listing that was asked
        for with it shows who stands in front: the requests of a session are carried out in their
        order, so that it is at least as new.
        """
        sent_at, queue = self._clock.now(), list[Candidate]()
        if place.node is not None:
            written = talk.send(_writing(attempt, place.node))
            queue = self.queue(talk, place.parent)
            place.node = self._take_write(talk, place, written)
        elif place.unheard:  # it may be there: let the server catch up
            talk.ask(Sync(place.parent))
            queue = self.queue(talk, place.parent)
        if not _of(place, queue):
            sent_at = self._clock.now()
            queue = self._create(talk, attempt, place)
        match _of(place, queue):
            case []:
                return None
            case [first, *spares] if place.node is not None and place.node.path == first.path:
                for spare in spares:
                    self.delete(talk, spare.path)
                return Line(place.node, queue[: queue.index(first)], sent_at)
            case [first, *_]:
                place.node = self._adopt(talk, place, first)
        return None

    def confirm(self, talk: Talk, attempt: Attempt, place: Place) -> Node | None:
        """Write the own node: the proof that it is there, and that it is the one we made.

        A node that somebody has deleted and made again has the version 0; this one has a higher
        one from now on, and that is what the heartbeats check.
        """
        if (node := place.node) is None:
            return None
        written = self._take_write(talk, place, talk.send(_writing(attempt, node)))
        if written is not None and place.node is node:  # otherwise a campaign has replaced it
            place.node = written
        return written

    def prove(self, talk: Talk, claims: Mapping[str, Claim]) -> dict[str, Renewal]:
        """Ask whether all these nodes are there, by transactions of nothing but checks.

        A leader's node that was never written since its creation is written, once: see `confirm`.
        """
        outcomes: dict[str, Renewal] = {}
        checks = deque((chunk, _check(talk, claims, chunk)) for chunk in _chunks(claims))
        while checks:
            chunk, answer = checks.popleft()
            answers = talk.wait(answer)
            if not any(isinstance(each, Exception) for each in answers):
                outcomes |= dict.fromkeys(chunk, Renewal.RENEWED)
                for attempt_id, stat in zip(chunk, answers, strict=True):
                    _, place, node = claims[attempt_id]
                    if stat is True:
                        continue
                    if not _is_of(stat, place, node):
                        outcomes[attempt_id] = Renewal.TAKEN
                    elif place.node is node:
                        place.node = node._replace(version=stat.version)
            elif len(chunk) > 1:
                # One that fails undoes all, and only the first is told: ask for each by itself.
                checks += [([one], _check(talk, claims, [one])) for one in chunk]
            else:
                attempt, place, _ = claims[chunk[0]]
                outcomes[chunk[0]] = self._judge(talk, answers[0], attempt, place)
        return outcomes

    def _judge(self, talk: Talk, error: Exception, attempt: Attempt, place: Place) -> Renewal:
        match error:
            case NoNodeError():
                return Renewal.TAKEN
            case BadVersionError():
                # Somebody has written to it, which takes nothing from us: write it anew. Or it
                # is another node.
                node = self.confirm(talk, attempt, place)
                return Renewal.TAKEN if node is None else Renewal.RENEWED
            case _:
                raise error

    def withdraw(self, talk: Talk, place: Place) -> None:
        """Delete what an attempt has made, as far as it is there."""
        if not place.unheard:
            if place.node is not None:
                self.delete(talk, place.node.path)
            return
        talk.ask(Sync(place.parent))
        for candidate in self.queue(talk, place.parent):
            if candidate.attempt_id == place.attempt_id:
                self.delete(talk, candidate.path)

    def find_source(self, talk: Talk) -> str:
        """ZooKeeper has no name for an ensemble: the namespace's node carries one.

        Written with that node, and again by whoever knows it if somebody has deleted the node.
        Of a node that was made by hand, with another value, its creation is the name.
        """
        if not self._source:
            try:
                value, stat = talk.ask(GetData(self._base, None))
            except NoNodeError:
                return ""
            own = value.decode() if _ID.fullmatch(value) else f"{stat.czxid:x}-{stat.ctime:x}"
            self._source = _SOURCE + own
        return self._source

    # For everybody

    def queue(
        self, talk: Talk, parent: str, watch: Callable[[Any], None] | None = None
    ) -> list[Candidate]:
        """Who stands in an election's queue; `watch` is told of the next change."""
        while True:
            try:
                children = talk.ask(GetChildren(parent, watch))
                return queue_of(parent, children)
            except NoNodeError:
                exists = watch and talk.ask(Exists(parent, watch))
                if not exists:
                    return []

    def read(self, talk: Talk, candidate: Candidate) -> Reading | None:
        """What a candidate shows; None: it is not there any more, or is none."""
        try:
            value, stat = talk.ask(GetData(candidate.path, None))
        except NoNodeError:
            return None
        if not stat.ephemeralOwner:
            return None
        found = unpack(value)
        if found is None or found[0] != candidate.attempt_id:
            raise BackendUnavailable(
                f"something else has written to {candidate.path}; its owner will put that right"
            )
        return Reading(payload=found[1], token=stat.czxid, source=self.find_source(talk))

    def owner(self, talk: Talk, candidate: Candidate, watch: Callable[[Any], None]) -> int:
        """The session of a candidate; `watch` is told when that one leaves. 0: it is not there."""
        try:
            # Not `exists`, which leaves a watch behind on a node that has gone; and not `get`,
            # whose watch tells of writes, too. It has no children, and will not have any.
            _, stat = talk.ask(GetChildren2(candidate.path, watch))
        except NoNodeError:
            return 0
        return int(stat.ephemeralOwner)  # 0, too, of a copy that somebody has restored

    def delete(self, talk: Talk, path: str) -> None:
        """Delete a node, if it is there."""
        with contextlib.suppress(NoNodeError):
            talk.ask(Delete(path, _ANY))

    def _create(self, talk: Talk, attempt: Attempt, place: Place) -> list[Candidate]:
        """Make a node, and list the queue with it.

        Both requests are under way at once: those of a session are carried out in their order, and
        the listing is at least as new as the node.
        """
        place.node = None
        while True:
            making = self._make_with(talk, place.parent)
            creation = talk.send(
                Create2(place.stem, pack(attempt), self._acl, EPHEMERAL_SEQUENTIAL)
            )
            place.unheard.append(creation)
            listing = talk.send(GetChildren(place.parent, None))
            try:
                path, stat = talk.wait(creation)
            except NoNodeError:
                if making is not None:  # those above it are missing, too
                    self._make(talk, place.parent)
                self._is_first = True
                place.unheard.remove(creation)
            else:
                self._is_first = making is not None and making.succeeded
                place.node = Node(path, stat.czxid, stat.version)
                place.unheard.remove(creation)
                with contextlib.suppress(NoNodeError):  # deleted with all above it
                    return queue_of(place.parent, talk.wait(listing))
                return []

    def _take_write(self, talk: Talk, place: Place, written: Answer) -> Node | None:
        """The place's node as it has been written; None: it is not there, or is not that one."""
        node = place.node
        try:
            stat = talk.wait(written)
        except NoNodeError:
            return None
        return node._replace(version=stat.version) if node and _is_of(stat, place, node) else None

    def _make_with(self, talk: Talk, parent: str) -> Answer | None:
        """Have an election's node made, too, if that of the last one was missing.

        Where thousands of elections are begun, all are; otherwise it would be a write for nothing.
        """
        return talk.send(Create(parent, b"", self._acl, _PERSISTENT)) if self._is_first else None

    def _make(self, talk: Talk, path: str) -> None:
        """Make a persistent node, and those above it as far as they are missing."""
        source = self._source.removeprefix(_SOURCE) or os.urandom(8).hex()
        value = source.encode() if path == self._base else b""
        try:
            talk.ask(Create(path, value, self._acl, _PERSISTENT))
        except NoNodeError:
            self._make(talk, path.rpartition("/")[0])
            self._make(talk, path)
        except NodeExistsError:
            pass

    def _adopt(self, talk: Talk, place: Place, candidate: Candidate) -> Node | None:
        """Take a node whose creation was not heard of for the attempt's own, if it is."""
        try:
            _, stat = talk.ask(GetData(candidate.path, None))
        except NoNodeError:
            return None
        if stat.ephemeralOwner != place.session.id:  # of a session that we have given up
            self.delete(talk, candidate.path)
            return None
        return Node(candidate.path, stat.czxid, stat.version)


def _of(place: Place, queue: Iterable[Candidate]) -> list[Candidate]:
    return [candidate for candidate in queue if candidate.attempt_id == place.attempt_id]


def _writing(attempt: Attempt, node: Node) -> SetData:
    return SetData(node.path, pack(attempt), _ANY)


def _is_of(stat: Any, place: Place, node: Node) -> bool:
    """Whether that is the node that we have made."""
    return bool((stat.czxid, stat.ephemeralOwner) == (node.czxid, place.session.id))


def _chunks(claims: Mapping[str, Claim]) -> Iterator[list[str]]:
    """Those that go into one transaction."""
    chunk: list[str] = []
    size = 0
    for attempt_id, (attempt, place, node) in claims.items():
        own = len(attempt.payload) if _is_to_be_written(place, node) else 0
        if len(chunk) == _MOST_CHECKS or size + own > _MOST_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(attempt_id)
        size += own
    if chunk:
        yield chunk


def _check(talk: Talk, claims: Mapping[str, Claim], ids: Sequence[str]) -> Answer:
    return talk.send(
        Checks(
            [
                write(node.path, pack(attempt), node.version)
                if _is_to_be_written(place, node)
                else check(node.path, node.version)
                for attempt, place, node in map(claims.__getitem__, ids)
            ]
        )
    )


def _is_to_be_written(place: Place, node: Node) -> bool:
    return place.leads and node.version == 0
