"""The leader's end of the supervisor: starts it, gives it orders, hears what it has to tell."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

from leaderlock.cli import supervisor
from leaderlock.cli.supervisor import now

_LATEST = 0.1  # seconds: a supervisor that has not ended its command by then will not do so
_PATIENCE = 1.0

News = dict[str, Any]


class Supervised:
    """A command under a supervisor of its own, from its start until nothing of it is left.

    It tells when it is `ready`, the command has `started` or `failed` to, has `stopped`, `ended`.

    Args:
        environment: of the command.

    Raises:
        OSError: the supervisor cannot be started.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        supervisor.adopt_orphans()  # should the supervisor be killed
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_PATIENCE)  # one that is stopped reads no orders
        self._sending = threading.Lock()
        self._unread = b""
        self._group = 0
        self._others = supervisor.children() or []  # which we had before, as by `exec` in a shell
        self._told_end = False
        self._grace = 0.0
        self._dead_by = math.inf
        with theirs, contextlib.ExitStack() as failing:
            failing.callback(self._socket.close)
            theirs.set_inheritable(True)
            self._process = subprocess.Popen(
                [sys.executable, "-IS", supervisor.__file__, str(theirs.fileno())],
                env=environment,
                close_fds=False,  # what we were given by our caller is for the command
            )
            failing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing is left of it when this returns."""
        if self._process.poll() is None:
            self._order("kill")
            self._socket.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._bury()
        self._socket.close()

    def start(self, words: Sequence[str], until: float, grace: float) -> None:
        """Start the command, when it is ready.

        Args:
            words: the program and its arguments.
            until: on the clock of the leases, when it gets SIGTERM.
            grace: the seconds from then to its SIGKILL.
        """
        self._grace = grace
        self._order("start", {"words": list(words), "until": until, "grace": grace})
        self._dead_by = until + grace

    def extend(self, until: float) -> None:
        """The term is believed until then."""
        self._order("until", until)
        self._dead_by = until + self._grace

    def send(self, number: int) -> None:
        """Pass a signal on to the command."""
        self._order("signal", number)

    def resume(self) -> None:
        """Go on after a stop, in the foreground if we are there."""
        self._order("resume")

    def end(self, *, at_once: bool) -> None:
        """SIGTERM, and SIGKILL when the grace is over; or SIGKILL at once. Told once."""
        if not self._told_end:
            self._told_end = True
            self._order("kill" if at_once else "end")
            if at_once:
                self._dead_by = now()

    def listen(self, timeout: float, bell: socket.socket) -> list[News]:
        """What it has to tell within `timeout` seconds, or until something rings the bell."""
        ready = select.select([self._socket, bell], [], [], timeout)[0]
        if bell in ready:
            bell.recv(4096)
        if self._socket not in ready:
            # Late: it is stopped, or hangs in the start of the command.
            return [self._bury()] if now() > self._dead_by + _LATEST else []
        try:
            received = self._socket.recv(65536)
        except OSError:
            received = b""
        if not received:
            return [self._bury()]
        *lines, self._unread = (self._unread + received).split(b"\n")
        news = [json.loads(line) for line in lines]
        for each in news:
            self._group = each.get("started", self._group)
        return news

    def _bury(self) -> News:
        """End what a supervisor has that does not do so itself: killed by somebody, or stopped."""
        self._process.kill()  # on Linux the system then kills the command
        self._process.wait()
        while self._group and (left := self._left()) != []:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
            for pid in left or ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)
            if left is None:  # the system does not tell who is left
                break
        return {"ended": -signal.SIGKILL}

    def _left(self) -> list[int] | None:
        found = supervisor.children()
        return None if found is None else [pid for pid in found if pid not in self._others]

    def _order(self, verb: str, argument: object = None) -> None:
        line = json.dumps({verb: argument}).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):  # dead: `listen` tells
            self._socket.sendall(line)
