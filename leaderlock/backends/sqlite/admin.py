"""An SQLite file in the hands of an administrator."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from leaderlock.backends.admin import Admin, Finding, Grade, Standing
from leaderlock.backends.sqlite.backend import SQLiteBackend
from leaderlock.backends.sqlite.link import NoStore
from leaderlock.backends.sqlite.processes import Process

_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre", "afs")


class SQLiteAdmin(Admin):
    """See `Admin`. Those who wait leave no trace in the file."""

    backend: SQLiteBackend
    knows_waiting = False

    def elections(self) -> Sequence[str]:
        query = "SELECT election FROM leaderlock_elections WHERE namespace = ? ORDER BY election"
        settings = self.backend.settings
        try:
            with self.backend._readings.lend(settings.request_timeout) as store:
                return [name for (name,) in store.execute(query, (settings.namespace,))]
        except NoStore:
            return []

    def candidates(self, election: str) -> Sequence[Standing]:
        settings = self.backend.settings
        try:
            with self.backend._readings.lend(settings.request_timeout) as store:
                term = store.term(settings.namespace, election)
        except NoStore:
            return []
        here, now = Process.current(), settings.clock.now()
        if term is None or term.attempt_id is None or not term.keeps_out(now, here):
            return []
        standing = Standing(attempt_id=term.attempt_id, payload=term.payload, token=term.token)
        return [standing]

    def examine(self) -> Iterator[Finding]:
        path = self.backend.path
        yield Finding(Grade.GOOD, f"SQLite {sqlite3.sqlite_version}")
        if not path.parent.is_dir():
            yield Finding(Grade.BAD, f"there is no directory {path.parent}")
            return
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            yield Finding(Grade.BAD, f"{path} cannot be written by this user")
        kind = _file_system_of(path.parent)
        if kind.startswith(_REMOTE):
            yield Finding(
                Grade.BAD,
                f"{path} is on {kind}, a network's file system: it elects one leader for each "
                "machine",
            )
        elif kind:
            yield Finding(Grade.GOOD, f"{path} is on {kind}, a file system of this machine")


def _file_system_of(folder: Path) -> str:
    """What kind of file system a folder is on; empty where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = [line.split()[1:3] for line in mounts.splitlines()]
    folder = folder.resolve()
    inside = [(len(point), kind) for point, kind in found if folder.is_relative_to(point)]
    return max(inside, default=(0, ""))[1]


def make_admin(backend: SQLiteBackend) -> SQLiteAdmin:
    return SQLiteAdmin(backend)
