"""A discrete-event simulation: candidates, one lease store, drifting clocks and every fault.

    python -m tests.model.cluster --seed 17              replay one run, with its trace
    python -m tests.model.cluster --seed 0 --runs 10000  many runs, with what happened in them

What is asserted, beside the rules of a single candidate in `checked`:

* exclusion: at no instant of global time do two candidates believe. Belief begins only at an
  event, so that a check after every event misses none.
* tokens rise in the order of the elections, over all candidates.
* a leader is found: `Cluster.bound` seconds after the last fault somebody leads, and goes on to.
* it comes to rest: after `stop` nothing is open, nothing is due, and every process is idle.

With an operator who deletes leases or wipes the store, exclusion cannot hold (nothing tells the
old leader at once). Then belief must end within its window from the deletion.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from leaderlock.machine import Candidacy, State
from tests.model.checked import Checked, Violation
from tests.model.plan import Incident, draw
from tests.model.process import Process
from tests.model.store import Answer, Ask, Said, Store

_TRACE_SHOWN = 80
_TOO_MANY_EVENTS = 30_000


class Cluster:
    """One run. Everything in it follows from the arguments.

    Args:
        machine: the machine under test, or a mutant of it.
        store: the store, or a mutant of it.
        operator: whether somebody deletes leases and wipes the store.
        lenient: whether the rules of a single candidate go unchecked.
        trace: whether to keep a readable line for every event.
    """

    def __init__(
        self,
        seed: int,
        *,
        machine: type[Candidacy] = Candidacy,
        store: type[Store] = Store,
        operator: bool = False,
        lenient: bool = False,
        trace: bool = False,
    ) -> None:
        self.rng = Random(seed)
        self.plan = draw(self.rng, operator=operator)
        self.now = 0.0
        self.trace: list[str] | None = [] if trace else None
        self.happened: Counter[str] = Counter()
        self.store = store(self.plan.timing, self.rng)
        self.processes: list[Process] = []
        self._machine = machine
        self._operator = operator
        self._lenient = lenient
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._attempts = 0
        self._elected_ids: set[str] = set()
        self._highest_token = 0
        self._waiting: dict[Process, None] = {}  # in the order of their coming
        self._deposed: dict[str, float] = {}  # by attempt: when the operator took its lease
        self._store_down_until = 0.0
        self._last_arrival = 0.0  # of a message sent while faults lasted
        self._must_lead_from = float("inf")

    def run(self) -> None:
        """
        Raises:
            Violation: a rule is broken.
        """
        plan = self.plan
        for number, rate in enumerate(plan.rates):
            process = self._new_process(f"p{number}", rate)
            self.at(self.rng.uniform(0, plan.timing.ttl), process.run, process.start)
        for incident in plan.incidents:
            self.at(incident.at, self._strike, incident)
        self.at(plan.faults_end, self._end_faults)
        for _ in range(_TOO_MANY_EVENTS):
            if not self._queue:
                break
            self.now, _, act, args = heapq.heappop(self._queue)
            act(*args)
            self.check()
        self._check_rest()

    @property
    def bound(self) -> float:
        """From the last fault, and the last message it delayed, to a leader that stays.

        The stated worst case (a lease extended by the last fault runs out, a waiting candidate
        notices, one campaign), one pause of a back-off that is going on, and the work that has to
        drain first when everybody who contends has just lost a term. All on the slowest clock.
        """
        timing, plan = self.plan.timing, self.plan
        seconds = timing.worst_case_failover + timing.max_backoff + plan.longest_work
        return seconds / min(plan.store_rate, *plan.rates)

    # Events

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        self._scheduled += 1
        heapq.heappush(self._queue, (when, self._scheduled, act, args))

    def lag(self) -> float:
        """How much too late a timer fires."""
        plan = self.plan
        if self.now < plan.faults_end and self.rng.random() < plan.lag:
            return self.rng.uniform(0, plan.timing.belief_window)
        return 0.0

    def work_seconds(self) -> float:
        return self.rng.uniform(0, self.plan.longest_work)

    def check(self) -> None:
        leader: Process | None = None
        for process in self.processes:
            if process.believes():
                if leader is not None and not self._operator:
                    raise Violation("exclusion", f"{leader.name} and {process.name} both believe")
                leader = process
        if leader is None and self.now >= self._must_lead_from:
            raise Violation("a leader is found", f"none {self.bound:.6g} s after the last fault")
        if self._deposed:
            self._check_deposed()

    def elected(self, process: Process, token: int) -> None:
        if token <= self._highest_token and not self._operator:
            raise Violation("tokens rise", f"{token} after {self._highest_token}")
        self._highest_token = token

    # Messages

    def send(self, process: Process, ask: Ask, attempt_id: str, call: int) -> None:
        """Bring a request to the store, or lose it. An answer comes by `Process.on_answer`."""
        sent_at = process.local()
        copies = 1
        if self.now < self.plan.faults_end and self.rng.random() < self.plan.twice:
            copies = 2
            self.count("request delivered twice")
        for _ in range(copies):
            delay = self._travel("request", process.cut_requests_until)
            self.note(process, "sends", ask.value, attempt_id, delay)
            if delay is not None:
                self.at(self.now + delay, self._execute, process, ask, attempt_id, call, sent_at)

    def _travel(self, what: str, cut_until: float) -> float | None:
        """How long a message takes; None: it is lost."""
        plan, rng = self.plan, self.rng
        if self.now < plan.faults_end:
            fate = rng.random()
            if self.now < cut_until or fate < plan.lost:
                self.count(f"lost {what}")
                return None
            if fate < plan.lost + plan.late:
                delay = rng.uniform(0, rng.choice((1.0, 3.0)) * plan.timing.ttl)
                self.count(f"late {what}")
                self._last_arrival = max(self._last_arrival, self.now + delay)
                return delay
        return rng.uniform(0, plan.round_trip / 2)

    def _execute(
        self, process: Process, ask: Ask, attempt_id: str, call: int, sent_at: float
    ) -> None:
        if self.now < self._store_down_until:
            self.count("request met an outage")
            if self.rng.random() < 0.5:  # else it lies in a buffer, and is executed afterwards
                self.at(
                    self._store_down_until, self._execute, process, ask, attempt_id, call, sent_at
                )
            return
        held = self.store.holder
        answer = self.store.execute(ask, attempt_id, self.now * self.plan.store_rate)
        self.note(process, "store:", answer)
        if answer.said is Said.WAITING:
            self._waiting[process] = None
        if held and not self.store.holder:
            self._wake_all()
        if answer.said is Said.GRANTED:
            self._deposed.pop(attempt_id, None)
            if attempt_id != process.machine.attempt_id:
                self.count("campaign executed after it was given up")
        delay = self._travel("reply", process.cut_replies_until)
        if delay is not None:
            self.at(self.now + delay, self._answer, process, answer, call, sent_at)

    def _answer(self, process: Process, answer: Answer, call: int, sent_at: float) -> None:
        self.note(process, "hears", answer, sent_at)
        process.run(lambda: process.on_answer(answer, call, sent_at))

    def _wake_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for process in waiting:
            if self.rng.random() < self.plan.lost_wakes:
                self.count("lost wake")
            else:
                delay = self.rng.uniform(0, self.plan.round_trip)
                self.at(self.now + delay, process.run, process.wake)

    # Faults

    def _strike(self, incident: Incident) -> None:
        candidates = [process for process in self.processes if process.alive]
        process = self.rng.choice(candidates)
        if incident.kind.endswith("the leader"):
            process = next((p for p in candidates if p.believes()), process)
        kind = incident.kind.removesuffix(" the leader")
        self.note(process, "incident:", incident)
        self.count(kind)
        if process.believes():
            self.count(f"{kind}, leading")
        end = min(self.plan.faults_end, self.now + incident.seconds)
        if kind == "pause":
            self._pause(process, end)
        elif kind == "cut requests":
            process.cut_requests_until = end
        elif kind == "cut replies":
            process.cut_replies_until = end
        elif kind == "outage":
            self._store_down_until = max(self._store_down_until, end)
        elif kind == "kill":
            process.alive = False
            self.processes.remove(process)
            reborn = self._new_process(f"{process.name}'", process.rate)
            self.at(end, reborn.run, reborn.start)
        elif kind == "fork":
            if not process.paused:
                child = process.fork(f"{process.name}/{self._attempts}")
                self.processes.append(child)
        elif kind in ("resign", "stop", "start"):
            process.run(getattr(process, kind))
        else:
            self._operate(kind)

    def _pause(self, process: Process, until: float) -> None:
        if not process.paused:
            process.paused = True
            self.at(until, process.resume)

    def _operate(self, kind: str) -> None:
        if kind == "replace":
            self.store.source += "+"
        holder = self.store.delete() if kind == "delete" else self.store.wipe()
        if holder:
            self._deposed[holder] = self.now
            self._wake_all()

    def _end_faults(self) -> None:
        """From now on all goes well. Those who are to contend do so, at least one."""
        for process in self.processes:
            process.resume()
        willing = self.rng.sample(self.processes, self.rng.randint(1, len(self.processes)))
        for process in self.processes:
            if process in willing:
                process.run(process.start)
            elif self.rng.random() < 0.5:
                process.run(process.stop)
        quiet = max(self.now, self._last_arrival) + self.plan.round_trip
        if not self._operator:  # a candidate that met a regression contends no more
            self.at(quiet + self.bound, self._demand_leader, quiet + self.bound)
        self.at(quiet + self.bound + self.plan.timing.ttl, self._stop_all)

    def _demand_leader(self, since: float) -> None:
        self._must_lead_from = since

    def _stop_all(self) -> None:
        self._must_lead_from = float("inf")
        for process in self.processes:
            process.run(process.stop)

    # Checks beside exclusion

    def _check_deposed(self) -> None:
        window = self.plan.timing.belief_window
        for process in self.processes:
            deposed_at = self._deposed.get(process.machine.attempt_id)
            if deposed_at is None or not process.believes():
                continue
            until = (process.machine.valid_until - process.offset) / process.rate
            if until > deposed_at + window / process.rate + 1e-9:
                raise Violation("the deposed give up", f"{process.name} believes until {until:.6g}")

    def _check_rest(self) -> None:
        for process in self.processes:
            state, checked = process.machine.state, process.checked
            if self._queue or checked.open or checked.undrained:
                raise Violation("it comes to rest", f"{process.name} goes on, {state}")
            if state not in (State.IDLE, State.FORKED):
                raise Violation("it comes to rest", f"{process.name} is {state}")

    # Telling

    def count(self, what: str) -> None:
        self.happened[what] += 1

    def note(self, process: Process, *what: object) -> None:
        if self.trace is not None:
            words = " ".join(f"{w:.4f}" if isinstance(w, float) else str(w) for w in what)
            machine = process.machine
            self.trace.append(
                f"{self.now:10.4f} {process.name:8} local {process.local():10.4f} "
                f"{machine.state.value:13} {machine.attempt_id:5} {words}"
            )

    def _new_process(self, name: str, rate: float) -> Process:
        machine = self._machine(self.plan.timing, self._new_attempt_id)
        checked = Checked(
            machine,
            self.plan.timing,
            self._elected_ids,
            store_intact=not self._operator,
            lenient=self._lenient,
        )
        process = Process(self, name, checked, rate, offset=self.rng.uniform(0, 1000))
        self.processes.append(process)
        return process

    def _new_attempt_id(self) -> str:
        self._attempts += 1
        return f"a{self._attempts}"


def check_runs(
    seeds: Iterable[int],
    *,
    machine: type[Candidacy] = Candidacy,
    store: type[Store] = Store,
    operator: bool = False,
) -> Counter[str]:
    """Run each seed. Returns what happened in them all.

    Raises:
        Violation: with the seed, and the trace of what led to it.
    """
    happened: Counter[str] = Counter()
    for seed in seeds:
        cluster = Cluster(seed, machine=machine, store=store, operator=operator)
        try:
            cluster.run()
        except Violation as violation:
            replay = f"python -m tests.model.cluster --seed {seed}{' --operator' * operator}"
            trace = explain(seed, machine=machine, store=store, operator=operator)
            raise Violation(
                violation.rule, f"seed {seed} ({replay})\n{trace}\n{violation}"
            ) from violation
        happened += cluster.happened
    return happened


def explain(
    seed: int,
    *,
    machine: type[Candidacy] = Candidacy,
    store: type[Store] = Store,
    operator: bool = False,
) -> str:
    """The plan and the last events of a run, to be read by people."""
    cluster = Cluster(seed, machine=machine, store=store, operator=operator, trace=True)
    end = "no rule is broken"
    try:
        cluster.run()
    except Violation as violation:
        end = str(violation)
    lines = (cluster.trace or [])[-_TRACE_SHOWN:]
    return "\n".join([str(cluster.plan), *lines, f"{cluster.now:10.4f} {end}"])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model.cluster")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--operator", action="store_true", help="somebody deletes leases, too")
    chosen = parser.parse_args(arguments)
    if chosen.runs == 1:
        print(explain(chosen.seed, operator=chosen.operator))
        return 0
    try:
        happened = check_runs(
            range(chosen.seed, chosen.seed + chosen.runs), operator=chosen.operator
        )
    except Violation as violation:
        print(violation)
        return 1
    for what, times in sorted(happened.items()):
        print(f"{times:10} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
