"""The peers of benchmarks/peers without any fault: each leads, is succeeded, and ends.

A peer that cannot even do that would be condemned for a mistake of ours.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from benchmarks.peers.peers import PEERS
from leaderlock.testing.chaos.contender import Contender, find
from leaderlock.testing.servers.process import wait_until

WITHIN = 5.0


@contextmanager
def contending(kind: str, url: str) -> Iterator[Contender]:
    contender = find(f"benchmarks.peers.{kind}")(url, "peers", lambda what, **data: None)
    contender.start()
    with ExitStack() as stack:
        stack.callback(contender.stop)
        yield contender
        stack.pop_all()
        assert contender.stop(), "it still holds something"
        assert not contender.is_leader


@pytest.fixture
def leaks() -> Iterator[None]:
    """What a peer leaves open is its own affair: it is collected here, not in another test."""
    yield
    gc.collect()


@pytest.mark.timeout(30)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("leaks")
@pytest.mark.parametrize(
    ("kind", "store"), [(peer.module, peer.store) for peer in PEERS if peer.module]
)
def test_a_peer_leads_is_succeeded_and_ends(
    kind: str, store: str, request: pytest.FixtureRequest
) -> None:
    url = f"{request.getfixturevalue(store).url}?ttl=2"
    with contending(kind, url) as first:
        wait_until(lambda: first.is_leader, WITHIN, lambda: "nobody leads")
        assert first.token is None
        with contending(kind, url) as second:
            assert not second.is_leader
            first.resign()
            assert not first.is_leader
            wait_until(lambda: second.is_leader, WITHIN, lambda: "nobody succeeds")
        wait_until(lambda: first.is_leader, WITHIN, lambda: "it does not lead again")
