"""What a run has to know of a store."""

from __future__ import annotations

import base64
import contextlib
import shutil
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from leaderlock.testing.chaos.checker import Traits
from leaderlock.testing.servers.cluster import Cluster
from leaderlock.testing.servers.process import NotReady, Server, Startable
from leaderlock.testing.servers.programs import ServerError
from leaderlock.timing import Timing

Failed = (OSError, NotReady, ServerError)
"""What an action raises when the store does not answer."""

ELECTION = "chaos"
PATIENCE = 60.0
_RECONNECT = 1.0


class Action(NamedTuple):
    """Something that an operator may do.

    Attributes:
        do: returns how to undo it, if that has to be.
        excuses: the invariants that the store does not promise to keep then.
    """

    do: Callable[[], Callable[[], None] | None]
    excuses: tuple[str, ...] = ()


class Store(Startable):
    """A store, with servers of its own or without.

    Attributes:
        nodes: its servers.
        may_lose_everything: its promises outlast that. A quorum store that has lost the data of a
            majority is another store, and its operator raises the epoch.
        reported: the invariants that it cannot promise.
        not_applicable: those that say nothing about it.
    """

    name: str
    nodes: Sequence[Server]
    may_lose_everything: ClassVar[bool] = False
    reported: ClassVar[frozenset[str]] = frozenset()
    not_applicable: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def url_at(self, ports: Sequence[int]) -> str:
        """The URL for a client that reaches the servers at these ports."""

    def leader(self) -> Server | None:
        """The server that leads, if one is known to."""
        return None

    def has_quorum(self) -> bool:
        """Whether enough of the servers are awake."""
        awake = [node for node in self.nodes if node.running and not node.frozen]
        return not self.nodes or 2 * len(awake) > len(self.nodes)

    def wait_healthy(self) -> None:
        """Until every server is ready."""
        for node in self.nodes:
            node.wait_until_ready(PATIENCE)

    @property
    def outlasts_a_loss(self) -> bool:
        """Whether one server may lose its data."""
        return self.may_lose_everything or len(self.nodes) >= 3

    def lose_data(self, server: Server) -> None:
        """Kill a server and remove its data. The others are whole."""
        server.kill()
        shutil.rmtree(server.data)

    def wait_until_caught_up(self, server: Server) -> None:
        """Until a server that was launched again knows what the others know."""
        server.wait_until_ready(PATIENCE)

    def actions(self) -> Mapping[str, Action]:
        """What an operator may do, by name."""
        return {}

    def queue(self) -> list[str]:
        """Whoever leads or waits; each entry has the id of its attempt in it."""
        return []

    @abstractmethod
    def left(self) -> list[str]:
        """Everything that belongs to a candidate."""

    def traits(self, timing: Timing) -> Traits:
        """What it promises to candidates with this timing."""
        return Traits(
            belief_window=timing.belief_window,
            request_timeout=timing.request_timeout,
            lease=timing.longest_lease,
            failover=timing.worst_case_failover + timing.max_backoff + _RECONNECT,
            reported=self.reported,
            not_applicable=self.not_applicable,
        )


class ClusteredStore(Store):
    """A store of several servers, which elect a leader among themselves."""

    def __init__(self, cluster: Cluster[Any]) -> None:
        self.cluster = cluster
        self.nodes = cluster.nodes

    def start(self) -> Self:
        self.cluster.start()
        return self

    def stop(self) -> None:
        self.cluster.stop()

    def lose_data(self, server: Server) -> None:
        self.cluster.lose_data(server)

    def wait_until_caught_up(self, server: Server) -> None:
        self.cluster.wait_until_caught_up(server)

    def url_at(self, ports: Sequence[int]) -> str:
        return self.cluster.url_at(ports)

    def leader(self) -> Server | None:
        for node in self.nodes:
            with contextlib.suppress(OSError, NotReady):
                if node.running and not node.frozen and self.cluster.leads(node):
                    return node
        return None

    def wait_healthy(self) -> None:
        super().wait_healthy()
        self.cluster.leader(timeout=PATIENCE)

    @abstractmethod
    def move(self, addresses: Sequence[str], ports: Sequence[int]) -> None:
        """Have the servers meet at these addresses, and wait for clients at these ports.

        Before they are started.
        """

    def ask_leader(self) -> Any:
        """The server that leads, waited for, to be asked something."""
        return self.cluster.leader(timeout=PATIENCE)


def decode(text: str | None) -> str:
    """A key or value as it came through JSON."""
    return base64.b64decode(text or "").decode()
