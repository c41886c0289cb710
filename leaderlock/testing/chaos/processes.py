"""The processes of a run: the resource, and the candidates, each with its own proxies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from leaderlock.testing.chaos.candidate import Settings
from leaderlock.testing.chaos.events import Event
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.reaper import reaper

_END_TIMEOUT = 10.0


class Process:
    """A Python program of our own, in a process group of its own so that Ctrl-C leaves it alone."""

    def __init__(self, module: str, *arguments: str, complaints: Path) -> None:
        with complaints.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"leaderlock.testing.chaos.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                process_group=0,
            )
        reaper.watch(self._process.pid, "")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def tell(self, line: str) -> None:
        """Give it a line of input. One that has ended does not care."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def hear(self) -> str:
        """A line of its output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, and all that it has forked."""
        self._signal(signal.SIGKILL)
        self.wait(_END_TIMEOUT)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after so many seconds at the most."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        reaper.forget(self._process.pid)
        for end in self._process.stdin, self._process.stdout:
            if end is not None:
                with contextlib.suppress(BrokenPipeError):
                    end.close()
        return True

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)


class ResourceProcess(Process):
    """The fenced resource.

    Attributes:
        port: where it listens.
    """

    def __init__(self, log: Path, *, fences: bool = True) -> None:
        options = [] if fences else ["--no-fence"]
        super().__init__("resource", str(log), *options, complaints=log.with_suffix(".err"))
        self.port = int(self.hear())


class Candidate:
    """A place for a candidate: a process at a time, behind proxies that stay.

    Attributes:
        who: the present process's name: "c1", and "c1.2" after a kill.
        proxies: one in front of each server.
        busy: a fault acts on the process; no other one may.
        cut_off: a fault acts on the proxies.
    """

    def __init__(
        self, name: str, ports: Sequence[int], folder: Path, settings: Callable[..., Settings]
    ) -> None:
        self._name = name
        self._folder = folder
        self._settings = settings
        self._incarnation = 0
        self._process: Process | None = None
        self._read_to = 0
        self._leads = False
        self.proxies = [Proxy(port) for port in ports]
        self.busy = self.cut_off = False
        self.start()

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start the next process."""
        self._incarnation += 1
        suffix = f".{self._incarnation}" if self._incarnation > 1 else ""
        self.who = self._name + suffix
        self._log = self._folder / f"{self.who}.jsonl"
        self._read_to, self._leads = 0, False
        ports = [proxy.port for proxy in self.proxies]
        settings = self._settings(who=self.who, ports=ports, log=str(self._log))
        self._process = Process("candidate", complaints=self._log.with_suffix(".err"))
        self._process.tell(settings.to_json())

    def leads(self) -> bool:
        """What it last said."""
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read_to += len(line)
                        event = Event.from_json(line.decode())
                        if event.what in ("leads", "leads not"):
                            self._leads = event.what == "leads"
        return self._leads

    def stop(self, timeout: float) -> bool:
        """Whether it has ended in order."""
        self.process.go_on()
        self.process.tell("stop")
        if self.process.wait(timeout):
            return True
        self.process.kill()
        return False

    def close(self) -> None:
        if self.process.running:
            self.process.kill()
        for proxy in self.proxies:
            proxy.stop()
