"""The measurements of one store. Whoever is measured takes turns with the others, round by round.

So what else the machine does hits all alike. The floors take their turns, too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.counting import COUNTERS, CountingProxy
from benchmarks.field import Entry, Field
from benchmarks.results import Figures, OnStore, Spread
from benchmarks.workers import Failed, Worker, end_all
from leaderlock.testing.servers.process import Server

# Waited besides, up to so many seconds by chance: who polls shall be met at any point of its
# interval, which is 0.1 s in every library here that polls Redis.
_POLL = 0.1

Tell = Callable[[str], None]
"""Is told what is being measured."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: in which everybody has a turn.
        cycles: elections and resignations in a turn.
        hand_overs: of each contestant.
        settle: seconds until a candidate is taken to be waiting.
        idle: ttl that leader and follower are watched.
        many: elections of one process, for memory and threads.
        fail_overs: leaders that are killed; 0: none.
        imports: starts of an interpreter for each statement.
        may_install: makes the venvs that peers need.
    """

    rounds: int
    cycles: int
    hand_overs: int
    settle: float
    idle: float
    many: int
    imports: int
    ttl: float = 3.0
    fail_overs: int = 0
    may_install: bool = True


FULL = Effort(30, 20, 60, 0.15, 4, 100, imports=30)
QUICK = Effort(4, 5, 3, 0.05, 0.5, 20, imports=1, may_install=False)


Pairs = dict[str, tuple[Worker, Worker]]
Proxies = dict[str, tuple[CountingProxy, CountingProxy]]


class Measurement:
    """Everybody on one store, whose server runs."""

    def __init__(
        self, field: Field, server: Server, pythons: dict[str, str], effort: Effort, on: OnStore
    ) -> None:
        self._server = server
        self._store = field.store
        self._entries = [entry for entry in field.entries if entry.name in pythons]
        self._pythons = pythons
        self._effort = effort
        self._on = on
        for entry in self._entries:
            on.figures[entry.name] = Figures()

    def run(self, tell: Tell) -> None:
        """All figures, one kind after the other."""
        url = self._server.url
        with self._pairs(self._entries, lambda _: (url, url)) as pairs:
            tell("elect and resign")
            pairs = self._elect(pairs)
            tell("hand-over")
            pairs = self._hand_over(pairs)
            tell("questions, memory, threads")
            self._memory(self._ask(pairs))
        tell("requests, and idle")
        self._count()
        if self._effort.fail_overs:
            tell("fail-over")
            self._fail_over()

    @contextmanager
    def _pairs(
        self, entries: list[Entry], urls: Callable[[Entry], tuple[str, str]]
    ) -> Iterator[Pairs]:
        """Two processes of each contestant, connected and warm. Who fails is left out."""
        effort = self._effort
        started: Pairs = {}
        try:
            for entry in entries:
                first, second = (
                    Worker(self._pythons[entry.name], entry.kind, url, effort.ttl)
                    for url in urls(entry)
                )
                started[entry.name] = first, second
            ready = self._each("start", started, lambda _, pair: [w.wait() for w in pair])
            # The first term may have to wait: leaderlock does after a start of Redis.
            for place in (0, 1):
                told = self._each(
                    "start",
                    ready,
                    lambda name, pair, place=place: pair[place].tell(  # type: ignore[misc]
                        "cycles", name=_election(name), many=2
                    ),
                )
                ready = self._each(
                    "start",
                    told,
                    lambda _, pair, place=place: pair[place].wait(),  # type: ignore[misc]
                )
            yield ready
        finally:
            end_all(worker for pair in started.values() for worker in pair)

    def _each(
        self, figure: str, pairs: Pairs, call: Callable[[str, tuple[Worker, Worker]], object]
    ) -> Pairs:
        """Call it for everybody, in turn; those for whom it did not fail.

        Who fails is not asked again for this figure: a worker may still be at it.
        """
        fine: Pairs = {}
        for name, pair in pairs.items():
            try:
                call(name, pair)
            except Failed as error:
                self._on.figures[name].errors.setdefault(figure, str(error))
            else:
                fine[name] = pair
        return fine

    def _elect(self, pairs: Pairs) -> Pairs:
        seconds: dict[str, list[float]] = {name: [] for name in pairs}

        def turn(name: str, pair: tuple[Worker, Worker]) -> None:
            answer = pair[0].do("cycles", name=_election(name), many=self._effort.cycles)
            seconds[name] += answer["seconds"]

        for _ in range(self._effort.rounds):
            pairs = self._each("elect_resign", pairs, turn)
        for name in pairs:
            self._on.figures[name].elect_resign = Spread.of(seconds[name])
        return pairs

    def _hand_over(self, pairs: Pairs) -> Pairs:
        seconds: dict[str, list[float]] = {name: [] for name in pairs}

        def turn(name: str, pair: tuple[Worker, Worker]) -> None:
            seconds[name].append(self._one_hand_over(name, *pair))

        # Each turn swaps the two, so that both are measured in both parts.
        leading = self._each("hand_over", pairs, lambda n, p: _acquire(p[0], n))
        for _ in range(self._effort.hand_overs):
            leading = {
                name: pair[::-1] for name, pair in self._each("hand_over", leading, turn).items()
            }
        for name in leading:
            self._on.figures[name].hand_over = Spread.of(seconds[name])
        return self._each("hand_over", leading, lambda _, pair: pair[0].do("release"))

    def _one_hand_over(self, name: str, leader: Worker, follower: Worker) -> float:
        """Seconds from before the call that resigns, to after the one that waited."""
        follower.tell("acquire", name=_election(name))
        time.sleep(self._effort.settle + _POLL * random.random())
        resigned = leader.do("release")["at"]
        return float(follower.wait()["at"] - resigned)

    def _ask(self, pairs: Pairs) -> Pairs:
        def turn(name: str, pair: tuple[Worker, Worker]) -> None:
            _acquire(pair[0], name)
            self._on.figures[name].asks = pair[0].do("ask", seconds=0.02)["ns"]
            pair[0].do("release")

        return self._each("asks", pairs, turn)

    def _memory(self, pairs: Pairs) -> None:
        many = self._effort.many
        can = {entry.name for entry in self._entries if entry.many}

        def turn(name: str, pair: tuple[Worker, Worker]) -> None:
            worker, figures = pair[0], self._on.figures[name]
            # What the first few need once is not what one more needs.
            worker.do("hold", name=f"{_election(name)}-first", many=5)
            memory, threads = worker.memory(), worker.threads()
            worker.do("hold", name=f"{_election(name)}-more", many=many)
            memory_then, threads_then = worker.memory(), worker.threads()
            if memory is not None and memory_then is not None:
                figures.memory = (memory_then - memory) / many
            if threads is not None and threads_then is not None:
                figures.threads = threads
                figures.threads_more = (threads_then - threads) / many

        self._each("memory", {n: p for n, p in pairs.items() if n in can}, turn)

    def _count(self) -> None:
        """Through proxies that count: nothing here is timed."""
        with ExitStack() as stack:
            proxies: dict[str, tuple[CountingProxy, CountingProxy]] = {}

            def urls(entry: Entry) -> tuple[str, str]:
                one, other = (
                    stack.enter_context(CountingProxy(self._server.port, COUNTERS[self._store]))
                    for _ in range(2)
                )
                proxies[entry.name] = one, other
                return self._server.url_at(one.port), self._server.url_at(other.port)

            with self._pairs(self._entries, urls) as pairs:
                pairs = self._count_cycles(pairs, proxies)
                self._watch_idle(self._count_hand_overs(pairs, proxies), proxies)

    def _count_cycles(self, pairs: Pairs, proxies: Proxies) -> Pairs:
        many = 10

        def turn(name: str, pair: tuple[Worker, Worker]) -> None:
            before = proxies[name][0].requests
            pair[0].do("cycles", name=_election(name), many=many)
            took = proxies[name][0].requests - before
            self._on.figures[name].requests["elect_resign"] = took / many

        return self._each("requests", pairs, turn)

    def _count_hand_overs(self, pairs: Pairs, proxies: Proxies) -> Pairs:
        """Leaves the first of each pair leading, after an even number."""
        many = 2 if self._effort.hand_overs < 10 else 10

        def turn(name: str, pair: tuple[Worker, Worker]) -> None:
            one, other = pair
            _acquire(one, name)
            before = 0
            for number in range(many + 2):
                if number == 2:  # what the first wait of each opens is there
                    before = sum(proxy.requests for proxy in proxies[name])
                self._one_hand_over(name, one, other)
                one, other = other, one
            took = sum(proxy.requests for proxy in proxies[name]) - before
            self._on.figures[name].requests["hand_over"] = took / many

        return self._each("requests", pairs, turn)

    def _watch_idle(self, pairs: Pairs, proxies: Proxies) -> None:
        """One leads and one waits, of everybody at once: a process is billed for itself alone."""
        floors = {entry.name for entry in self._entries if entry.is_floor}
        programs = {entry.name for entry in self._entries if entry.program}
        pairs = {name: pair for name, pair in pairs.items() if name not in floors}
        pairs = self._each("idle", pairs, lambda n, p: p[1].tell("acquire", name=_election(n)))
        time.sleep(self._effort.settle * 5)
        began = time.monotonic()
        before = {
            name: [
                (proxy.requests, worker.cpu())
                for proxy, worker in zip(proxies[name], pair, strict=True)
            ]
            for name, pair in pairs.items()
        }
        time.sleep(self._effort.idle * self._effort.ttl)
        took = time.monotonic() - began
        for name, pair in pairs.items():
            figures = self._on.figures[name]
            for role, proxy, worker, (requests, cpu) in zip(
                ("leader", "follower"), proxies[name], pair, before[name], strict=True
            ):
                figures.requests[role] = (proxy.requests - requests) / took * self._effort.ttl
                cpu_now = worker.cpu()
                if cpu is not None and cpu_now is not None and name not in programs:
                    figures.cpu[role] = (cpu_now - cpu) / took

    def _fail_over(self) -> None:
        """Kill all leaders at once; each pair has an election of its own."""
        url = self._server.url
        entries = [entry for entry in self._entries if not entry.is_floor and not entry.program]
        seconds: dict[str, list[float]] = {entry.name: [] for entry in entries}
        for _ in range(self._effort.fail_overs):
            killed: dict[str, float] = {}

            def kill(
                name: str, pair: tuple[Worker, Worker], killed: dict[str, float] = killed
            ) -> None:
                killed[name] = pair[0].kill()

            def succeed(
                name: str, pair: tuple[Worker, Worker], killed: dict[str, float] = killed
            ) -> None:
                at = pair[1].wait(20 * self._effort.ttl)["at"]
                seconds[name].append((at - killed[name]) / self._effort.ttl)

            with self._pairs(entries, lambda _: (url, url)) as pairs:
                pairs = self._each("fail_over", pairs, lambda n, p: _acquire(p[0], n))
                pairs = self._each(
                    "fail_over", pairs, lambda n, p: p[1].tell("acquire", name=_election(n))
                )
                # So that it dies anywhere between two heartbeats.
                time.sleep(self._effort.ttl * (1 + random.random()))
                self._each("fail_over", self._each("fail_over", pairs, kill), succeed)
        for name, values in seconds.items():
            if values:
                self._on.figures[name].fail_over = Spread.of(values)


def _acquire(worker: Worker, name: str) -> None:
    worker.do("acquire", name=_election(name))


def _election(name: str) -> str:
    """Each contestant has one of its own: they do not keep each other out."""
    return "bench-" + "".join(letter if letter.isalnum() else "-" for letter in name)
