"""Candidates of one election in processes of their own, which do what they are told.

What happens to them comes back as news. All times are seconds of CLOCK_MONOTONIC, which is one for
all processes of a machine.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Literal, NamedTuple

from leaderlock import LeaderElector, Leadership, LossReason, connect

ELECTION = "crowd"
LONGEST = 600.0  # seconds until something is given up that has to come

_SPAWN = get_context("spawn")

Order = tuple[Literal["join", "resign"], int]


class News(NamedTuple):
    """What has happened to a candidate, and when.

    Attributes:
        what: `joined`: the store has answered whether it leads. `resigned`: its term has been
            given up; the time is that from before the call.
        why: of a loss, or of a problem.
    """

    what: Literal["joined", "elected", "lost", "resigned"]
    candidate: int
    at: float
    why: str = ""


class Process:
    """A process with some candidates, seen from outside.

    Attributes:
        news: what comes back.
    """

    def __init__(self, url: str, ttl: float, clients: int) -> None:
        self.news: Connection[Order, News]
        self.news, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_serve, args=(theirs, url, ttl, clients), name="candidates", daemon=True
        )
        self._process.start()
        theirs.close()

    def join(self, candidate: int) -> None:
        """Have one more candidate; does not wait."""
        self.news.send(("join", candidate))

    def resign(self, candidate: int) -> None:
        """Have it give up its term; does not wait."""
        self.news.send(("resign", candidate))

    def kill(self) -> float:
        """SIGKILL; answers when."""
        at = time.monotonic()
        self._process.kill()
        return at

    def end(self) -> None:
        """At once."""
        self._process.kill()
        self._process.join()
        self.news.close()


class _Candidates:
    """Those of this process. They take turns on its clients."""

    def __init__(self, news: Connection[News, Order], url: str, ttl: float, clients: int) -> None:
        self._news = news
        self._lock = threading.Lock()  # callbacks have news at any time
        self._clients = [connect(url, ttl=ttl) for _ in range(clients)]
        self._electors: dict[int, LeaderElector] = {}

    def join(self, candidate: int) -> None:
        client = self._clients[len(self._electors) % len(self._clients)]
        elector = client.elector(
            ELECTION,
            candidate_id=str(candidate),
            on_elected=self._tell_elected,
            on_lost=self._tell_lost,
        )
        self._electors[candidate] = elector
        elector.start()
        elector._candidate.wait_answer(LONGEST)
        self._tell(News("joined", candidate, time.monotonic(), elector.health().problem))

    def resign(self, candidate: int) -> None:
        at = time.monotonic()
        self._electors[candidate].resign()
        self._tell(News("resigned", candidate, at))

    def _tell_elected(self, leadership: Leadership) -> None:
        self._tell(News("elected", int(leadership.leader_id), time.monotonic()))

    def _tell_lost(self, leadership: Leadership, reason: LossReason) -> None:
        self._tell(News("lost", int(leadership.leader_id), time.monotonic(), reason.name))

    def _tell(self, news: News) -> None:
        with self._lock:
            self._news.send(news)


def _serve(orders: Connection[News, Order], url: str, ttl: float, clients: int) -> None:
    """In the process: until nobody has orders any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever gives the orders ends with it, too
    candidates = _Candidates(orders, url, ttl, clients)
    with suppress(EOFError):
        while True:
            what, candidate = orders.recv()
            match what:
                case "join":
                    candidates.join(candidate)
                case "resign":
                    candidates.resign(candidate)
    os._exit(0)  # nobody hears of resignations, and there may be a thousand
