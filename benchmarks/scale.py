"""Many elections of one client:  python -m benchmarks.scale --backend redis --elections 10000

On a real server of its own: how long until all are won from cold, what they cost at rest (threads,
connections, requests, memory, CPU), and what happens when the store dies. What another program
does to this machine meanwhile is in the seconds, and not in the counts.

    pip install 'leaderlock[chaos]'
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.stores import Count, Store, less, open_store, told
from leaderlock import LeaderElector, Leadership, LossReason, connect
from leaderlock.client import Client

PAGE = os.sysconf("SC_PAGE_SIZE")
LONGEST = 600.0  # seconds until all are won, or lost: then it is given up
# The goals for 10,000 elections, 1,000 on Consul and sqlite.
COLD = {"redis": 20.0, "etcd": 20.0}  # seconds until all are won
GROWING = ("redis", "zookeeper")  # a heartbeat takes one request for each CHUNK of elections
CHUNK = 500
CONSTANT = 5  # requests of a heartbeat elsewhere


@dataclass
class Rest:
    """What it costs to hold everything, while nothing happens.

    Attributes:
        requests: in one heartbeat, by kind, as the store counts them.
        cpu: share of one core.
    """

    heartbeat: float
    requests: Count
    cpu: float


@dataclass
class Loss:
    """What followed when the store was killed.

    Attributes:
        first, last: seconds until on_lost was called.
        deadline: the ttl: the store lets nobody else in before it, so that on_lost comes in time.
        window: seconds within which every belief has ended.
        believing: how many electors said later than that that they lead.
        repeated: on_lost calls of an election that had lost its term already, or had none.
        threads: the most that there were meanwhile.
        cpu: share of one core while they are lost.
    """

    first: float
    last: float
    deadline: float
    window: float
    believing: int
    repeated: int
    threads: int
    cpu: float


@dataclass
class Figures:
    """All that was measured with so many elections."""

    backend: str
    elections: int
    cold: float
    cold_requests: Count
    threads: Mapping[str, int]
    connections: int
    rss: float
    traced: float | None
    rest: Rest
    loss: Loss | None = None


@dataclass
class Diary:
    """When each election was won and lost, as the callbacks tell."""

    won: dict[str, float] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)
    repeated: int = 0
    complete: threading.Event = field(default_factory=threading.Event)
    wanted: int = 0

    def on_elected(self, leadership: Leadership) -> None:
        self.won[leadership.election] = time.monotonic()
        self._look(self.won)

    def on_lost(self, leadership: Leadership, reason: LossReason) -> None:
        self.repeated += leadership.election in self.lost or leadership.election not in self.won
        self.lost[leadership.election] = time.monotonic()
        self._look(self.lost)

    def _look(self, seen: Mapping[str, float]) -> None:
        if len(seen) >= self.wanted:
            self.complete.set()

    def wait(self, what: str) -> None:
        if not self.complete.wait(LONGEST):
            raise RuntimeError(f"{len(self.won)} won and {len(self.lost)} lost: not all are {what}")
        self.complete.clear()


def threads() -> Mapping[str, int]:
    """The threads of this process by name, also those that no Python has made."""
    names = Counter(
        thread.name.rstrip("0123456789-_") or "?" for thread in threading.enumerate()[1:]
    )
    if (others := _tasks() - 1 - names.total()) > 0:
        names["of libraries"] = others
    return dict(names)


def _tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def connections() -> int:
    """How many TCP connections of this process are open."""
    sockets = set()
    for fd in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):  # that of the listing itself
            sockets.add(str(fd.readlink()))
    found = 0
    for table in "tcp", "tcp6":
        for line in Path(f"/proc/self/net/{table}").read_text("ascii").splitlines()[1:]:
            columns = line.split()
            found += columns[3] == "01" and f"socket:[{columns[9]}]" in sockets
    return found


def rss() -> int:
    """Bytes of memory that this process has in use."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE


def measure(backend: str, n: int, *, ttl: float, seconds: float, trace: bool) -> Figures:
    """Win so many elections, hold them, and lose them."""
    with open_store(backend) as store, connect(store.url, ttl=ttl) as client:
        diary = Diary()
        with client.elector("warm-up").lead(timeout=LONGEST):
            pass  # threads, connections and modules are there, and no election
        if trace:
            tracemalloc.start()
        used, traced = rss(), tracemalloc.get_traced_memory()[0]
        before, began = store.requests(), time.monotonic()
        diary.wanted = n
        electors = _start(client, n, diary)
        diary.wait("won")
        cold = time.monotonic() - began
        cold_requests = less(store.requests(), before)
        rest = _rest(store, client, seconds)
        figures = Figures(
            backend,
            n,
            cold,
            cold_requests,
            threads(),
            connections(),
            (rss() - used) / n,
            (tracemalloc.get_traced_memory()[0] - traced) / n if trace else None,
            rest,
        )
        if trace:
            _show_trace(n)
            tracemalloc.stop()
        if store.kill is not None:
            figures.loss = _loss(store.kill, client, electors, diary)
        return figures


