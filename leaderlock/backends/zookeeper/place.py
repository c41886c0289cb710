"""Who stands in the queue of an election, and what is known of our own places in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from leaderlock.backends.zookeeper.session import Session
from leaderlock.errors import BackendRefused

_NAME = re.compile(r"([A-Za-z0-9-]+)-n_(-?[0-9]{10,})")


class Candidate(NamedTuple):
    """A node of the queue. They sort in the order in which they lead."""

    number: int
    attempt_id: str
    path: str


class Node(NamedTuple):
    """A node of our own.

    Attributes:
        czxid: the transaction that created it: the fencing token.
        version: of its value, as we have written it.
    """

    path: str
    czxid: int
    version: int


@dataclass(slots=True, eq=False)
class Place:
    """An attempt's place in the queue, over the session that it was taken with.

    Attributes:
        parent: the election's node.
        node: None while none is known.
        unheard: creations whose answer did not come in time. They may still be carried out.
        leads: the attempt was granted its term.
        is_leaving: the attempt was released; only its nodes may still be there.
        stop_waiting: forget the node in front.
    """

    attempt_id: str
    parent: str
    session: Session
    node: Node | None = None
    unheard: list[Any] = field(default_factory=list)
    leads: bool = False
    is_leaving: bool = False
    stop_waiting: Callable[[], None] = lambda: None

    @property
    def stem(self) -> str:
        """The path to create; the servers append a number.

        The attempt id stands first, as in the recipe of ZooKeeper's own documentation: so a
        candidate finds its node even if it never heard the answer to its creation.
        """
        return f"{self.parent}/{self.attempt_id}-n_"

    @property
    def is_settled(self) -> bool:
        """Whether a synced listing from now on shows all that was ever asked for.

        What was cut off with its connection is carried out before the session's next connection
        is answered, or never: the same server closes the old one first, and from another the
        leader refuses it (SessionMovedException). But the server of the next one may be behind.
        """
        return all(creation.ready() for creation in self.unheard)


def queue_of(parent: str, children: Iterable[str]) -> list[Candidate]:
    """The candidates among the children of an election's node, the leader first.

    Raises:
        BackendRefused: the numbers, of 32 bits, have overflown, and sort no more.
    """
    queue = sorted(
        Candidate(int(found[2]), found[1], f"{parent}/{child}")
        for child in children
        if (found := _NAME.fullmatch(child))
    )
    if queue and queue[0].number < 0:
        raise BackendRefused(
            f"the numbers of the nodes below {parent} are used up: stop the candidates of this "
            "election and delete the node, to begin anew (tokens go on to rise)"
        )
    return queue
