"""Runs the command line as its users do: as a process of its own, on real stores."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.elector.tools import PATIENCE, eventually

WORKER = Path(__file__).with_name("worker.py")
LEADERLOCK = (sys.executable, "-m", "leaderlock.cli")


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LEADERLOCK_")}
    # Without a terminal's width, words of an error may stand on the next line.
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **more}


def leaderlock(
    *words: str, given: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    done = subprocess.run(
        [*LEADERLOCK, *words],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**more),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def worker(journal: Path, *wishes: str) -> list[str]:
    return [sys.executable, "-IS", str(WORKER), str(journal), *wishes]


def now() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def is_alive(pid: int) -> bool:
    """Zombies are dead."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


class Run:
    """A `leaderlock run` whose command is a worker with a journal. Nothing is left of it."""

    def __init__(
        self, url: str, journal: Path, *options: str, wishes: Sequence[str] = (), name: str = "a"
    ) -> None:
        self._journal = journal
        self._log = journal.with_suffix(f".{name}.log")
        words = ["run", "-e", "e", "--id", name, *options, "--", *worker(journal, *wishes)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*LEADERLOCK, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(LEADERLOCK_URL=url),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for pid in (self.process.pid, *self.pids()):
            if pid != self.process.pid or self.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def notes(self, what: str | None = None) -> list[Mapping[str, Any]]:
        text = self._journal.read_text(encoding="utf-8") if self._journal.exists() else ""
        notes = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        return [note for note in notes if what in (None, note["what"])]

    def wait(self, what: str, count: int = 1) -> Mapping[str, Any]:
        """Until the worker has written it so often. Returns the last one."""
        eventually(lambda: len(self.notes(what)) >= count, f"{what!r} {count} times")
        return self.notes(what)[count - 1]

    def pids(self) -> list[int]:
        """Of all workers that have ever been started."""
        return sorted({note["pid"] for note in self.notes()})

    def living(self) -> list[int]:
        return [pid for pid in self.pids() if is_alive(pid)]

    def supervisor(self) -> int:
        """The process between `leaderlock run` and its command."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])

    def end(self, number: int = signal.SIGTERM) -> int:
        """Returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        return self._log.read_text()

    def tokens(self) -> list[str]:
        return [note["env"]["LEADERLOCK_TOKEN"] for note in self.notes("started")]


def wait_said(run: Run, pattern: str) -> None:
    eventually(lambda: re.search(pattern, run.said()), f"{pattern!r} in what was said")
