"""sqlite:///path: elections between the processes of one machine. See `SQLiteBackend`."""

from leaderlock.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
