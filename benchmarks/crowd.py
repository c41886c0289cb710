"""Many candidates for one election:  python -m benchmarks.crowd --backend redis

On a real server of its own, from several processes: what the store is asked for a hand-over after
a resignation, at rest, and for a fail-over; how long they take; and whether the candidates are
served in the order in which they came. What another program does to this machine meanwhile is in
the seconds, and not in the counts.

    pip install 'leaderlock[chaos]'
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from typing import Annotated, Literal, NamedTuple, Self

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.candidates import LONGEST, News, Process
from benchmarks.stores import Count, Store, less, open_store, told
from leaderlock import LossReason, connect

# A hand-over among the most candidates may ask so much more than one among the fewest.
RATIO, BESIDE = 1.5, 5
_LOOK = 0.3  # seconds without more than what is asked at rest: it is over
_AFTERWARDS = 3  # hand-overs after a fail-over, when some who waited are dead


@dataclass
class HandOvers:
    """What follows when the leader resigns.

    Attributes:
        many: how many there were.
        requests: of one, by kind, less those at rest in that time.
        with_rest: of one, all of them.
        median, worst: seconds from before the resignation until somebody else is elected.
        in_order: the share that went to who had waited longest.
    """

    many: int
    requests: Count
    with_rest: float
    median: float
    worst: float
    in_order: float


@dataclass
class FailOver:
    """What follows when the process of the leader is killed, with others who wait.

    Attributes:
        seconds: until somebody else is elected.
        longest: what the timing promises.
        requests: until no more is asked than at rest, by kind; with those at rest, because who
            waits asks again as the lease ends.
        worst_hand_over: seconds, of the next few.
    """

    seconds: float
    longest: float
    requests: Count
    worst_hand_over: float


@dataclass
class Figures:
    """All that was measured with so many candidates.

    Attributes:
        clients: over which they contend, each with a session of its own.
        rest: requests in a ttl in which nothing happens, by kind.
    """

    candidates: int
    clients: int
    rest: Count
    hand_overs: HandOvers
    fail_over: FailOver | None


@dataclass(frozen=True)
class Plan:
    """What is done with each crowd.

    Attributes:
        processes: over which the candidates are spread.
        clients: in each process, at most.
        ttl: the lease in seconds.
        hand_overs: how many.
        seconds: to watch them at rest, about.
    """

    processes: int
    clients: int
    ttl: float
    hand_overs: int
    seconds: float


@dataclass
class Results:
    """A run."""

    backend: str
    plan: Plan
    crowds: list[Figures]

    @property
    def goal(self) -> float:
        """The most requests that a hand-over may take, however many wait."""
        return RATIO * sum(self.crowds[0].hand_overs.requests.values()) + BESIDE

    def as_json(self) -> dict[str, object]:
        """All of it, in seconds."""
        return {**asdict(self), "goal": self.goal}


class Turn(NamedTuple):
    """A hand-over: how long it took, and whether who had waited longest leads now."""

    seconds: float
    in_order: bool


class Crowd:
    """All candidates, who leads, and who waits for how long."""

    def __init__(self, url: str, plan: Plan) -> None:
        self._processes = [Process(url, plan.ttl, plan.clients) for _ in range(plan.processes)]
        self._homes: dict[int, Process] = {}
        self._leader = 0
        self._waiting: deque[int] = deque()  # who came first stands first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            process.end()

    def join(self, many: int) -> None:
        """One after the other, so that it is known who came first. The first one leads."""
        for candidate in range(many):
            home = self._processes[candidate % len(self._processes)]
            self._homes[candidate] = home
            home.join(candidate)
            if candidate == self._leader:
                self._wait_for("joined", "elected")
            else:
                self._wait_for("joined")
                self._waiting.append(candidate)

    def hand_over(self) -> Turn:
        """The leader resigns, and contends again behind all others."""
        self._homes[self._leader].resign(self._leader)
        resigned, elected = self._wait_for("resigned", "elected")
        if elected.at < resigned.at:
            raise RuntimeError(f"{elected.candidate} was elected while {self._leader} led")
        in_order = elected.candidate == self._waiting[0]
        self._waiting.append(self._leader)
        self._leads(elected.candidate)
        return Turn(elected.at - resigned.at, in_order)

    def fail_over(self) -> float:
        """The process of the leader is killed, with all its candidates. Returns the seconds."""
        dead = self._homes[self._leader]
        at = dead.kill()
        self._processes.remove(dead)
        dead.end()
        self._waiting = deque(each for each in self._waiting if self._homes[each] is not dead)
        (elected,) = self._wait_for("elected")
        self._leads(elected.candidate)
        return elected.at - at

    def _leads(self, candidate: int) -> None:
        self._waiting.remove(candidate)
        self._leader = candidate

    def _wait_for(self, *wanted: Literal["joined", "resigned", "elected"]) -> list[News]:
        """One of each, and nothing else."""
        found: dict[str, News] = {}
        while len(found) < len(wanted):
            news = self._next_news()
            if news.what not in wanted or news.what in found or news.why:
                raise RuntimeError(f"{news} came where {', '.join(wanted)} had to come")
            found[news.what] = news
        return [found[what] for what in wanted]

    def _next_news(self) -> News:
        while True:
            ready = wait([process.news for process in self._processes], LONGEST)
            if not ready:
                raise RuntimeError(f"nothing has happened for {LONGEST:g} s")
            news = next(process.news for process in self._processes if process.news in ready).recv()
            if (news.what, news.why) != ("lost", LossReason.RESIGNED.name):
                return news


class Measurement:
    """One crowd over one store."""

    def __init__(self, store: Store, crowd: Crowd, plan: Plan) -> None:
        self._store = store
        self._crowd = crowd
        self._plan = plan
        self._ttl = plan.ttl
        self._rest: Count = {}  # in a ttl

    def rest(self) -> Count:
        """Over whole ttl: some ask only once in each."""
        time.sleep(self._ttl / 2)  # what has to do with the beginning
        rounds = max(1, round(self._plan.seconds / self._ttl))
        before = self._store.requests()
        time.sleep(rounds * self._ttl)
        self._rest = less(self._store.requests(), before, rounds)
        return self._rest

    def hand_overs(self) -> HandOvers:
        """One when all that the one before has caused is over; for whole ttl, as above."""

        many = self._plan.hand_overs
        began, before = time.monotonic(), self._store.requests()
        turns = [self._one_hand_over() for _ in range(many)]
        time.sleep(-(time.monotonic() - began) % self._ttl)
        rounds = round((time.monotonic() - began) / self._ttl)
        asked = less(self._store.requests(), before)
        at_rest = {kind: number * rounds for kind, number in self._rest.items()}
        seconds = [turn.seconds for turn in turns]
        return HandOvers(
            many,
            less(asked, at_rest, many),
            sum(asked.values()) / many,
            statistics.median(seconds),
            max(seconds),
            statistics.mean(turn.in_order for turn in turns),
        )

    def fail_over(self) -> FailOver:
        """And some hand-overs after it."""
        longest = connect(self._store.url, ttl=self._ttl).timing.worst_case_failover
        before = self._store.requests()
        seconds = self._crowd.fail_over()
        self._settle()
        asked = less(self._store.requests(), before)
        afterwards = [self._one_hand_over().seconds for _ in range(_AFTERWARDS)]
        return FailOver(seconds, longest, asked, max(afterwards))

    def _one_hand_over(self) -> Turn:
        turn = self._crowd.hand_over()
        self._settle()
        return turn

    def _settle(self) -> None:
        """Until no more is asked than at rest."""
        usual = sum(self._rest.values()) / self._ttl * _LOOK
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            before = self._store.requests()
            time.sleep(_LOOK)
            if sum(less(self._store.requests(), before).values()) <= 1.2 * usual + 3:
                return


def measure(backend: str, candidates: int, plan: Plan) -> Figures:
    """Have so many contend, and hand over again and again."""
    with open_store(backend) as store, Crowd(store.url, plan) as crowd:
        crowd.join(candidates)
        measurement = Measurement(store, crowd, plan)
        return Figures(
            candidates,
            min(candidates, plan.processes * plan.clients),
            measurement.rest(),
            measurement.hand_overs(),
            measurement.fail_over() if plan.processes > 1 else None,
        )


def table(results: Results) -> Table:
    """A column for each crowd, and what is asked for with the largest."""
    crowds, last = results.crowds, results.crowds[-1]
    title = f"{results.backend}, candidates of one election, in {results.plan.processes} processes"
    shown = Table(title=title, title_justify="left")
    shown.add_column("", overflow="fold")
    for heading in (*(f"{each.candidates:,}" for each in crowds), "goal"):
        shown.add_column(heading, justify="right")
    shown.add_column(f"asked with {last.candidates:,}", overflow="fold")

    def row(
        what: str, values: Iterable[float], form: str, goal: float = math.inf, detail: str = ""
    ) -> None:
        cells = (f"[{'green' if v <= goal else 'bold red'}]{v:{form}}[/]" for v in values)
        limit = "" if goal == math.inf else format(goal, form)
        shown.add_row(what, *cells, limit, detail)

    turns = [each.hand_overs for each in crowds]
    row("clients", (each.clients for each in crowds), ",")
    row(
        "requests of a hand-over",
        (sum(each.requests.values()) for each in turns),
        ",.1f",
        results.goal,
        told(last.hand_overs.requests),
    )
    row("  with those at rest meanwhile", (each.with_rest for each in turns), ",.1f")
    row("hand-over, median, ms", (each.median * 1000 for each in turns), ",.1f")
    row("  the worst, ms", (each.worst * 1000 for each in turns), ",.1f")
    row("  to who has waited longest, %", (each.in_order * 100 for each in turns), ".0f")
    row(
        f"requests at rest in {results.plan.ttl:g} s",
        (sum(each.rest.values()) for each in crowds),
        ",.1f",
        detail=told(last.rest),
    )
    if fail_overs := [each.fail_over for each in crowds if each.fail_over is not None]:
        row(
            "fail-over after SIGKILL, s",
            (each.seconds for each in fail_overs),
            ".2f",
            max(each.longest for each in fail_overs),
        )
        row(
            "  requests, with those at rest",
            (sum(each.requests.values()) for each in fail_overs),
            ",.1f",
            detail=told(fail_overs[-1].requests),
        )
        row(
            "  the worst hand-over after it, ms",
            (each.worst_hand_over * 1000 for each in fail_overs),
            ",.1f",
        )
    return shown


def main(
    *,
    backend: Annotated[
        str, typer.Option(help="sqlite, redis, etcd, zookeeper or consul; memory: in one process.")
    ] = "redis",
    candidates: Annotated[str, typer.Option(help="How many; one crowd after the other.")] = (
        "10,100,1000"
    ),
    processes: Annotated[int, typer.Option(help="They are spread over so many.", min=1)] = 4,
    clients: Annotated[int, typer.Option(help="In each process, at most.", min=1)] = 5,
    hand_overs: Annotated[int, typer.Option(help="Of each crowd.", min=1)] = 20,
    ttl: Annotated[float, typer.Option(help="The lease in seconds.")] = 10.0,
    seconds: Annotated[float, typer.Option(help="To watch them at rest, about.")] = 20.0,
    json_: Annotated[bool, typer.Option("--json", help="The figures, and no table.")] = False,
) -> None:
    """Measure many candidates for one election."""
    try:
        sizes = sorted({int(each) for each in candidates.split(",")})
    except ValueError:
        raise typer.BadParameter(f"--candidates {candidates}: write for example 10,100") from None
    # Who resigns contends again, and somebody has to be left when a process has been killed.
    if sizes[0] < 2 * processes:
        raise typer.BadParameter(f"{processes} processes take {2 * processes} candidates or more")
    if backend == "memory" and processes > 1:
        raise typer.BadParameter("memory:// is a store of one process: --processes 1")
    results = Results(backend, Plan(processes, clients, ttl, hand_overs, seconds), [])
    for size in sizes:
        print(f"... {size:,} candidates", file=sys.stderr)
        results.crowds.append(measure(backend, size, results.plan))
    if json_:
        print(json.dumps(results.as_json(), indent=2))
        return
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table(results))


if __name__ == "__main__":
    typer.run(main)
