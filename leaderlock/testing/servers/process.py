"""What all servers have in common: a process of our own in a folder of its own."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from leaderlock.testing.servers.programs import Ports, ServerError
from leaderlock.testing.servers.reaper import reaper

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class NotReady(Exception):
    """What a probe raises, besides OSError, while the server is not there yet."""


class Startable(abc.ABC):
    """Started at the beginning of a `with` statement and stopped at its end, also if that fails."""

    @abc.abstractmethod
    def start(self) -> Self:
        """Start it and wait until it is ready."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End it and remove all that it left."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Server(Startable):
    """A server of one node. It is started by `start()` or a `with` statement.

    Attributes:
        folder: its data (in `data`), configuration and log; removed by `stop()`.
        url: how leaderlock reaches it.
        port: where clients connect.
        call_timeout: seconds that a probe or another call of the test's waits for an answer.
    """

    call_timeout = 2.0

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"leaderlock-{type(self).__name__}-"))
        self.data = self.folder / "data"
        self.ports = Ports()
        self.port = self.ports.take()
        self.frozen = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    @abc.abstractmethod
    def url_at(self, port: int) -> str:
        """The URL with another port, that of a proxy for instance."""

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments; writes the configuration they name."""

    @abc.abstractmethod
    def probe(self) -> None:
        """Asks the server something that only a server which is ready answers.

        Raises:
            OSError, NotReady: it is not ready yet.
        """

    @property
    def pid(self) -> int:
        """The running process's."""
        if self._process is None:
            raise ServerError(f"{self} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and not _has_ended(self._process.pid, timeout=0)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        if self._process is not None:
            raise ServerError(f"{self} is already running")
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                process_group=0,
            )
        reaper.watch(self._process.pid, str(self.folder))

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Raises ServerError with the end of its log when it does not become ready."""

        def ready() -> bool:
            if not self.running:
                raise ServerError(f"{self} ended by itself{self._log_tail()}")
            try:
                self.probe()
            except (OSError, NotReady):
                return False
            return True

        wait_until(ready, timeout, lambda: f"{self} is not ready{self._log_tail()}")

    def freeze(self) -> None:
        """It keeps its connections and answers nothing until it is thawed."""
        if self.frozen:
            return
        os.killpg(self.pid, signal.SIGSTOP)
        self.frozen = True

        # The last of its threads stops a little after the signal.
        def stopped() -> bool:
            event = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG)
            return event is not None or not self.running

        wait_until(stopped, STOP_TIMEOUT, lambda: f"{self} does not stop")

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)
        self.frozen = False

    def kill(self) -> None:
        """End it as a crash does, and keep its data for `start()`."""
        self._end(signal.SIGKILL)

    def shut_down(self) -> None:
        """End it in an orderly way, and keep its data for `start()`."""
        self._end(signal.SIGTERM)

    def restart(self, *, keep_data: bool = True) -> None:
        """Shut it down and start it again on the same port."""
        self.shut_down()
        if not keep_data:
            shutil.rmtree(self.data)
        self.start()

    def stop(self) -> None:
        """End it and remove all that it left."""
        self._end(signal.SIGKILL)
        self.ports.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
            os.killpg(process.pid, signal.SIGCONT)  # a frozen one does not see the other
        if not _has_ended(process.pid, STOP_TIMEOUT):
            os.killpg(process.pid, signal.SIGKILL)
        reaper.forget(process.pid)
        process.wait(STOP_TIMEOUT)
        self.frozen = False

    def _log_tail(self) -> str:
        text = self.log.read_text("utf-8", errors="replace") if self.log.exists() else ""
        return "; its log ends with:\n" + "\n".join(text.splitlines()[-15:])

    def __str__(self) -> str:
        return f"{type(self).__name__} on port {self.port}"


ResultT = TypeVar("ResultT")


def wait_until(
    condition: Callable[[], ResultT], timeout: float, complaint: Callable[[], str]
) -> ResultT:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise ServerError(f"{complaint()} (waited {timeout:g} s)")
        time.sleep(0.02)
    return answer


def _has_ended(pid: int, timeout: float) -> bool:
    """Whether a child ends in time. It is left a zombie, so that its pid remains its own."""
    deadline = time.monotonic() + timeout
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
