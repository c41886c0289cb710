"""Decides what is done to whom and when, by its seed.

The seed decides the order of the faults, their lengths, and how the one who is meant is picked. Who
that is (the one who leads now) depends on the run: a seed repeats a schedule, not a history.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos.faults import Faults
from leaderlock.testing.chaos.processes import Candidate
from leaderlock.testing.chaos.stores.base import Store
from leaderlock.testing.servers.process import Server

_SHORTEST, _LONGEST = 0.2, 3.0  # a fault, in ttl
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # between two faults, in ttl
_LONGEST_RESTART = 0.2  # in ttl
_MOST_AT_ONCE = 2
_CALM_AFTER = 7  # faults
_ON_PURPOSE = 0.7  # of the faults: meant for the one who leads
_OF_SERVERS = 0.4  # of the kills and pauses
_OF_ALL_SERVERS = 0.25  # of those
_OF_ONE_CONNECTION = 0.25  # of the faults of a network


class Nemesis:
    """Injects faults of some kinds; see `KINDS`."""

    def __init__(self, faults: Faults, kinds: Sequence[str], *, seed: int, ttl: float) -> None:
        self._faults = faults
        self._kinds = list(kinds)
        self._random = random.Random(seed)
        self._ttl = ttl
        self._deck: list[str] = []

    def run(self, until: float, tell: Callable[[], None]) -> None:
        """Go on until a time. What acts then is left to act."""
        done = 0
        while BOOT_CLOCK.now() < until:
            tell()
            if done == _CALM_AFTER:
                self._faults.outlast_all()
                self._faults.calm()
                done = 0
            self._faults.wait(self._random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE) * self._ttl)
            if self._faults.active < _MOST_AT_ONCE:
                seconds = self._random.uniform(_SHORTEST, _LONGEST) * self._ttl
                KINDS[self._draw()](self, seconds)
                done += 1

    def _draw(self) -> str:
        """Each kind comes once before any comes again."""
        if not self._deck:
            self._deck = self._random.sample(self._kinds, len(self._kinds))
        return self._deck.pop()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _pick(self, among: Sequence[Candidate]) -> Candidate | None:
        on_purpose = self._chance(_ON_PURPOSE)
        leader = self._faults.leader()
        if on_purpose and leader in among:
            return leader
        return self._random.choice(among) if among else None

    def _pick_servers(self) -> list[Server]:
        on_purpose, everybody = self._chance(_ON_PURPOSE), self._chance(_OF_ALL_SERVERS)
        free = self._faults.free_servers()
        if everybody or not free:
            return free
        leader = self._faults.store.leader()
        return [leader if on_purpose and leader in free else self._random.choice(free)]

    def _hits_servers(self) -> bool:
        return self._chance(_OF_SERVERS) and bool(self._faults.free_servers())

    def _kill(self, seconds: float) -> None:
        if self._hits_servers():
            self._faults.kill_servers(self._pick_servers(), seconds)
        elif candidate := self._pick(self._faults.free_candidates()):
            self._faults.kill(candidate, seconds)

    def _pause(self, seconds: float) -> None:
        if self._hits_servers():
            self._faults.pause_servers(self._pick_servers(), seconds)
        elif candidate := self._pick(self._faults.free_candidates()):
            self._faults.pause(candidate, seconds)

    def _disturb(self, seconds: float) -> None:
        how = self._random.choice(("hold", "reset", "delay", "drop replies"))
        delay = self._random.uniform(0.1, 0.5) * self._ttl
        one = self._chance(_OF_ONE_CONNECTION)
        if candidate := self._pick(self._faults.connected_candidates()):
            proxies = candidate.proxies[:1] if one else None
            self._faults.cut([candidate], how, seconds, proxies=proxies, delay=delay)

    def _partition(self, seconds: float) -> None:
        """A minority of the servers, or none, and some candidates with them."""
        free = self._faults.connected_candidates()
        most = max(1, len(self._faults.candidates) // 2)
        side = self._random.sample(free, min(self._random.randint(1, most), len(free)))
        leader = self._faults.leader()
        if self._chance(_ON_PURPOSE) and leader in free and leader not in side:
            side[:1] = [leader]
        if side:
            self._faults.partition(self._pick_minority(), side, seconds)

    def _pick_minority(self) -> list[Server]:
        """As many servers as have no quorum; none if some are down already."""
        nodes, free = self._faults.store.nodes, self._faults.free_servers()
        if len(free) < len(nodes):
            return []
        servers = self._random.sample(free, (len(nodes) - 1) // 2)
        leader = self._faults.store.leader()
        if self._chance(_ON_PURPOSE) and leader is not None and leader not in servers:
            servers[:1] = [leader]
        return servers

    def _operate(self, seconds: float) -> None:
        action = self._random.choice(sorted(self._faults.store.actions()))
        if self._faults.free_servers() == list(self._faults.store.nodes):  # else it may hang
            self._faults.operate(action, seconds)

    def _restart(self, seconds: float) -> None:
        if servers := self._pick_servers():
            self._faults.restart_servers(servers, min(seconds, _LONGEST_RESTART * self._ttl))

    def _wipe(self, seconds: float) -> None:
        leader, nodes = self._faults.store.leader(), self._faults.store.nodes
        on_purpose, other = self._chance(_ON_PURPOSE), self._random.choice(nodes)
        if len(self._faults.free_servers()) == len(nodes):  # the others have to be whole
            server = leader if on_purpose and leader is not None else other
            self._faults.wipe_server(server, min(seconds, _LONGEST_RESTART * self._ttl))

    def _fork(self, seconds: float) -> None:
        leader = self._faults.leader()
        if leader is not None and not leader.busy:
            self._faults.fork(leader, seconds)

    def _hold_gil(self, seconds: float) -> None:
        leader = self._faults.leader()
        if leader is not None and not leader.busy:
            self._faults.hold_gil(leader, seconds)


KINDS: dict[str, Callable[[Nemesis, float], None]] = {
    "kill": Nemesis._kill,
    "pause": Nemesis._pause,
    "proxy": Nemesis._disturb,
    "partition": Nemesis._partition,
    "operator": Nemesis._operate,
    "restart": Nemesis._restart,
    "wipe": Nemesis._wipe,
    "fork": Nemesis._fork,
    "gil": Nemesis._hold_gil,
}


def kinds_for(store: Store) -> list[str]:
    """The faults that can be done to a store."""
    impossible = set()
    if not store.nodes:
        impossible = {"proxy", "partition", "operator", "restart", "wipe"}
    elif not store.outlasts_a_loss:
        impossible = {"wipe"}
    return [kind for kind in KINDS if kind not in impossible]
