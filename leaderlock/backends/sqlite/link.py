"""Connections to the file: shared by threads, never by processes, and never to a lost file.

No connection crosses a fork. SQLite's locks belong to the process, so that in a child even a new
connection would believe in locks that only its parent has: another process could take the file
apart under it. Therefore every connection is closed for the moment of a fork, and opened again on
the next use. A connection that was too busy to be closed, or that an embedding program (uWSGI) did
not announce its fork to, is never touched in the child, and the child may not open that file.

Nothing in here opens the file by other means: closing such a descriptor would drop all the locks
that SQLite holds on the file (https://sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from leaderlock.backends.sqlite.errors import is_busy, no_directory, refusal, translate
from leaderlock.backends.sqlite.store import Store
from leaderlock.errors import BackendRefused, BackendUnavailable

_FORK_PATIENCE = 1.0  # seconds
_SQLITE_PATIENCE = 0.02  # seconds; `Store.execute` goes on

Identity = tuple[int, int]


class NoStore(Exception):
    """There is no file, or it has no leaderlock tables: nobody has ever led there."""


class Use(enum.Enum):
    """What a connection is for, with the settings that follow."""

    READ = "PRAGMA query_only = ON"
    # A token that a resource has seen must survive a power failure, or it is issued again.
    GRANT = "PRAGMA synchronous = FULL"
    # After a power failure every lease is over. Not syncing keeps a slow disk from ending terms.
    RENEW = "PRAGMA synchronous = NORMAL"


class Link:
    """One connection. It is opened on first use, and again when the file has been replaced."""

    def __init__(self, path: Path, use: Use) -> None:
        self._path = path
        self._use = use
        self._gate = threading.Lock()  # held during every use of the connection
        self._store: Store | None = None
        self._identity: Identity | None = None
        self._wal = ""
        self._closed = False
        _links[id(self)] = self

    @contextlib.contextmanager
    def lend(self, timeout: float) -> Iterator[Store]:
        """The connection, for this thread alone.

        Raises:
            NoStore: there is nothing to read; only `Use.GRANT` makes a file.
            BackendUnavailable: the file, or another thread, keeps us waiting for too long.
            BackendRefused: the file cannot be used.
        """
        deadline = time.monotonic() + timeout
        # A lock is not fair: without this, threads in a hurry would never let a fork come first.
        _no_fork.wait(timeout)
        gate = self._gate
        if not gate.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise BackendUnavailable(f"an earlier request to {self._path} has not ended yet")
        try:
            yield self._get_store(deadline)
        except (sqlite3.Error, MemoryError) as error:
            if not is_busy(error):
                self.drop()  # a fresh connection has the best chance to be sound
            raise translate(error, self._path) from error
        finally:
            if self._closed:
                self.drop()
            gate.release()

    @contextlib.contextmanager
    def lend_for_writing(self, timeout: float) -> Iterator[Store]:
        """As `lend`; what was written to a file that is not there any more does not count."""
        with self.lend(timeout) as store:
            yield store
            if self._identity != identify(self._path):
                self.drop()
                raise BackendUnavailable(f"{self._path} was replaced during the request")

    def trace(self) -> tuple[int, int, int] | None:
        """What a commit leaves in the file system: far cheaper to read than the file.

        Only a change means anything, because file times are coarse.
        """
        try:
            status = os.stat(self._wal)  # noqa: PTH116 - a third of the time of Path.stat
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def close(self, timeout: float) -> None:
        """Close the connection for good. One in use is waited for; if that is too long, it is
        closed when the use ends.
        """
        self._closed = True
        if self._gate.acquire(timeout=timeout):
            try:
                self.drop()
            finally:
                self._gate.release()

    def let_go_of_lost_file(self) -> None:
        """Close a connection to a file that was deleted, unless it is in use.

        SQLite shares memory with it by the name of the file: as long as one connection is left, it
        can be in the way of the new file.
        """
        if self._is_lost() and self._gate.acquire(blocking=False):
            try:
                if self._is_lost():
                    self.drop()
            finally:
                self._gate.release()

    def drop(self) -> None:
        """Close the connection; the next use opens another. The caller holds the gate."""
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(sqlite3.Error):
                store.connection.close()

    def abandon(self) -> None:
        """In a forked child: never touch what the parent had open, not even to close it."""
        self._gate = threading.Lock()
        if self._store is not None:
            _leak(self._store.connection)
            if self._identity is not None:
                _inherited.add(self._identity)
            self._store = None

    def _is_lost(self) -> bool:
        return self._store is not None and self._identity != identify(self._path)

    def _get_store(self, deadline: float) -> Store:
        if self._closed:
            raise BackendUnavailable(f"the connection to {self._path} is closed")
        if self._is_lost():
            self.drop()
        if self._store is None:
            for link in _all_links():
                link.let_go_of_lost_file()
            self._store = self._open(deadline)
        self._store.deadline = deadline
        return self._store

    def _open(self, deadline: float) -> Store:
        creates = self._use is Use.GRANT
        while True:
            before = identify(self._path)
            if before is None and not self._path.parent.is_dir():
                raise no_directory(self._path)
            if before is None and not creates:
                raise NoStore
            self._refuse_inherited(before)
            connection = self._connect()
            try:
                # Only a file that was at the path before and after is certain to be the one opened.
                if before is not None and identify(self._path) == before:
                    store = self._prepare(Store(connection, deadline))
                    self._identity = before
                    # SQLite keeps its log beside the file that a link leads to.
                    self._wal = f"{self._path.resolve()}-wal"
                    return store
            except BaseException:
                connection.close()
                raise
            connection.close()
            if time.monotonic() >= deadline:
                raise BackendUnavailable(f"{self._path} is being replaced again and again")

    def _refuse_inherited(self, identity: Identity | None) -> None:
        if identity in _inherited:
            raise BackendRefused(
                f"this process was forked while its parent was using {self._path}, and SQLite "
                "cannot open the file safely here: fork before the first election begins, or "
                "start the process by 'spawn'"
            )

    def _connect(self) -> sqlite3.Connection:
        mode = "rwc" if self._use is Use.GRANT else "rw"
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self._path))}?mode={mode}",
            uri=True,
            timeout=_SQLITE_PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self, store: Store) -> Store:
        store.execute(self._use.value)
        has_tables = store.load(self._path)
        if self._use is not Use.GRANT:
            if not has_tables:
                raise NoStore
            return store
        # Readers and one writer work at the same time. The file remembers it.
        if store.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise BackendRefused(
                f"the file system of {self._path} cannot share memory between processes, as "
                "SQLite's WAL mode needs: put the file on a local disk"
            )
        if not has_tables:
            store.create()
            store.load(self._path)
        return store


def identify(path: Path) -> Identity | None:
    """Which file is at the path; None: there is none.

    While a file is open its number is not given to another.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise refusal(path) from error
    except OSError as error:
        raise BackendUnavailable(f"{path} cannot be looked at: {error}") from error
    return status.st_dev, status.st_ino


