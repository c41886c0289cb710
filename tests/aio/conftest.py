"""The same fixtures as for the threaded API: every test ends with no thread of leaderlock left."""

from tests.elector.conftest import clients, store

__all__ = ["clients", "store"]
