"""What can be done to candidates, networks and servers, and how it is undone.

Each fault lasts for some seconds, and `wait` sees to its end. Who is meant is decided elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from leaderlock.testing.chaos.checker import Traits
from leaderlock.testing.chaos.healing import Heal, Healing
from leaderlock.testing.chaos.namespaces import Network
from leaderlock.testing.chaos.processes import Candidate
from leaderlock.testing.chaos.stores.base import Failed, Store
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.proxy import Proxy

_SETTLED = 0.5
"""Seconds more than the bounds, so that there is something to judge."""


class Faults(Healing):
    """Does faults, logs them, and heals them.

    Attributes:
        candidates: all of them.
        network: that of the servers, if it can be cut.
    """

    def __init__(
        self,
        store: Store,
        candidates: Sequence[Candidate],
        traits: Traits,
        *,
        note: Callable[..., None],
        quorum_changed: Callable[[bool], None],
        network: Network | None = None,
    ) -> None:
        super().__init__(store, note, quorum_changed)
        self.candidates = candidates
        self.network = network
        self._traits = traits
        self._busy: set[Server] = set()

    def calm(self) -> None:
        """Let everybody settle, and have the leader resign: that is judged without faults only."""
        self.wait(self._traits.failover + _SETTLED)
        self.resign()
        self.wait(self._traits.handover + _SETTLED)

    def resign(self) -> None:
        """Have the candidate that leads give its term up."""
        if (candidate := self.leader()) is not None:
            candidate.process.tell("resign")

    # Whom it can be done to

    def leader(self) -> Candidate | None:
        """The candidate that leads, as it last said."""
        return next((candidate for candidate in self.candidates if candidate.leads()), None)

    def free_candidates(self) -> list[Candidate]:
        """Those whose process no fault acts on."""
        return [candidate for candidate in self.candidates if not candidate.busy]

    def connected_candidates(self) -> list[Candidate]:
        """Those whose network no fault acts on."""
        return [candidate for candidate in self.candidates if not candidate.cut_off]

    def free_servers(self) -> list[Server]:
        """Those that no fault acts on."""
        return [server for server in self.store.nodes if server not in self._busy]

    # A candidate's process

    def kill(self, candidate: Candidate, seconds: float) -> None:
        """SIGKILL; at the end another one takes the place."""
        self._hold_up(candidate, "kill", seconds, candidate.start)
        candidate.process.kill()

    def pause(self, candidate: Candidate, seconds: float) -> None:
        """SIGSTOP, and SIGCONT at the end."""
        self._hold_up(candidate, "pause", seconds, candidate.process.go_on)
        candidate.process.pause()

    def hold_gil(self, candidate: Candidate, seconds: float) -> None:
        """A call into C that does not let go of Python's lock."""
        self._hold_up(candidate, "hold the GIL", seconds, _nothing)
        candidate.process.tell(f"gil {seconds:.3f}")

    def fork(self, candidate: Candidate, seconds: float) -> None:
        """The process has a child, which looks at its copy of the elector."""
        self._hold_up(candidate, "fork", seconds, _nothing)
        candidate.process.tell(f"fork {seconds:.3f}")

    def _hold_up(self, candidate: Candidate, name: str, seconds: float, go_on: Heal) -> None:
        candidate.busy = True
        number = self._begin(name, candidate.who, [candidate])

        def heal() -> None:
            go_on()
            candidate.busy = False

        self._last(number, seconds, heal)

    # A candidate's network

    def cut(
        self,
        candidates: Sequence[Candidate],
        how: str,
        seconds: float,
        *,
        name: str = "",
        proxies: Sequence[Proxy] | None = None,
        delay: float = 0.0,
    ) -> None:
        """Disturb what candidates send to the servers, and hear of them.

        Args:
            how: "hold", "reset", "delay" or "drop replies".
            proxies: only these connections; default: all.
            delay: seconds each way.
        """
        everything = [proxy for candidate in candidates for proxy in candidate.proxies]
        proxies = everything if proxies is None else proxies
        for candidate in candidates:
            candidate.cut_off = True
        for proxy in proxies:
            _disturb(proxy, how, delay)
        silences = len(proxies) == len(everything) and how != "delay"
        target = f"network of {', '.join(candidate.who for candidate in candidates)}"
        number = self._begin(name or how, target, candidates, silences=silences)

        def heal() -> None:
            for proxy in proxies:
                proxy.pass_on()
            for candidate in candidates:
                candidate.cut_off = False

        self._last(number, seconds, heal)

    def partition(
        self, servers: Sequence[Server], candidates: Sequence[Candidate], seconds: float
    ) -> None:
        """A minority of the servers, and these candidates, apart from all others.

        Where the servers' network is whole for ever, only the candidates are.
        """
        if self.network is None or not servers:
            self.cut(candidates, "hold", seconds, name="partition")
            return
        network, numbers = self.network, [self.store.nodes.index(server) for server in servers]
        affected = [c for c in self.candidates if c in candidates or not c.cut_off]
        self._busy.update(servers)
        network.cut(servers)
        held = []
        for candidate in affected:
            candidate.cut_off = True
            for number, proxy in enumerate(candidate.proxies):
                if (number in numbers) != (candidate in candidates):
                    proxy.hold()
                    held.append(proxy)
        target = f"{_names(numbers)} apart from the others"
        number = self._begin("partition", target, candidates, silences=True)

        def heal() -> None:
            network.mend()
            for proxy in held:
                proxy.pass_on()
            for candidate in affected:
                candidate.cut_off = False
            self._busy.difference_update(servers)

        self._last(number, seconds, heal)

    # Servers

    def kill_servers(self, servers: Sequence[Server], seconds: float) -> None:
        """SIGKILL; started again at the end."""
        self._hit(servers, "kill", seconds, Server.kill, Server.launch)

    def pause_servers(self, servers: Sequence[Server], seconds: float) -> None:
        """SIGSTOP, and SIGCONT at the end."""
        self._hit(servers, "pause", seconds, Server.freeze, Server.thaw)

    def restart_servers(self, servers: Sequence[Server], seconds: float) -> None:
        """Shut down in order; started again at the end."""
        self._hit(servers, "restart", seconds, Server.shut_down, Server.launch)

    def wipe_server(self, server: Server, seconds: float) -> None:
        """Killed; started again without its data at the end.

        No other server is hit before it has caught up: it was part of the majority that knows of
        a write.
        """
        others = [other for other in self.free_servers() if other is not server]

        def start_again(server: Server) -> None:
            server.launch()
            self.store.wait_until_caught_up(server)
            self._busy.difference_update(others)

        self._busy.update(others)
        self._hit([server], "lose the data", seconds, self.store.lose_data, start_again)

    def operate(self, action: str, seconds: float = 0.0) -> None:
        """Do something that an operator may do, and undo it at the end if it has to be."""
        do, excuses = self.store.actions()[action]
        number = self._begin(action, "store", excuses=excuses)
        undo: Heal | None = None
        with contextlib.suppress(*Failed):  # the servers elect a leader just now
            undo = do()
        self._last(number, seconds if undo else 0.0, undo or _nothing)

    def _hit(
        self,
        servers: Sequence[Server],
        name: str,
        seconds: float,
        hit: Callable[[Server], object],
        mend: Callable[[Server], object],
    ) -> None:
        self._busy.update(servers)
        for server in servers:
            hit(server)
        numbers = [self.store.nodes.index(server) for server in servers]
        number = self._begin(name, _names(numbers))

        def heal() -> None:
            for server in servers:
                mend(server)
                self._busy.discard(server)

        self._last(number, seconds, heal, of_servers=True)


def _disturb(proxy: Proxy, how: str, delay: float) -> None:
    match how:
        case "hold":
            proxy.hold()
        case "reset":
            proxy.reset()
        case "delay":
            proxy.delay(delay)
        case "drop replies":
            proxy.drop_replies()
        case _:
            raise ValueError(f"no proxy can {how!r}")


def _names(numbers: Sequence[int]) -> str:
    return ", ".join(f"server {number + 1}" for number in numbers)


def _nothing() -> None:
    """Heals what ends by itself."""
