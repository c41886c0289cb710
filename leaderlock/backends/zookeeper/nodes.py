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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from leaderlock.backends.base import Attempt, Reading, Renewal
from leaderlock.backends.layout import key_part, pack, unpack
from leaderlock.backends.zookeeper.connection import Talk
from leaderlock.backends.zookeeper.place import Candidate, Node, Place, queue_of
from leaderlock.backends.zookeeper.target import Target
from leaderlock.errors import BackendUnavailable, ConfigurationError

_SOURCE = "zookeeper:"
_ID = re.compile(rb"[0-9a-f-]{8,40}")
_MOST_CHECKS = 500  # in one transaction: a request has to be smaller than 1 MB

Claim = tuple[Attempt, Place, Node]
"""An attempt that says that this node is its own."""


class Nodes:
    """The nodes of one namespace."""

    def __init__(self, target: Target, namespace: str) -> None:
        self._acl = target.acl
        self._base = f"{target.root}/{key_part(namespace)}"
        if self._base == "/zookeeper":
            raise ConfigurationError(
                "namespace='zookeeper' is ZooKeeper's own: take another, or a path in the URL"
            )
        self._source = ""

    def parent(self, election: str) -> str:
        """The election's node."""
        return f"{self._base}/{key_part(election)}"

    # For candidates

    def line_up(self, talk: Talk, attempt: Attempt, place: Place) -> list[Candidate] | None:
        """Have one node in the queue. Returns those in front of it; None: look again."""
        if place.node is None:
            if place.unheard:  # it may be there already: let the server catch up
                talk.ask(talk.client.sync_async(place.parent))
            else:
                self._create(talk, attempt, place)
        queue = self.queue(talk, place.parent)
        mine = [candidate for candidate in queue if candidate.attempt_id == place.attempt_id]
        if not mine:
            self._create(talk, attempt, place)
            return None
        if place.node is None or place.node.path != mine[0].path:
            place.node = self._adopt(talk, place, mine[0])
            if place.node is None:
                return None
        for spare in mine[1:]:
            self.delete(talk, spare.path)
        return queue[: queue.index(mine[0])]

    def confirm(self, talk: Talk, attempt: Attempt, place: Place) -> Node | None:
        """Write the own node: the proof that it is there, and that it is the one we made.

        A node that somebody has deleted and made again has the version 0; this one has a higher
        one from now on, and that is what the heartbeats check.
        """
        node = place.node
        if node is None:
            return None
        try:
            stat = talk.ask(talk.client.set_async(node.path, pack(attempt)))
        except NoNodeError:
            return None
        if (stat.czxid, stat.ephemeralOwner) != (node.czxid, place.session.id):
            return None
        place.node = node._replace(version=stat.version)
        return place.node

    def prove(self, talk: Talk, claims: Mapping[str, Claim]) -> dict[str, Renewal]:
        """Ask whether all these nodes are there, by transactions of nothing but checks."""
        outcomes: dict[str, Renewal] = {}
        ids = list(claims)
        chunks = [ids[i : i + _MOST_CHECKS] for i in range(0, len(ids), _MOST_CHECKS)]
        checks = deque((chunk, _check(talk, claims, chunk)) for chunk in chunks)
        while checks:
            chunk, check = checks.popleft()
            answers = talk.ask(check)
            if all(answer is True for answer in answers):
                outcomes |= dict.fromkeys(chunk, Renewal.RENEWED)
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
        talk.ask(talk.client.sync_async(place.parent))
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
                value, stat = talk.ask(talk.client.get_async(self._base))
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
                children = talk.ask(talk.client.get_children_async(parent, watch=watch))
                return queue_of(parent, children)
            except NoNodeError:
                exists = watch and talk.ask(talk.client.exists_async(parent, watch=watch))
                if not exists:
                    return []

    def read(self, talk: Talk, candidate: Candidate) -> Reading | None:
        """What a candidate shows; None: it is not there any more, or is none."""
        try:
            value, stat = talk.ask(talk.client.get_async(candidate.path))
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
            # Not `exists`, which leaves a watch behind on a node that has gone.
            _, stat = talk.ask(talk.client.get_async(candidate.path, watch=watch))
        except NoNodeError:
            return 0
        return int(stat.ephemeralOwner)  # 0, too, of a copy that somebody has restored

    def delete(self, talk: Talk, path: str) -> None:
        """Delete a node, if it is there."""
        with contextlib.suppress(NoNodeError):
            talk.ask(talk.client.delete_async(path))

    def _create(self, talk: Talk, attempt: Attempt, place: Place) -> None:
        place.node = None
        while place.node is None:
            creation = talk.client.create_async(
                place.stem,
                pack(attempt),
                acl=self._acl,
                ephemeral=True,
                sequence=True,
                include_data=True,
            )
            place.unheard.append(creation)
            try:
                path, stat = talk.ask(creation)
            except NoNodeError:
                self._make(talk, place.parent)
            else:
                place.node = Node(path, stat.czxid, stat.version)
            place.unheard.remove(creation)

    def _make(self, talk: Talk, path: str) -> None:
        """Make a persistent node, and those above it as far as they are missing."""
        source = self._source.removeprefix(_SOURCE) or os.urandom(8).hex()
        value = source.encode() if path == self._base else b""
        try:
            talk.ask(talk.client.create_async(path, value, acl=self._acl))
        except NoNodeError:
            self._make(talk, path.rpartition("/")[0])
            self._make(talk, path)
        except NodeExistsError:
            pass

    def _adopt(self, talk: Talk, place: Place, candidate: Candidate) -> Node | None:
        """Take a node whose creation was not heard of for the attempt's own, if it is."""
        try:
            _, stat = talk.ask(talk.client.get_async(candidate.path))
        except NoNodeError:
            return None
        if stat.ephemeralOwner != place.session.id:  # of a session that we have given up
            self.delete(talk, candidate.path)
            return None
        return Node(candidate.path, stat.czxid, stat.version)


def _check(talk: Talk, claims: Mapping[str, Claim], ids: Sequence[str]) -> Any:
    transaction = talk.client.transaction()
    for attempt_id in ids:
        node = claims[attempt_id][2]
        transaction.check(node.path, node.version)
    return transaction.commit_async()
