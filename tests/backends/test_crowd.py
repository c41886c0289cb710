"""A hand-over costs the store as many requests with a hundred that wait as with ten.

Counted by the stores themselves. The leases are long: no heartbeat comes in between.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.stores import etcd_requests, zookeeper_requests
from leaderlock import Client, LeaderElector, connect
from leaderlock.testing.servers.etcd import EtcdServer
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from tests.backends.etcd_tools import queue_of
from tests.conformance.zookeeper_harness import operate
from tests.elector.tools import eventually

CLIENTS = 5
HAND_OVERS = 6

Measure = Callable[[], int]


def messages(server: EtcdServer) -> int:
    return int(sum(etcd_requests(server).values()))


def packets(server: ZooKeeperServer) -> int:
    return int(sum(zookeeper_requests(server).values()))


def nodes(server: ZooKeeperServer) -> int:
    found = operate(server.port, lambda c: c.get_children("/leaderlock/e"))
    return len(found)


def requests_of_a_hand_over(
    server: Server, ttl: float, many: int, queued: Measure, count: Measure
) -> float:
    """With so many that wait, in several clients."""
    with ExitStack() as stack:
        clients: list[Client] = [
            stack.enter_context(connect(server.url, ttl=ttl)) for _ in range(CLIENTS)
        ]
        electors = [clients[number % CLIENTS].elector("e") for number in range(many + 1)]
        for elector in electors:
            elector.start()
        eventually(lambda: _leader(electors) and queued() == many + 1)
        before = settled(count)
        for _ in range(HAND_OVERS):
            leader = _leader(electors)
            assert leader is not None
            electors.remove(leader)
            leader.stop()
            eventually(lambda: _leader(electors))
        return (settled(count) - before) / HAND_OVERS


def settled(count: Measure) -> int:
    """The count, once all that is under way has been counted."""
    seen = [-1, count()]

    def is_settled() -> bool:
        threading.Event().wait(0.1)
        seen.append(count())
        return seen[-1] == seen[-2] == seen[-3]

    eventually(is_settled)
    return seen[-1]


def _leader(electors: list[LeaderElector]) -> LeaderElector | None:
    return next((elector for elector in electors if elector.is_leader), None)


def test_a_hand_over_on_etcd_costs_the_same_with_ten_or_a_hundred_waiting() -> None:
    with EtcdServer() as server:
        few, many = (
            requests_of_a_hand_over(
                server, 600.0, number, lambda: len(queue_of(server)), lambda: messages(server)
            )
            for number in (10, 100)
        )
    # The key is deleted, the next one looks, and ends its watch; a keep-alive before, sometimes.
    assert max(few, many) <= 4


def test_a_hand_over_on_zookeeper_costs_the_same_with_ten_or_a_hundred_waiting() -> None:
    asked = itertools.count(1)  # the question is a packet, too
    with ZooKeeperServer(settings={"maxSessionTimeout": "600000"}) as server:
        few, many = (
            requests_of_a_hand_over(
                server,
                600.0,
                number,
                lambda: nodes(server),
                lambda: packets(server) - next(asked),
            )
            for number in (10, 100)
        )
    # The node is deleted, the next one lists the queue, and writes its own.
    assert max(few, many) <= 4
