"""A store that somebody else has started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from leaderlock.client import connect
from leaderlock.elector import LeaderElector
from leaderlock.testing.chaos.stores.base import ELECTION, Store


class GivenStore(Store):
    """Somebody else's, by its URL. Only the candidates meet faults."""

    nodes = ()

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = url.partition(":")[0]

    def start(self) -> Self:
        return self

    def stop(self) -> None:
        pass

    def url_at(self, ports: Sequence[int]) -> str:
        return self._url

    def left(self) -> list[str]:
        with connect(self._url) as client:
            info = LeaderElector(client, ELECTION).leader()
        return [] if info is None else [f"the term of {info.candidate_id}, {info.token}"]
