"""Every test ends with no thread of leaderlock left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from leaderlock import Client, LeaderElector, connect
from leaderlock.client import _open
from tests.elector.tools import Store, eventually, our_threads

MakeElector = Callable[..., LeaderElector]


@pytest.fixture
def store() -> Iterator[Store]:
    """A store that is healthy until a test says otherwise."""
    made = Store()
    yield made
    made.let_go()


@pytest.fixture
def clients(store: Store) -> Iterator[Callable[..., Client]]:
    """Makes clients of `store`, and closes them in the end."""
    made: list[Client] = []

    def make(backend: Store | None = None, **settings: object) -> Client:
        made.append(connect(backend or store, **settings))
        return made[-1]

    yield make
    store.let_go()
    for client in [*made, *_open]:
        client.close()
    eventually(lambda: not our_threads(), "all threads of leaderlock have ended")


@pytest.fixture
def client(clients: Callable[..., Client]) -> Client:
    return clients()