# Forks

_links: weakref.WeakValueDictionary[int, Link] = weakref.WeakValueDictionary()
_inherited: set[Identity] = set()
_leaked: list[sqlite3.Connection] = []
_no_fork = threading.Event()  # cleared while a fork waits for its turn
_no_fork.set()


class _Fork(threading.local):
    """The fork that this thread is about to make."""

    def __init__(self) -> None:
        self.gates: list[threading.Lock] = []


_fork = _Fork()


def _before_fork() -> None:
    end = time.monotonic() + _FORK_PATIENCE
    _no_fork.clear()
    for link in _all_links():
        gate = link._gate
        # No thread may be inside SQLite at a fork, or the child inherits SQLite's mutexes locked.
        if gate.acquire(timeout=max(0.0, end - time.monotonic())):
            _fork.gates.append(gate)
            link.drop()


def _after_fork_in_parent() -> None:
    gates, _fork.gates = _fork.gates, []
    for gate in gates:
        gate.release()
    _no_fork.set()


def _after_fork_in_child() -> None:
    global _no_fork
    _no_fork = threading.Event()
    _no_fork.set()
    _fork.gates = []
    for link in _all_links():
        link.abandon()


def _all_links() -> list[Link]:
    return [link for reference in _links.valuerefs() if (link := reference()) is not None]


def _leak(connection: sqlite3.Connection) -> None:
    """Keep it from being closed, also when the interpreter ends and clears all modules."""
    _leaked.append(connection)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
