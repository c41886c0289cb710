"""Measures what leaderlock costs on this machine:  python -m benchmarks [--json]

Medians of many rounds. Where another program runs at the same time, the figures are its as well.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from leaderlock import LeaderElector

ROUNDS = 30


class Figure(NamedTuple):
    what: str
    median: float
    worst: float
    unit: str


def measure(what: str, unit: str, scale: float, once: Callable[[], float], rounds: int) -> Figure:
    """Call `once`, which returns seconds, so often; in `unit`, which is `scale` of a second."""
    times = [once() * scale for _ in range(rounds)]
    return Figure(what, statistics.median(times), max(times), unit)


def cost_of_checks() -> Iterator[Figure]:
    """What a program pays each time that it asks whether it still leads."""
    elector = LeaderElector("memory://", "checks", ttl=60)
    with elector.lead(timeout=10) as leadership:
        checks = {
            "elector.is_leader": lambda: elector.is_leader,
            "leadership.check()": leadership.check,
            "leadership.remaining()": leadership.remaining,
        }
        for what, check in checks.items():
            timer = timeit.Timer(check)

            def once(timer: timeit.Timer = timer) -> float:
                return timer.timeit(10_000) / 10_000

            yield measure(what, "us", 1e6, once, ROUNDS)


def cost_of_import(statement: str) -> Figure:
    """From nothing to the end of an interpreter that does nothing else."""

    def once() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - started

    return measure(f"python -c '{statement}'", "ms", 1e3, once, ROUNDS)


def hand_over(url: str) -> Figure:
    """From resign() to the next leader, between two candidates that keep resigning."""
    with LeaderElector(url, "hand-over") as one, LeaderElector(url, "hand-over") as other:

        def once() -> float:
            while not (one.is_leader or other.is_leader):
                one.wait_elected(timeout=0.01)
            leader, follower = (one, other) if one.is_leader else (other, one)
            started = time.perf_counter()
            leader.resign()
            if not follower.wait_elected(timeout=10):
                raise RuntimeError(f"{follower} was not elected")
            return time.perf_counter() - started

        return measure(f"hand-over on {url.partition(':')[0]}", "ms", 1e3, once, ROUNDS)


LEAD_TO_DEATH = """
import sys
from leaderlock import LeaderElector
with LeaderElector(sys.argv[1], "death").lead():
    print("leading", flush=True)
    sys.stdin.read()
"""


def succession(url: str) -> Figure:
    """From kill -9 of the leading process to the next leader."""

    def once() -> float:
        command = [sys.executable, "-c", LEAD_TO_DEATH, url]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with LeaderElector(url, "death") as follower:
                follower.wait_elected(timeout=0.1)
                started = time.perf_counter()
                process.kill()
                if not follower.wait_elected(timeout=30):
                    raise RuntimeError(f"{follower} was not elected")
                return time.perf_counter() - started

    return measure("succession of a killed process on sqlite", "ms", 1e3, once, 10)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--json"]):
        print(__doc__)
        return 0 if arguments == ["--help"] else 2
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite://{Path(folder)}/election.db"
        figures = [
            *cost_of_checks(),
            cost_of_import("pass"),
            cost_of_import("import leaderlock"),
            cost_of_import("from leaderlock import LeaderElector"),
            hand_over("memory://hand-over"),
            hand_over(url),
            succession(url),
        ]
    if arguments:
        print(json.dumps([figure._asdict() for figure in figures], indent=2))
    else:
        for figure in figures:
            print(
                f"{figure.what:<55} {figure.median:8.2f} {figure.unit}   (worst {figure.worst:.2f})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
