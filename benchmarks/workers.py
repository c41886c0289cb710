"""Workers, seen from the process that gives them orders."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from leaderlock.testing.servers.reaper import reaper

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0


class Failed(Exception):
    """A contestant did not do what it was told; with its own words."""


class Worker:
    """One process with one contestant. It is ready, or has failed, when `wait()` has returned."""

    def __init__(self, python: str, kind: str, url: str, ttl: float) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONHOME"}
        environment["PYTHONPATH"] = str(ROOT)
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", kind, url, f"{ttl:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment,
            process_group=0,
        )
        reaper.watch(self.pid, "")
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers = self._process.stdout.fileno()
        self._buffer = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, do: str, **how: object) -> None:
        """Give an order, and do not wait. Each one has to be waited for, later."""
        try:
            self._orders.write(json.dumps({"do": do, **how}).encode() + b"\n")
            self._orders.flush()
        except OSError:
            raise Failed("its process has ended") from None

    def wait(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The answer to the oldest order that has none.

        Raises:
            Failed: it is an error, or there was none in time.
        """
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Failed(f"no answer within {timeout:g} s")
                chunk = os.read(self._answers, 65536)
                if not chunk:
                    raise Failed("its process has ended")
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def do(self, do: str, timeout: float = PATIENCE, **how: object) -> dict[str, Any]:
        self.tell(do, **how)
        return self.wait(timeout)

    def kill(self) -> float:
        """SIGKILL; answers when, as CLOCK_MONOTONIC."""
        at = time.monotonic()
        self._process.kill()
        return at

    def end(self) -> None:
        """At once, and whatever it has started."""
        reaper.forget(self.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._orders.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

    # What it uses, as Linux says; None elsewhere.

    def cpu(self) -> float | None:
        """Seconds on a processor so far, of all its threads that live."""
        folder = Path(f"/proc/{self.pid}/task")
        try:
            tasks = [(task / "schedstat").read_text() for task in folder.iterdir()]
        except OSError:
            return None
        return sum(int(task.split()[0]) for task in tasks) / 1e9

    def memory(self) -> int | None:
        """Bytes that are resident."""
        return _status(self.pid, "VmRSS", 1024)

    def threads(self) -> int | None:
        return _status(self.pid, "Threads", 1)


def _status(pid: int, what: str, unit: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * unit
    return None


def end_all(workers: Iterable[Worker]) -> None:
    for worker in workers:
        worker.end()
