"""A contestant in a process of its own, which does what it is told: a line of JSON is an order.

    python -m benchmarks.worker MODULE:FACTORY URL TTL

It says `{"ready": true}`; then, to each order, one line: an answer, or `{"error": ...}`. All times
are seconds of CLOCK_MONOTONIC, which is one for all processes of a machine.

    {"do": "cycles", "name": ..., "many": 10}   {"seconds": [...]}      elect and resign
    {"do": "acquire", "name": ...}              {"at": when it led}
    {"do": "release"}                           {"at": before the call}
    {"do": "ask", "seconds": 0.02}              {"ns": {"is_leader": 90.1}}
    {"do": "hold", "name": ..., "many": 50}     {}                      as many elections, at once

It imports nothing but its contestant, so that it also runs where leaderlock is not installed.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.contestants.contestant import Contestant, Lock


class Worker:
    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._locks: dict[str, Lock] = {}
        self._held: list[Lock] = []

    def serve(self) -> None:
        """Until the standard input is closed."""
        pause = min(1.0, self._contestant.ttl / 3)
        due = time.monotonic() + pause
        buffer = b""
        while True:
            ready, _, _ = select.select([0], [], [], max(0.0, due - time.monotonic()))
            if ready:
                chunk = os.read(0, 65536)
                if not chunk:
                    return
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    say(self._answer(json.loads(line)))
            if time.monotonic() >= due:
                due += pause
                self._keep()

    def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            doing: Callable[..., dict[str, Any]] = getattr(self, order.pop("do"))
            return doing(**order)
        except Exception as error:  # whatever a library raises is a result
            return {"error": f"{type(error).__name__}: {error}"[:300]}

    def _keep(self) -> None:
        self._contestant.idle()
        for lock in self._held:
            lock.keep()

    def _lock(self, name: str) -> Lock:
        if name not in self._locks:
            self._locks[name] = self._contestant.lock(name)
        return self._locks[name]

    def cycles(self, name: str, many: int) -> dict[str, Any]:
        lock = self._lock(name)
        seconds = []
        for _ in range(many):
            started = time.perf_counter()
            lock.cycle()
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds}

    def acquire(self, name: str) -> dict[str, Any]:
        lock = self._lock(name)
        lock.acquire()
        at = time.monotonic()
        self._held.append(lock)
        return {"at": at}

    def release(self) -> dict[str, Any]:
        lock = self._held.pop()
        at = time.monotonic()
        lock.release()
        return {"at": at}

    def ask(self, seconds: float) -> dict[str, Any]:
        return {"ns": {name: cost(call, seconds) for name, call in self._held[-1].asks().items()}}

    def hold(self, name: str, many: int) -> dict[str, Any]:
        for number in range(many):
            lock = self._contestant.lock(f"{name}-{number}")
            lock.acquire()
            self._held.append(lock)
        return {}


def cost(call: Callable[[], object], seconds: float) -> float:
    """The least of five means, in ns, each of about `seconds`; the loop's own cost is in it."""
    many, means = 1, []
    while True:
        started = time.perf_counter()
        for _ in range(many):
            call()
        took = time.perf_counter() - started
        if took >= seconds:
            means.append(took / many * 1e9)
            if len(means) == 5:
                return min(means)
        else:
            many *= 2


def say(answer: dict[str, Any]) -> None:
    os.write(_answers, json.dumps(answer).encode() + b"\n")


# What a library prints shall not be taken for an answer.
_answers = os.dup(1)


def main(kind: str, url: str, ttl: str) -> None:
    os.dup2(2, 1)
    module, _, factory = kind.partition(":")
    try:
        make = getattr(import_module(f"benchmarks.contestants.{module}"), factory)
        worker = Worker(make(url, float(ttl)))
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"[:300]})
        os._exit(1)
    say({"ready": True})
    worker.serve()
    os._exit(0)  # whatever threads a library has left


if __name__ == "__main__":
    main(*sys.argv[1:])
