"""Who is compared, and what a comparison shows: one short run for each kind of fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.peers.schedule import STEPS, schedule
from benchmarks.peers.stores import STORES
from leaderlock.testing.chaos import runner
from leaderlock.testing.chaos.history import History
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.verdicts import Status, Verdict

FAULTS = tuple(STEPS)
INVARIANTS = tuple(f"I{number}" for number in range(1, 11))
_TOKENS = frozenset({"I2", "I3"})
_QUEUES = frozenset({"I8"})
_CANDIDATES = 3


@dataclass(frozen=True)
class Peer:
    """A row of the table.

    Attributes:
        module: with the factory; empty for leaderlock itself.
        silent: the invariants that say nothing about it.
    """

    name: str
    store: str
    module: str = ""
    silent: frozenset[str] = frozenset()

    def run(self, fault: str, *, seconds: float, seed: int, ttl: float) -> Run:
        """Have three candidates contend under one kind of fault."""
        settings = runner.Settings(
            backend=self.store,
            candidates=_CANDIDATES,
            seconds=seconds,
            seed=seed,
            ttl=ttl,
            candidate=f"benchmarks.peers.{self.module}" if self.module else "leaderlock",
            not_applicable=self.silent,
        )
        store = STORES[self.store]() if self.module else None
        script = schedule(fault, seconds=seconds, seed=seed, ttl=ttl)
        return runner.run(settings, store=store, script=script)


PEERS = (
    Peer("leaderlock on zookeeper", "zookeeper"),
    Peer("kazoo Lock", "zookeeper", "kazoo_lock:make", _TOKENS),
    Peer("kazoo Lock and listener", "zookeeper", "kazoo_lock:make_listening", _TOKENS),
    Peer("tooz on zookeeper", "zookeeper", "tooz_lock:make_zookeeper", _TOKENS | _QUEUES),
    Peer("leaderlock on etcd", "etcd"),
    Peer("python-etcd3 Lock", "etcd", "etcd3_lock:make", _TOKENS | _QUEUES),
    Peer("tooz on etcd", "etcd", "tooz_lock:make_etcd", _TOKENS | _QUEUES),
    Peer("leaderlock on redis", "redis"),
    Peer("redis-py Lock", "redis", "redis_lock:make", _TOKENS | _QUEUES),
    Peer("tooz on redis", "redis", "tooz_lock:make_redis", _TOKENS | _QUEUES),
)


@dataclass(frozen=True)
class Row:
    """What the runs of a peer have shown.

    Attributes:
        runs: by the kind of fault.
    """

    peer: Peer
    runs: dict[str, Run]

    def cell(self, invariant: str) -> str:
        """`held`, the faults under which it was broken, or `-` where nothing can be said."""
        found = {fault: _verdict(run, invariant) for fault, run in self.runs.items()}
        for status, word in (Status.VIOLATED, "broken"), (Status.REPORTED, "excused"):
            broken = {fault: v for fault, v in found.items() if v.status is status}
            if causes := [
                _cause(verdict, fault, self.runs[fault]) for fault, verdict in broken.items()
            ]:
                return f"{word}: {', '.join(dict.fromkeys(causes))}"
        held = any(verdict.status is Status.HELD for verdict in found.values())
        return "held" if held else "-"

    def hung(self) -> str:
        """How many candidates did not end when they were told to, and were killed."""
        hung = {fault: len(list(_hung(run))) for fault, run in self.runs.items()}
        return ", ".join(f"{many} ({fault})" for fault, many in hung.items() if many) or "-"

    def examples(self) -> Iterator[tuple[str, str, Verdict]]:
        """What was broken: the fault, the invariant, and the verdict."""
        for fault, run in self.runs.items():
            for verdict in run.verdicts:
                if verdict.status in (Status.VIOLATED, Status.REPORTED):
                    yield fault, verdict.invariant, verdict


def _cause(verdict: Verdict, fault: str, run: Run) -> str:
    """The fault; but in the calm after all faults somebody resigns, with a write under way."""
    calm = History(run.events).of("calm")[0].at
    late = verdict.invariant == "I1" and verdict.counter_example[-1].at > calm
    return "resignation" if late else fault


def _verdict(run: Run, invariant: str) -> Verdict:
    return next(verdict for verdict in run.verdicts if verdict.invariant == invariant)


def _hung(run: Run) -> Iterator[str]:
    history = History(run.events)
    ended = {event.who for event in history.of("stopped")} | history.killed.keys()
    for event in history.of("started"):
        if event.who not in ended:
            yield event.who


LEGEND = (
    "held: in every run in which something happened that it speaks of.",
    "broken: under these faults, each in a run of its own.",
    "resignation: a write under way when its sender resigned, in the calm after all faults.",
    "excused: broken only where the store itself does not promise it.",
    "-: says nothing. I2, I3: no token. I5: no callbacks, and no belief that outlived a silence.",
    "hung: candidates that had to be killed at the end, because to stop them took too long.",
)


def markdown(rows: Sequence[Row], command: str) -> str:
    """The table, what its words mean, and the command that makes it."""
    heads = ["", *INVARIANTS, "hung"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        cells = [row.peer.name, *(row.cell(name) for name in INVARIANTS), row.hung()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *LEGEND, "", f"    {command}", ""])
