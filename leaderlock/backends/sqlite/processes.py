"""Who holds a term, and whether that process is certainly dead."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of one boot of one machine.

    Attributes:
        boot_id: which boot of which machine; empty where the system does not tell.
        namespaces: within which process numbers and start times mean something; empty where they
            cannot be told apart, and then nothing is said about its death.
        pid: its number.
        started: its start in clock ticks since boot; a pid that is used again has another.
    """

    boot_id: str
    namespaces: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        return cls(*_describe(os.getpid()))

    def is_of_another_boot(self, here: Process) -> bool:
        """Whether the machine was started anew since, as far as that is known."""
        return bool(self.boot_id and here.boot_id) and self.boot_id != here.boot_id

    def is_dead(self, here: Process) -> bool:
        """Whether it has certainly ended, as seen from the process `here`.

        False does not mean alive: of a process in another container nothing is known.
        """
        if not here.namespaces or not here.boot_id or self == here:
            return False
        if (self.boot_id, self.namespaces) != (here.boot_id, here.namespaces) or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass  # it exists, but belongs to another user
        status = _read_status(str(self.pid))
        # None: /proc hides the processes of other users.
        return status is not None and (status.started != self.started or status.is_zombie)


class _Status(NamedTuple):
    started: int
    is_zombie: bool


@functools.lru_cache(maxsize=1)
def _describe(pid: int) -> tuple[str, str, int, int]:
    own = _read_status("self")
    started = own.started if own is not None else 0
    return _read_boot_id(), _read_namespaces(pid), pid, started


# The child of a child may have the number that is cached.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_describe.cache_clear)


def _read_boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_bytes().strip().decode()
    except OSError:
        return ""


def _read_namespaces(pid: int) -> str:
    """The pid namespace, and the time namespace, by which start times are shifted."""
    try:
        if (_PROC / "self").readlink() != Path(str(pid)):
            return ""  # /proc is that of another pid namespace
        pid_namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return ""
    try:
        time_namespace = (_PROC / "self/ns/time").readlink()
    except OSError:
        return str(pid_namespace)  # Linux before 5.6 has one time for all
    return f"{pid_namespace} {time_namespace}"


def _read_status(pid: str) -> _Status | None:
    try:
        text = (_PROC / pid / "stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name, which may contain spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split()
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    # A process whose main thread has ended shows as a zombie while its other threads run on.
    return _Status(started, state in (b"Z", b"X", b"x") and threads <= 1)
