"""What an import takes: a new interpreter that does it, less one that does nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec

from benchmarks.workers import ROOT

STATEMENTS = (
    "from dataclasses import dataclass; import enum, json, logging, re, typing",
    "import leaderlock",
    "from leaderlock import LeaderElector",
    "from leaderlock import LeaderElector; import leaderlock.backends.redis",
    "from leaderlock import LeaderElector; import leaderlock.backends.etcd",
    "from leaderlock import LeaderElector; import leaderlock.backends.zookeeper",
    "from leaderlock import LeaderElector; import leaderlock.backends.consul",
    "import redis",
    "import redis_lock",
    "import pottery",
    "import sherlock",
    "import etcd3",
    "import kazoo.client",
    "import consul",
    "import tooz.coordination",
)
_NOTHING = "pass"


def measure(rounds: int, statements: Iterable[str] = STATEMENTS) -> dict[str, float]:
    """Medians in seconds, by statement; those whose library is not there are left out.

    All take turns, the empty one too, after one start each that fills the caches.
    """
    can = [_NOTHING, *(each for each in statements if find_spec(_module(each)) is not None)]
    took: dict[str, list[float]] = {statement: [] for statement in can}
    for statement in can:
        _once(statement)
    for _ in range(rounds):
        for statement in can:
            took[statement].append(_once(statement))
    base = statistics.median(took.pop(_NOTHING))
    return {each: statistics.median(values) - base for each, values in took.items()}


def _module(statement: str) -> str:
    return statement.split()[1].partition(".")[0]


def _once(statement: str) -> float:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    # Peers were compiled when they were installed: so are we, by the first start.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment, cwd=ROOT)
    return time.perf_counter() - started
