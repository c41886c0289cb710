"""Runs the recipes as their users do: as processes of their own, that are really killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Self

from examples.recipes.ledger import Done, Ledger
from tests.elector.tools import PATIENCE, eventually


class Programs:
    """Processes with one store and one ledger. None is left at the end of the block.

    Attributes:
        folder: of their own, empty at first.
        environment: what they are started with.
    """

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        # A ttl that no test waits for: what leads soon after was handed over to, or the store
        # has seen that the process is dead.
        self.url = url or f"sqlite://{folder}/election.db?ttl=60"
        self.environment = {
            **os.environ,
            "LEADERLOCK_URL": self.url,
            "LEDGER": str(folder / "ledger.db"),
            "PYTHONPATH": str(folder),  # a program that a test has written there
            "PYTHONUNBUFFERED": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a Python module with arguments. Its output is in a file, for the message."""
        log = self.folder / f"log-{len(self._started)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**self.environment, **environment},
                start_new_session=True,  # it and its children, to be ended together
            )
        self._started.append(process)
        return process

    def output(self) -> str:
        return "\n".join(log.read_text() for log in sorted(self.folder.glob("log-*")))

    def done(self, job: str) -> list[Done]:
        with Ledger(self.environment["LEDGER"]) as ledger:
            return ledger.done(job)

    def wait_done(self, job: str, more: int = 1, by: int | None = None) -> list[Done]:
        """Wait until `more` items have been added to the ledger (by that process)."""
        before = len(self.done(job))

        def added() -> list[Done]:
            return [d for d in self.done(job)[before:] if by in (None, d.pid)]

        try:
            eventually(lambda: len(added()) >= more, f"{more} of {job!r} are done")
        except AssertionError:
            raise AssertionError(self.output()) from None
        return added()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


def led_one_after_the_other(done: Sequence[Done]) -> None:
    """Each term was of one process, and none came back after the next one had begun."""
    assert len({d.pid for d in done}) <= len({d.token for d in done})
    assert all(one.token <= next_one.token for one, next_one in pairwise(done)), done
    pids = {d.token: {e.pid for e in done if e.token == d.token} for d in done}
    assert all(len(of_term) == 1 for of_term in pids.values()), pids


def wait_end(process: subprocess.Popen[bytes]) -> int:
    return process.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def pause(seconds: float) -> None:
    """Not to wait for something, but to see that it does not happen."""
    threading.Event().wait(seconds)
