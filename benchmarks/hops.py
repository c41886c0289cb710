"""Where the time of an election goes, in units of Redis's floor:  python -m benchmarks.hops

A request of leaderlock is made on a thread of the client, so that stop() and a timeout end the wait
for it: the caller hands it over, and is handed the answer. This adds the parts up one by one, each
measured in turn with the others. docs/performance.md has a table of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

import typer

import leaderlock
from benchmarks.contestants.floor_redis import make_correct
from leaderlock.backends.base import Attempt, Backend
from leaderlock.testing.servers.redis import RedisServer

_TTL = 3.0

Job = Callable[[], object]


class Hand:
    """Another thread, as cheap as Python has it: no queue, no list of jobs, nothing to stop."""

    def __init__(self) -> None:
        self._job: Job = time.monotonic
        self._given, self._done = threading.Lock(), threading.Lock()
        self._given.acquire()
        self._done.acquire()
        threading.Thread(target=self._run, daemon=True).start()

    def call(self, job: Job) -> None:
        """Have it do the job, and wait: two hops."""
        self._job = job
        self._given.release()
        self._done.acquire()

    def _run(self) -> None:
        while True:
            self._given.acquire()
            self._job()
            self._done.release()


def adapter(backend: Backend) -> Job:
    """An election and its resignation by the backend alone, on the caller's thread."""

    def cycle() -> None:
        attempt = Attempt("adapter", os.urandom(16).hex(), b"{}", lambda: None)
        backend.campaign(attempt)
        backend.release(attempt)

    return cycle


def elector(client: leaderlock.Client) -> Job:
    """The same by an elector."""
    one = client.elector("elector")

    def cycle() -> None:
        with one.lead():
            pass

    return cycle


def measure(jobs: dict[str, Job], rounds: int, pause: float) -> dict[str, float]:
    """The median of each, in seconds. They take turns; each one comes after a pause."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            time.sleep(pause)
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(each) for name, each in seconds.items()}


def hops(
    *,
    rounds: Annotated[int, typer.Option(help="Of each.", min=1)] = 300,
    fsync: Annotated[str, typer.Option(help="appendfsync of the server.")] = "always",
    pause: Annotated[float, typer.Option(help="Seconds before each one.", min=0)] = 0.0,
) -> None:
    """Add up what an election in Redis takes, from the bare requests to `lead()`."""
    with RedisServer(settings={"appendfsync": fsync}) as server:
        contestant, hand = make_correct(server.url, _TTL), Hand()
        floor = contestant.lock("floor")
        url = f"{server.url}?quarantine=false"
        with (
            leaderlock.connect(url, ttl=_TTL) as client,
            leaderlock.connect("memory://hops", ttl=_TTL) as memory,
        ):

            def on_another_thread() -> None:
                hand.call(floor.acquire)
                hand.call(floor.release)

            jobs: dict[str, Job] = {
                "floor of what is correct": floor.cycle,
                "the same, each request on another thread": on_another_thread,
                "the adapter, on the caller's thread": adapter(client.runtime().backend),
                "lead()": elector(client),
                "lead() without a store (memory://)": elector(memory),
                "two hops of a thread": lambda: hand.call(time.monotonic),
            }
            measure(jobs, 20, 0.0)
            found = measure(jobs, rounds, pause)
    unit = found["floor of what is correct"]
    for name, seconds in found.items():
        typer.echo(f"{name:42} {seconds * 1e6:8.0f} us {seconds / unit:6.2f}")


if __name__ == "__main__":
    typer.run(hops)
