"""The child processes: started, spoken to, paused, killed, and always ended."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.billing.events import Event, Kind, now

GRACE = 3.0  # seconds for all processes together to end when asked to; then they are killed
TAIL = 15  # lines of a crashed child's stderr


class ChildCrashed(Exception):
    """A child process ended although nobody had asked it to."""


class Child:
    """One process: commands go in as lines on its stdin, events come out on its stdout."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        events: queue.SimpleQueue[Event],
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.expected_to_end = False
        self._events = events
        self._paused = False
        self._stderr = folder / f"{name}.stderr"
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **environment},
                process_group=0,  # Ctrl-C is for the orchestrator alone, which then ends us all
            )
        self._reader = threading.Thread(target=self._read, name=f"read-{name}", daemon=True)
        self._reader.start()

    def send(self, command: str) -> None:
        """Give the process a command; one that has ended already is past obeying."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        with suppress(BrokenPipeError):  # its end shows as the event GONE
            stdin.write(command + "\n")
            stdin.flush()

    def kill(self) -> None:
        """SIGKILL: it ends in the middle of whatever it does."""
        self.expected_to_end = True
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP; returns when the process does stand still."""
        self._paused = True
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):  # it ended first, and the wait above has reaped it
            self._process.returncode = os.waitstatus_to_exitcode(status)
            raise self.crash()

    def resume(self) -> None:
        """SIGCONT: it goes on where it stood, and does not know that time has passed."""
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def ask_to_end(self) -> None:
        """Close its stdin, on which it stops by itself."""
        self.expected_to_end = True
        if self._paused:
            self.resume()
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):  # it may have been faster
                self._process.stdin.close()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait for its end until `deadline`, then kill it."""
        try:
            self._process.wait(max(0.0, deadline - now()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def crash(self) -> ChildCrashed:
        """The error that tells of its end and of what it said last."""
        status = self._process.wait()
        said = self._stderr.read_text(errors="replace").splitlines()[-TAIL:]
        last_words = "\n".join(f"    {line}" for line in said) or "    (nothing on stderr)"
        return ChildCrashed(
            f"{self.name} ended with status {status}; its last words:\n{last_words}"
        )

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # Popen was asked for a pipe
        with stdout:
            for line in stdout:
                # The last line of a process killed while it wrote is cut short: not an event.
                if line.endswith("\n"):
                    self._events.put(Event.from_line(line))
        self._events.put(Event(at=now(), server=self.name, kind=Kind.GONE))


class Processes:
    """All children of one run. Leaving the `with` block ends every one of them."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._children: dict[str, Child] = {}
        self._folder = folder
        self._environment = environment

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(gently=error is None)

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start one more child."""
        self._children[name] = Child(
            name,
            command,
            folder=self._folder,
            events=self.events,
            environment=self._environment,
        )
        return self._children[name]

    def end(self, *, gently: bool) -> None:
        """End them all, and return when they have ended."""
        deadline = now() + GRACE
        for child in self._children.values():
            child.ask_to_end()
            if not gently:
                child.terminate()
        for child in self._children.values():
            child.wait(deadline)
