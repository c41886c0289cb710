"""The places of a client in all queues, and how they are given up so that nothing is left."""

from __future__ import annotations

import contextlib
import threading

from leaderlock.backends.base import Attempt
from leaderlock.backends.zookeeper.connection import Connection, Talk
from leaderlock.backends.zookeeper.nodes import Nodes
from leaderlock.backends.zookeeper.place import Place
from leaderlock.backends.zookeeper.session import Session
from leaderlock.errors import BackendRefused, BackendUnavailable


class Places:
    """The places that attempts have, or have had as long as something of them may be there.

    Attributes:
        held: by attempt id.
    """

    def __init__(self, nodes: Nodes, connection: Connection, request_timeout: float) -> None:
        self.held: dict[str, Place] = {}
        self._nodes = nodes
        self._connection = connection
        self._request_timeout = request_timeout
        self._sweeper: threading.Thread | None = None
        self._lock = threading.Lock()  # for changes of `held`, and of who needs a session

    def enter(self, talk: Talk, attempt: Attempt) -> Place:
        """The attempt's place, a new one if the old one ended with its session."""
        with self._lock:
            if talk.session.over:  # given up meanwhile, because nobody else used it
                raise BackendUnavailable("the session with ZooKeeper has ended")
            place = self.held.get(attempt.attempt_id)
            if place is None or place.session is not talk.session:
                if place is not None:
                    place.stop_waiting()
                parent = self._nodes.parent(attempt.election)
                place = Place(attempt.attempt_id, parent, talk.session)
                self.held[attempt.attempt_id] = place
            place.is_leaving = False
            return place

    def wants(self, attempt_id: str) -> bool:
        """Whether a node of this attempt is to stay."""
        place = self.held.get(attempt_id)
        return place is not None and not place.is_leaving

    def leave(self, attempt: Attempt) -> None:
        """Take back all that the store holds of an attempt. May be repeated."""
        place = self.held.get(attempt.attempt_id)
        if place is None:
            return  # nothing was ever asked for
        place.is_leaving = True
        place.stop_waiting()
        if place.session.over:
            self._must_be_gone(place, self._request_timeout)
        else:
            with self._connection.talk(place.session) as talk:
                self._withdraw(talk, place)

    def _withdraw(self, talk: Talk, place: Place) -> None:
        """Delete the attempt's node, and see to it that none of its nodes comes later.

        A request that the client has given up may still be carried out: it lies in the buffers of
        a server that stood still. The end of the session is certain to come after it. Where other
        attempts need the session, such nodes are swept away when they appear.
        """
        if not place.is_settled and self._gives_up(place.session):
            self._must_be_gone(place, talk.left)
            return
        self._withdraw_own(talk, place)
        self._gives_up(place.session)

    def _gives_up(self, session: Session) -> bool:
        """End the session if nobody needs it, and something unwanted may still come over it."""
        with self._lock:
            held = self.held.values()  # thousands, perhaps: mostly the first is wanted
            if all(p.is_leaving for p in held if p.session is session) and any(
                not p.is_settled for p in held if p.session is session
            ):
                session.close()
            return session.over

    def _must_be_gone(self, place: Place, patience: float) -> None:
        """Of a session that is over: nothing is left of the attempt once the servers know."""
        if not place.session.is_gone():
            place.session.close(patience)
        if not place.session.is_gone():
            raise BackendUnavailable("ZooKeeper has not confirmed the end of the session")
        self._forget_place(place)

    def sweep(self, session: Session) -> None:
        """Delete what is still there, or only now, of attempts that have been released.

        Nobody else may ask any more: the core gives up a release when the lease has certainly run
        out, but a session survives an outage of the ensemble of any length. It does not wait, for
        kazoo's thread calls it, too: a thread of its own does, one after the other, so that
        thousands do not stand before the heartbeats.
        """
        with self._lock:
            leaving = [place for place in self.held.values() if place.is_leaving]
        left = []
        for place in leaving:
            if place.session.is_gone():
                self._forget_place(place)
            elif place.session is session:
                left.append(place)
        if left:
            self._start_to_sweep(session, left)

    def _start_to_sweep(self, session: Session, places: list[Place]) -> None:
        with self._lock:
            if self._sweeper is not None and self._sweeper.is_alive():
                return
            self._sweeper = threading.Thread(
                target=self._sweep,
                args=(session, places),
                name="leaderlock-zookeeper-sweep",
                daemon=True,
            )
            with contextlib.suppress(RuntimeError):  # no thread is to be had: next time
                self._sweeper.start()

    def _sweep(self, session: Session, places: list[Place]) -> None:
        with contextlib.suppress(BackendUnavailable, BackendRefused):  # the next one goes on
            for place in places:
                if place.is_leaving:  # it may have been asked for again
                    with self._connection.talk(session) as talk:
                        self._withdraw_own(talk, place)

    def _withdraw_own(self, talk: Talk, place: Place) -> None:
        is_settled = place.is_settled
        self._nodes.withdraw(talk, place)
        if is_settled:
            self._forget_place(place)

    def _forget_place(self, place: Place) -> None:
        with self._lock:
            if self.held.get(place.attempt_id) is place:
                del self.held[place.attempt_id]
