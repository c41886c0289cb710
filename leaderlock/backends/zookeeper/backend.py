"""Elections in an Apache ZooKeeper ensemble.

    zookeeper://user:password@h1:2181,h2:2181/root
    zookeepers://h1:2281,h2:2281/root?ca=ca.pem              TLS

Each attempt has an ephemeral sequential node; the lowest number leads, the others watch the node
in front of theirs and nothing else. The token is the czxid of the own node: transactions are
numbered for the whole ensemble, and never twice. It rises over the deletion of any node, and
over a restart of all servers.

What proves a term is a write: the creation of the own node, or another write of it after a wait;
then one transaction of nothing but checks that the own nodes are there, for all of them at once.
Neither pings nor readings nor the state of the connection do: a server that is cut off from the
others answers those for seconds after the ensemble has ended the session and let another in. See
`Proofs` for how little even a write proves.

What it does not promise:

* Anything that an ensemble does not promise that has lost its data, or was restored: tokens start
  again, and who has led before stops with TokenRegression.
* One source of tokens over the deletion of the namespace's node, if no running client knew it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from kazoo.protocol.serialization import Sync

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
from leaderlock.backends.wakes import Wakes, net
from leaderlock.backends.zookeeper.connection import Connection, Talk
from leaderlock.backends.zookeeper.nodes import Claim, Nodes
from leaderlock.backends.zookeeper.place import Candidate, Place
from leaderlock.backends.zookeeper.places import Places
from leaderlock.backends.zookeeper.target import OPTIONS, Target, target_of
from leaderlock.capabilities import Capabilities
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock.url import Option, StoreURL

_MOST_LOOKS = 10
_MOST_UNHEARD = 0.3  # of the ttl: that leaves half of the belief
_CAPABILITIES = Capabilities(
    linearizable=True,
    fifo=True,
    event_driven=True,
    renews_waiting=True,
    min_ttl=0.5,
    max_ttl=86_400.0,  # the servers have limits of their own, and the session tells them
    belief_ratio=0.6,
    # An expiry is rounded up to a tick, and the leader hears of us half a tick late. A tick is at
    # most half of the shortest session that the servers grant.
    expiry_factor=1.75,
)


class ZooKeeperBackend(Backend):
    """The elections below one node of an ensemble."""

    schemes = ("zookeeper", "zookeepers")
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, target: Target, settings: Settings) -> None:
        super().__init__(settings)
        self._nodes = Nodes(target, settings.namespace, settings.clock)
        self._connection = Connection(target, settings, self._on_news)
        self._forget()

    def _forget(self) -> None:
        self._wakes = Wakes()  # by the path of the node that is watched
        self._places = Places(self._nodes, self._connection, self.settings.request_timeout)

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
        with self._connection.talk() as talk:
            session, place = talk.session, self._places.enter(talk, attempt)
            for _ in range(_MOST_LOOKS):  # nodes may vanish while we look
                line = self._nodes.line_up(talk, attempt, place)
                if line is None:
                    continue
                source = self._nodes.find_source(talk)  # who waits has to know it, too
                if self._has_to_wait(talk, attempt, place, line.ahead):
                    return Waiting(retry_after=net(session.ttl, len(self._wakes)))
                if session.unheard_for(self.settings.clock.now()) > _MOST_UNHEARD * session.ttl:
                    # First, but not to be believed for long: after a pause of this process, say.
                    # What has just been asked will count at the next look.
                    return Waiting(retry_after=session.ttl / 8)
                place.leads = True
                return Granted(
                    token=line.node.czxid,
                    source=source,
                    ttl=session.ttl,
                    sent_at=session.proved_at(line.proved_at),
                )
        raise BackendUnavailable(f"somebody keeps deleting the nodes below {place.parent}")

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        outcomes: dict[str, Renewal] = {}
        claims: dict[str, Claim] = {}
        for attempt in attempts:
            place = self._places.held.get(attempt.attempt_id)
            if place is None or place.is_leaving:
                outcomes[attempt.attempt_id] = Renewal.TAKEN
            elif place.session.over:
                outcomes[attempt.attempt_id] = Renewal.SESSION_LOST
            elif place.node is not None:
                claims[attempt.attempt_id] = attempt, place, place.node
        if not claims:
            return Renewed(outcomes=outcomes)
        session = next(iter(claims.values()))[1].session
        sent_at = self.settings.clock.now()
        try:
            with self._connection.talk(session) as talk:
                sent_at = self.settings.clock.now()
                outcomes |= self._nodes.prove(talk, claims)
                self._places.sweep(session)
        except (BackendUnavailable, BackendRefused):
            if not session.over:
                raise
            outcomes |= dict.fromkeys(claims, Renewal.SESSION_LOST)
        return Renewed(outcomes=outcomes, ttl=session.ttl, sent_at=session.proved_at(sent_at))

    def release(self, attempt: Attempt) -> None:
        self._places.leave(attempt)

    def leader(self, election: str) -> Reading:
        parent = self._nodes.parent(election)
        watch = self._ring if parent in self._wakes else None
        with self._connection.talk() as talk:
            # The server that we talk to may be behind: it catches up first.
            talk.ask(Sync(parent))
            for candidate in self._nodes.queue(talk, parent, watch):
                reading = self._nodes.read(talk, candidate)
                if reading is not None:
                    return reading
            return Reading(source=self._nodes.find_source(talk))

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        remove = self._wakes.add(self._nodes.parent(election), wake)
        wake()  # each reading sets the watch at the store; this asks for the first one
        return remove

    def close(self) -> None:
        self._connection.close()

    def abandon(self) -> None:
        self._connection.abandon()
        self._forget()

    # Wakes

    def _ring(self, event: Any) -> None:
        """A watch has fired. On a change of the connection all do, without a path."""
        if event.path is not None:
            self._wakes.ring(event.path)

    def _on_news(self) -> None:
        """The connection is back, or the session over: watches are gone, and changes unseen."""
        self._wakes.ring_all()
        session = self._connection.session
        if session is not None and not session.over:
            self._places.sweep(session)

    # To lead

    def _has_to_wait(
        self, talk: Talk, attempt: Attempt, place: Place, ahead: Sequence[Candidate]
    ) -> bool:
        """Watch the nearest candidate in front, if there is any."""
        for candidate in reversed(ahead):
            place.stop_waiting()
            place.stop_waiting = self._wakes.add(candidate.path, attempt.wake)
            owner = self._nodes.owner(talk, candidate, self._ring)
            if owner == talk.session.id and not self._places.wants(candidate.attempt_id):
                # What an ended attempt has left would wait for its own client for ever.
                self._nodes.delete(talk, candidate.path)
            elif owner:
                return True
        place.stop_waiting()
        return False
