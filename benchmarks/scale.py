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
import tempfile
import threading
import time
import tracemalloc
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from leaderlock import LeaderElector, Leadership, LossReason, connect
from leaderlock.client import Client
from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.etcd import EtcdServer
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.redis import RedisServer
from leaderlock.testing.servers.zookeeper import ZooKeeperServer

PAGE = os.sysconf("SC_PAGE_SIZE")
LONGEST = 600.0  # seconds until all are won, or lost: then it is given up
# The goals for 10,000 elections, 1,000 on Consul and sqlite.
COLD = {"redis": 20.0, "etcd": 20.0}  # seconds until all are won
GROWING = ("redis", "zookeeper")  # a heartbeat takes one request for each CHUNK of elections
CHUNK = 500
CONSTANT = 5  # requests of a heartbeat elsewhere

Count = Mapping[str, float]


@dataclass
class Store:
    """A store to measure on.

    Attributes:
        url: where it is.
        requests: what it has been asked so far, by kind, as it counts itself.
        kill: end it without a word; None: it has no process.
    """

    url: str
    requests: Callable[[], Count] = dict
    kill: Callable[[], None] | None = None


def _redis(server: RedisServer) -> Count:
    words = ("cmdstat_eval", "cmdstat_subscribe:", "cmdstat_unsubscribe:")
    lines = str(server.call("INFO", "commandstats")).splitlines()
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line.startswith(words):
            found[name.removeprefix("cmdstat_")] = float(value.partition("=")[2].partition(",")[0])
    return found


def _etcd(server: EtcdServer) -> Count:
    """Requests by method; those within streams, too."""
    found: Counter[str] = Counter()
    for line in _page(server, "/metrics").splitlines():
        if line.startswith("grpc_server_msg_received_total{"):
            labels, _, value = line.rpartition(" ")
            found[labels.partition('grpc_method="')[2].partition('"')[0]] += int(value)
    return {kind: float(number) for kind, number in found.items()}


def _consul(server: ConsulServer) -> Count:
    """Requests by method and path."""
    found = {}
    for line in _page(server, "/v1/agent/metrics?format=prometheus").splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("consul_http_") and name.endswith("_count") and "agent" not in name:
            found[name.removeprefix("consul_http_").removesuffix("_count")] = float(value)
    return found


def _zookeeper(server: ZooKeeperServer) -> Count:
    lines = [line.split("\t") for line in server.ask("mntr").splitlines()]
    return {"packets": float(dict(line for line in lines if len(line) == 2)["zk_packets_received"])}


def _page(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return str(answer.read(), "utf-8")


@contextmanager
def _store(backend: str) -> Iterator[Store]:
    with ExitStack() as stack:
        started: Callable[[Server], object] = stack.enter_context
        match backend:
            case "memory":
                yield Store("memory://scale")
            case "sqlite":
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                yield Store(f"sqlite://{folder}/elections.db")
            case "redis":
                started(redis := RedisServer(settings={"appendfsync": "everysec"}))
                # No restart to sit out: that would be a whole lease before the first election.
                url = f"{redis.url}?quarantine=false"
                yield Store(url, lambda: _redis(redis), redis.kill)
            case "etcd":
                started(etcd := EtcdServer())
                yield Store(etcd.url, lambda: _etcd(etcd), etcd.kill)
            case "zookeeper":
                started(zookeeper := ZooKeeperServer())
                yield Store(zookeeper.url, lambda: _zookeeper(zookeeper), zookeeper.kill)
            case "consul":
                telemetry = {"prometheus_retention_time": "1h", "disable_hostname": True}
                started(consul := ConsulServer(settings={"telemetry": telemetry}))
                yield Store(consul.url, lambda: _consul(consul), consul.kill)
            case _:
                raise typer.BadParameter(f"no store is called {backend}")


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
        deadline: seconds within which every belief has ended.
        repeated: on_lost calls of an election that had lost its term already, or had none.
        threads: the most that there were meanwhile.
        cpu: share of one core while they are lost.
    """

    first: float
    last: float
    deadline: float
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
    return names


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


def _less(after: Count, before: Count, per: float = 1) -> Count:
    differences = {kind: (after[kind] - before.get(kind, 0)) / per for kind in after}
    return {kind: round(value, 2) for kind, value in differences.items() if value}


def measure(backend: str, n: int, *, ttl: float, seconds: float, trace: bool) -> Figures:
    """Win so many elections, hold them, and lose them."""
    with _store(backend) as store, connect(store.url, ttl=ttl) as client:
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
        cold_requests = _less(store.requests(), before)
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
            figures.loss = _loss(store.kill, client, diary)
        del electors
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
    made = _less(store.requests(), before, rounds / 0.95)
    return Rest(heartbeat, made, cpu / (rounds * heartbeat))


def _loss(kill: Callable[[], None], client: Client, diary: Diary) -> Loss:
    most, seen = 0, threading.Event()

    def watch_threads() -> None:
        nonlocal most
        while not seen.wait(0.05):
            most = max(most, _tasks() - 2)  # neither this thread nor the main one

    watcher = threading.Thread(target=watch_threads)
    watcher.start()
    kill()
    died, cpu = time.monotonic(), time.process_time()
    try:
        diary.wait("lost")
    finally:
        seen.set()
        watcher.join()
    cpu, took = time.process_time() - cpu, time.monotonic() - died
    times = [at - died for at in diary.lost.values()]
    window = client.timing.belief_window
    return Loss(min(times), max(times), window, diary.repeated, most, cpu / took)


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
        _told(figures.cold_requests),
    )
    row("threads", sum(figures.threads.values()), ".0f", 12, _told(figures.threads))
    row("connections", figures.connections, ".0f", 8)
    round_trips = math.ceil(n / CHUNK) if figures.backend in GROWING else CONSTANT
    row(
        f"requests per heartbeat of {rest.heartbeat:.1f} s",
        sum(rest.requests.values()),
        ".1f",
        round_trips,
        _told(rest.requests),
    )
    row("memory per election, KiB", figures.rss / 1024, ".1f", 8)
    if figures.traced is not None:
        row("  as Python counts it", figures.traced / 1024, ".1f", 8)
    row("CPU at rest, % of a core", rest.cpu * 100, ".1f", 10)
    if loss is not None:
        row("last on_lost after the store's end, s", loss.last, ".2f", loss.deadline)
        row("  the first, s", loss.first, ".2f", loss.deadline)
        row("  out of order, or twice", loss.repeated, ".0f", 0)
        row("  threads meanwhile", loss.threads, ".0f", 12)
        row("  CPU meanwhile, % of a core", loss.cpu * 100, ".1f", math.inf)
    return table


def _told(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {count:g}" for kind, count in sorted(counts.items()))


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