def _start(client: Client, n: int, diary: Diary) -> list[LeaderElector]:
    electors = []
    for number in range(n):
        elector = client.elector(
            f"shard-{number}", on_elected=diary.on_elected, on_lost=diary.on_lost
        )
        elector.start()
        electors.append(elector)
    return electors


def _rest(store: Store, client: Client, seconds: float) -> Rest:
    """Over whole heartbeats; not the first, which may still have to do with the beginning."""
    nothing, heartbeat = threading.Event(), client.timing.heartbeat
    nothing.wait(heartbeat)
    rounds = max(1, round(seconds / heartbeat))
    before, cpu = store.requests(), time.process_time()
    nothing.wait(rounds * heartbeat)
    cpu = time.process_time() - cpu
    # It beats up to a tenth early.
    made = less(store.requests(), before, rounds / 0.95)
    return Rest(heartbeat, made, cpu / (rounds * heartbeat))


def _loss(
    kill: Callable[[], object], client: Client, electors: list[LeaderElector], diary: Diary
) -> Loss:
    most, believing, seen = 0, 0, threading.Event()
    timing = client.timing

    def watch() -> None:
        nonlocal most, believing
        due = died + timing.belief_window
        while not seen.wait(min(0.05, max(0.0, due - time.monotonic()))):
            most = max(most, _tasks() - 2)  # neither this thread nor the main one
            if time.monotonic() >= due:
                believing = sum(elector.is_leader for elector in electors)
                due = math.inf

    kill()
    died, cpu = time.monotonic(), time.process_time()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        diary.wait("lost")
    finally:
        seen.set()
        watcher.join()
    cpu, took = time.process_time() - cpu, time.monotonic() - died
    times = [at - died for at in diary.lost.values()]
    window, ttl = timing.belief_window, timing.ttl
    return Loss(min(times), max(times), ttl, window, believing, diary.repeated, most, cpu / took)


def _show_trace(n: int) -> None:
    package = tracemalloc.Filter(True, "*")
    statistics = tracemalloc.take_snapshot().filter_traces([package]).statistics("lineno")
    for line in statistics[:25]:
        frame = line.traceback[0]
        print(f"{line.size / n:8.0f} B {line.count / n:6.2f}x {frame}", file=sys.stderr)


def _table(figures: Figures) -> Table:
    n, rest, loss = figures.elections, figures.rest, figures.loss
    table = Table(title=f"{figures.backend}, {n:,} elections of one client", title_justify="left")
    for heading in "", "measured", "goal", "":
        table.add_column(heading, overflow="fold")

    def row(what: str, value: float, form: str, goal: float, detail: str = "") -> None:
        colour = "green" if value <= goal else "bold red"
        limit = "" if goal == math.inf else format(goal, form)
        table.add_row(what, f"[{colour}]{value:{form}}[/]", limit, detail)

    row(
        "won from cold, s",
        figures.cold,
        ".1f",
        COLD.get(figures.backend, math.inf),
        told(figures.cold_requests),
    )
    row("threads", sum(figures.threads.values()), ".0f", 12, told(figures.threads))
    row("connections", figures.connections, ".0f", 8)
    round_trips = math.ceil(n / CHUNK) if figures.backend in GROWING else CONSTANT
    row(
        f"requests per heartbeat of {rest.heartbeat:.1f} s",
        sum(rest.requests.values()),
        ".1f",
        round_trips,
        told(rest.requests),
    )
    row("memory per election, KiB", figures.rss / 1024, ".1f", 8)
    if figures.traced is not None:
        row("  as Python counts it", figures.traced / 1024, ".1f", 8)
    row("CPU at rest, % of a core", rest.cpu * 100, ".1f", 10)
    if loss is not None:
        row(f"said to lead {loss.window:.2f} s after the store's end", loss.believing, ".0f", 0)
        row("last on_lost after the store's end, s", loss.last, ".2f", loss.deadline)
        row("  the first, s", loss.first, ".2f", loss.deadline)
        row("  out of order, or twice", loss.repeated, ".0f", 0)
        row("  threads meanwhile", loss.threads, ".0f", 12)
        row("  CPU meanwhile, % of a core", loss.cpu * 100, ".1f", math.inf)
    return table


def main(
    *,
    backend: Annotated[
        str, typer.Option(help="memory, sqlite, redis, etcd, zookeeper or consul.")
    ] = "redis",
    elections: Annotated[int, typer.Option(help="How many.", min=1)] = 10_000,
    ttl: Annotated[float, typer.Option(help="The lease in seconds.")] = 10.0,
    seconds: Annotated[float, typer.Option(help="To watch them at rest, about.")] = 8.0,
    trace: Annotated[
        bool, typer.Option(help="Also where memory is allocated; all is slower.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="The figures, and no table.")] = False,
) -> None:
    """Measure many elections of one client."""
    figures = measure(backend, elections, ttl=ttl, seconds=seconds, trace=trace)
    if json_:
        print(json.dumps(asdict(figures), indent=2))
        return
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(_table(figures))


if __name__ == "__main__":
    typer.run(main)
