"""A small process of its own that starts a leader's command, and ends it in time.

    leaderlock run --- socket ---> supervisor ---> command, in a process group of its own

The command has to be dead before anybody else can lead. So what ends it depends neither on the
store nor on the process that asks the store: the leader tells this process until when its term is
believed, again with every renewal, and what it does not tell does not count.

* The deadline passes, because the leader is stopped, hangs, or has no answer: SIGTERM, and SIGKILL
  when the time that `grace` gives is over.
* The leader dies, even by SIGKILL: SIGKILL at once. Some stores let the next one in at once, too.
* This process dies: on Linux the system kills the command, and the leader kills what is left.

It is run as `python -IS supervisor.py FD`, so it may import nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

# Python's waits stand still in a suspend, and the deadline does not.
_LONGEST_WAIT = 0.25
_SHORTEST_WAIT = 0.01
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_QUIET = ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1",
          "SIGUSR2")  # fmt: skip

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)
now: Callable[[], float] = (
    time.monotonic if _BOOTTIME is None else partial(time.clock_gettime, _BOOTTIME)
)
"""The clock of `leaderlock.clock`."""


def _prctl() -> Callable[..., int]:
    if sys.platform != "linux":
        return lambda *arguments: -1
    function: Callable[..., int] = ctypes.CDLL(None).prctl
    return function


def adopt_orphans() -> None:
    """From now on, on Linux, what descendants leave behind become children of this process."""
    _prctl()(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int] | None:
    """The children of this process, zombies too; None where the system does not tell."""
    try:
        found = [each.read_text() for each in Path("/proc/self/task").glob("*/children")]
    except OSError:  # of a thread that has just ended
        return children()
    return [int(pid) for text in found for pid in text.split()] if found else None


class Command:
    """The command, and all that it has started.

    Attributes:
        status: of the command itself once it has ended: its exit code, or minus the signal.
        is_over: nothing of it is left.
    """

    def __init__(self, words: list[str], terminal: Terminal) -> None:
        prctl, parent = _prctl(), os.getpid()

        def prepare() -> None:
            os.setpgid(0, 0)
            terminal.hand_to(os.getpid())
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before that
                os._exit(1)

        # close_fds: what the caller of leaderlock hands on, such as sockets, is the command's too.
        process = subprocess.Popen(words, close_fds=False, preexec_fn=prepare)
        process.returncode = 0  # it is waited for below, with all others
        self.pid = process.pid
        self.status: int | None = None
        self.is_over = False

    def reap(self) -> list[int]:
        """Take note of what has ended. Returns the signals that the command was stopped by."""
        stops: list[int] = []
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    return stops
                if os.WIFSTOPPED(status):
                    stops += [os.WSTOPSIG(status)] if pid == self.pid else []
                elif pid == self.pid:
                    self.status = os.waitstatus_to_exitcode(status)
        self.is_over = True
        return stops

    def signal(self, number: int) -> None:
        """To the command alone."""
        if self.status is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """To its process group, and to what has left that and lost its parent."""
        adopted = [pid for pid in children() or () if pid != self.pid]
        inside = [pid for pid in adopted if self._is_of_group(pid)]
        for pid in adopted:
            if pid not in inside:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        # While somebody is in it, no other group can have got its number.
        if self.status is None or inside or children() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _is_of_group(self, pid: int) -> bool:
        with suppress(ProcessLookupError):
            return os.getpgid(pid) == self.pid
        return False


class Terminal:
    """The terminal that `leaderlock run` was started in, if any: who may read from it."""

    def __init__(self, owner: int) -> None:
        self._owner = owner  # the process group of `leaderlock run`
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    @property
    def is_there(self) -> bool:
        return self._fd >= 0

    def hand_to(self, group: int) -> None:
        """Put it in the foreground, if `leaderlock run` is there."""
        if self._foreground() == self._owner:
            self._set(group)

    def take_from(self, group: int) -> None:
        if self._foreground() == group:
            self._set(self._owner)

    def _foreground(self) -> int | None:
        with suppress(OSError):
            return os.tcgetpgrp(self._fd) if self.is_there else None
        return None

    def _set(self, group: int) -> None:
        # Otherwise a process that is not in the foreground itself would be stopped.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            with suppress(OSError):
                os.tcsetpgrp(self._fd, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)


class Supervisor:
    """Follows the orders that come over the socket, one JSON object a line."""

    def __init__(self, leader: socket.socket) -> None:
        self._leader = leader
        self._unread = b""
        self._until = -math.inf
        self._grace = 0.0
        self._ending_since = math.inf
        self._is_killing = False
        self._command: Command | None = None
        self._early: list[int] = []  # signals for a command that is about to start
        self._terminal = Terminal(os.getpgid(os.getppid()))
        self._orders: dict[str, Callable[[Any], None]] = {
            "start": self._start,
            "until": self._extend,
            "signal": self._pass_on,
            "resume": self._resume,
            "end": self._end,
            "kill": self._kill,
        }

    def run(self, bell: socket.socket) -> None:
        """Until the command, and all that it has started, has ended; or could not be started."""
        self._tell(ready=True)
        while self._command is None or not self._command.is_over:
            ready = select.select([self._leader, bell], [], [], self._time_left())[0]
            if bell in ready:
                bell.recv(4096)
            if self._leader in ready:
                self._read_orders()
            if self._command is None:
                if self._is_killing:
                    return
                continue
            for number in self._command.reap():
                self._terminal.take_from(self._command.pid)
                self._tell(stopped=number, terminal=self._terminal.is_there)
            if self._command.status is not None:
                self._end()  # what it has left behind
            self._look_at_clock(self._command)
        self._terminal.take_from(self._command.pid)
        self._tell(ended=self._command.status)

    def _time_left(self) -> float | None:
        if self._command is None:
            return None
        end = self._kill_at() if self._ending_since < math.inf else self._until
        return min(_LONGEST_WAIT, max(_SHORTEST_WAIT, end - now()))

    def _kill_at(self) -> float:
        return min(self._ending_since, self._until) + self._grace

    def _look_at_clock(self, command: Command) -> None:
        if now() >= self._until:
            self._end()
        if self._is_killing or now() >= self._kill_at():
            command.signal_all(signal.SIGKILL)

    # Orders

    def _read_orders(self) -> None:
        try:
            received = self._leader.recv(65536)
        except OSError:
            received = b""
        if not received:
            self._kill()  # the leader is dead
            return
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            ((verb, argument),) = json.loads(line).items()
            self._orders[verb](argument)

    def _start(self, order: dict[str, Any]) -> None:
        self._until, self._grace = order["until"], order["grace"]
        if now() >= self._until:  # on a machine that is too busy
            self._tell(ready=True)
            return
        try:
            self._command = Command(order["words"], self._terminal)
        except OSError as error:
            self._tell(failed=error.errno, text=error.strerror)
            self._is_killing = True
        else:
            self._tell(started=self._command.pid)
            for number in self._early:
                self._command.signal(number)

    def _extend(self, until: float) -> None:
        self._until = max(self._until, until)

    def _pass_on(self, number: int) -> None:
        if self._command is not None:
            self._command.signal(number)
        else:
            self._early.append(number)

    def _resume(self, _: object) -> None:
        if self._command is not None:
            self._terminal.hand_to(self._command.pid)
            self._command.signal_all(signal.SIGCONT)

    def _end(self, _: object = None) -> None:
        if self._command is not None and self._ending_since == math.inf:
            self._ending_since = now()
            self._command.signal_all(signal.SIGTERM)
            self._command.signal_all(signal.SIGCONT)  # what is stopped hears of it, too

    def _kill(self, _: object = None) -> None:
        self._is_killing = True

    def _tell(self, **news: object) -> None:
        with suppress(OSError):  # of a leader that is dead
            self._leader.sendall(json.dumps(news).encode() + b"\n")


def main(fd: int) -> None:
    """Serve one leader."""
    # A group of its own: what is typed at the terminal does not end it. Its signals come back to
    # their defaults in the command, except for those that were ignored from the start.
    os.setpgid(0, 0)
    for name in _QUIET:
        number = getattr(signal, name)
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _ignore)
    adopt_orphans()
    ring, bell = socket.socketpair()
    ring.setblocking(False)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
    leader = socket.socket(fileno=fd)
    leader.set_inheritable(False)
    with leader, ring, bell:
        Supervisor(leader).run(bell)


def _ignore(number: int, frame: object) -> None:
    pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
