"""From SQLite's error codes to the two errors that a backend may raise."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from leaderlock.errors import BackendRefused, BackendUnavailable, LeaderLockError

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FORBIDDEN = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
# The other extended codes of SQLITE_READONLY are of the moment: a recovery that is due, a file
# that was moved.
_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_READONLY_DIRECTORY})


def code_of(error: Exception) -> int:
    """The primary error code; 0 for what the Python module raises by itself."""
    return _extended_code(error) & 0xFF


def is_busy(error: Exception) -> bool:
    """Whether somebody else held a lock for too long."""
    return code_of(error) in _BUSY


def translate(error: Exception, path: Path) -> LeaderLockError:
    """What the core is to be told."""
    code = code_of(error)
    if code in _BUSY:
        return BackendUnavailable(
            f"another process kept {path} to itself for longer than request_timeout"
        )
    if code in _DAMAGED:
        return BackendRefused(
            f"{path} is not an intact SQLite database ({error}); it was left as it is. Restore it, "
            "or move it away and raise 'epoch' for all candidates"
        )
    if code in _FORBIDDEN or _extended_code(error) in _READ_ONLY:
        return refusal(path)
    if code == sqlite3.SQLITE_CANTOPEN:
        return _explain_cannot_open(error, path)
    if code == sqlite3.SQLITE_FULL:
        return BackendUnavailable(f"no space left to write {path}")
    if code == sqlite3.SQLITE_ERROR:
        return BackendRefused(
            f"{path} has tables named leaderlock_... of another make ({error}); use another file"
        )
    return BackendUnavailable(f"{path} cannot be used at present: {error} ({_name_of(error)})")


def refusal(path: Path) -> BackendRefused:
    """This user may not do what is needed."""
    return BackendRefused(
        f"{path} cannot be used by this process: SQLite needs to read and write the file and its "
        "directory. Check owner, mode and whether the file system is mounted read-only"
    )


def no_directory(path: Path) -> BackendRefused:
    return BackendRefused(f"the directory {path.parent} of {path.name} does not exist: create it")


def _explain_cannot_open(error: Exception, path: Path) -> LeaderLockError:
    """SQLite has one code for "not allowed", "no such directory" and "too many open files"."""
    try:
        if not path.parent.is_dir():
            return no_directory(path)
        if path.is_dir():
            return BackendRefused(f"{path} is a directory: name a file in it")
        needed = [path.parent] if not path.exists() else [path.parent, path]
        if not all(os.access(place, os.R_OK | os.W_OK) for place in needed):
            return refusal(path)
    except OSError:
        pass  # a directory above it is closed to us, or the disk fails: not for us to guess
    return BackendUnavailable(f"{path} cannot be opened at present: {error} ({_name_of(error)})")


def _extended_code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0))


def _name_of(error: Exception) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
