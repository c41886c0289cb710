"""What clusters of servers have in common."""

from __future__ import annotations

import abc
import shutil
from collections.abc import Iterable
from typing import Generic, Self, TypeVar

from leaderlock.testing.servers.process import (
    START_TIMEOUT,
    NotReady,
    Server,
    Startable,
    wait_until,
)

NodeT = TypeVar("NodeT", bound=Server)


class Cluster(Startable, Generic[NodeT]):
    """Several servers that elect a leader among themselves. Subclasses make the nodes."""

    nodes: list[NodeT]

    scheme: str

    @property
    def url(self) -> str:
        """It names all nodes."""
        return self.url_at(node.port for node in self.nodes)

    def url_at(self, ports: Iterable[int]) -> str:
        """The URL with other ports, those of proxies for instance."""
        return f"{self.scheme}://" + ",".join(f"127.0.0.1:{port}" for port in ports)

    @abc.abstractmethod
    def leads(self, node: NodeT) -> bool:
        """What a node itself says; may raise OSError or NotReady."""

    def start(self) -> Self:
        """Start all nodes and wait until one leads."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_until_ready()
        self.leader()
        return self

    def leader(self, *, other_than: NodeT | None = None, timeout: float = START_TIMEOUT) -> NodeT:
        """The node that leads, waited for. A frozen one is not asked."""

        def says_so(node: NodeT) -> bool:
            try:
                return self.leads(node)
            except (OSError, NotReady):
                return False

        def find() -> list[NodeT]:
            awake = [node for node in self.nodes if node.running and not node.frozen]
            leaders = [node for node in awake if says_so(node)]
            # An old leader may take itself for one for a moment.
            return leaders if len(leaders) == 1 and leaders[0] is not other_than else []

        return wait_until(find, timeout, lambda: f"{type(self).__name__} has no leader")[0]

    def followers(self) -> list[NodeT]:
        leader = self.leader()
        return [node for node in self.nodes if node is not leader]

    def restart(self, *, keep_data: bool = True) -> None:
        """Shut all nodes down, then start them again on the same ports."""
        for node in self.nodes:
            node.shut_down()
            if not keep_data:
                shutil.rmtree(node.data)
        self.start()

    def lose_data(self, node: NodeT) -> None:
        """Kill a node and remove its data. When it is launched again it learns it from the others.

        They have to be whole: a majority that this node was part of may have been the only one to
        know of a write.
        """
        node.kill()
        shutil.rmtree(node.data)

    def wait_until_caught_up(self, node: NodeT) -> None:
        """Until a node that was launched again knows what the others know."""
        node.wait_until_ready()

    def freeze(self) -> None:
        for node in self.nodes:
            node.freeze()

    def thaw(self) -> None:
        for node in self.nodes:
            node.thaw()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
