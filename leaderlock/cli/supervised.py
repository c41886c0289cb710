"""The leader's end of the supervisor: starts it, gives it orders, hears what it has to tell."""

from __future__ import annotations

import contextlib
import json
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

News = dict[str, Any]


class Supervised:
    """A command under a supervisor of its own, from its start until nothing of it is left.

    It tells when it is `ready`, the command has `started` or `failed` to, has `stopped`, `ended`.

    Args:
        environment: of the command.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        supervisor.adopt_orphans()  # should the supervisor be killed
        self._socket, theirs = socket.socketpair()
        self._sending = threading.Lock()
        self._unread = b""
        self._group = 0
        self._told_end = False
        with theirs:
            theirs.set_inheritable(True)
            self._process = subprocess.Popen(
                [sys.executable, "-IS", supervisor.__file__, str(theirs.fileno())],
                env=environment,
                close_fds=False,  # what we were given by our caller is for the command
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing is left of it when this returns."""
        if self._process.poll() is None:
            self._order("kill")
            self._socket.shutdown(socket.SHUT_WR)
        self._process.wait()
        self._socket.close()

    def start(self, words: Sequence[str], until: float, grace: float) -> None:
        """Start the command, when it is ready.

        Args:
            words: the program and its arguments.
            until: on the clock of the leases, when it gets SIGTERM.
            grace: the seconds from then to its SIGKILL.
        """
        self._order("start", {"words": list(words), "until": until, "grace": grace})

    def extend(self, until: float) -> None:
        """The term is believed until then."""
        self._order("until", until)

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

    def listen(self, timeout: float, bell: socket.socket) -> list[News]:
        """What it has to tell within `timeout` seconds, or until something rings the bell."""
        ready = select.select([self._socket, bell], [], [], timeout)[0]
        if bell in ready:
            bell.recv(4096)
        if self._socket not in ready:
            return []
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
        """The supervisor has ended without a word: somebody has killed it. So end what it had."""
        self._process.wait()
        while self._group and (left := supervisor.children()) != []:
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

    def _order(self, verb: str, argument: object = None) -> None:
        line = json.dumps({verb: argument}).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):  # dead: `listen` tells
            self._socket.sendall(line)
