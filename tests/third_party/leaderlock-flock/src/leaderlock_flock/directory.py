"""The files of a store: read and replaced as a whole, in a directory that one client can lock."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from leaderlock import BackendRefused, BackendUnavailable

LOCK_POLL = 0.002
# Asking again does not help. Against a full disk or too many open files it may.
FOR_GOOD = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}


class Directory:
    """A path, which is opened anew for every request: nothing is left open between them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.closed = threading.Event()

    @contextmanager
    def open(self, lock_within: float | None = None) -> Iterator[Files]:
        """The files, for one request; with `lock_within`, no other client locks them meanwhile.

        Raises:
            BackendUnavailable: it was locked for longer, or the system fails us at present.
            BackendRefused: there is no such directory, or it is not open to us.
        """
        if self.closed.is_set():
            raise BackendUnavailable(f"the client of {self.path} is closed")
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if lock_within is not None:
                    self._lock(descriptor, time.monotonic() + lock_within)
                yield Files(descriptor)
            finally:
                # Closing alone would leave the lock to a child that was forked meanwhile.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
        except OSError as error:
            kind = BackendRefused if error.errno in FOR_GOOD else BackendUnavailable
            raise kind(f"{self.path} cannot be used: {error.strerror}") from error

    def _lock(self, descriptor: int, end: float) -> None:
        """By trying: a flock() that waits cannot be given up."""
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end or self.closed.wait(LOCK_POLL):
                    raise BackendUnavailable(f"another has locked {self.path}") from None


@dataclass(frozen=True, slots=True)
class Files:
    """What is in an open directory. It stays the one that was locked, even if it is moved."""

    descriptor: int

    def read(self, name: str) -> str | None:
        """None: there is no such file."""
        try:
            with open(name, encoding="utf-8", errors="replace", opener=self._open) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def replace(self, name: str, text: str) -> None:
        """Whatever happens, readers and a power failure find the old text or the new one."""
        spare = f"{name}.new"
        with open(spare, "w", encoding="utf-8", opener=self._open) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def sync(self) -> None:
        """Return when what was replaced cannot come back any more."""
        os.fsync(self.descriptor)

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags, 0o666, dir_fd=self.descriptor)
