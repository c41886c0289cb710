"""The schedule of faults, and the network that it cuts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos import namespaces
from leaderlock.testing.chaos.faults import Faults
from leaderlock.testing.chaos.nemesis import KINDS, Nemesis
from leaderlock.testing.chaos.runner import Settings, run


class Schedule:
    """Faults that are only written down, by candidates that nobody can tell apart."""

    active = 0

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.candidates = [SimpleNamespace(proxies=[], busy=False) for _ in range(5)]
        self.store = cast(Any, self)
        self.nodes = [object() for _ in range(5)]

    def leader(self) -> SimpleNamespace:
        return self.candidates[0]

    def free_candidates(self) -> list[SimpleNamespace]:
        return self.candidates

    connected_candidates = free_candidates

    def free_servers(self) -> list[object]:
        return self.nodes

    def wait(self, seconds: float) -> None:
        self.done.append(("wait", f"{seconds:.3f}"))

    def outlast_all(self) -> None: ...

    def calm(self) -> None: ...

    def __getattr__(self, fault: str) -> Any:
        return lambda *_, **__: self.done.append((fault,))


def schedule(seed: int, kinds: list[str]) -> list[tuple[str, ...]]:
    faults = Schedule()
    end = BOOT_CLOCK.now() + 0.2
    Nemesis(cast(Faults, faults), kinds, seed=seed, ttl=3.0).run(end, lambda: None)
    assert len(faults.done) > 60
    return faults.done[:60]


def test_a_seed_repeats_a_schedule() -> None:
    kinds = ["kill", "pause", "proxy", "partition", "restart"]
    assert schedule(7, kinds) == schedule(7, kinds)
    assert schedule(7, kinds) != schedule(8, kinds)


def test_every_kind_has_its_turn() -> None:
    kinds = ["kill", "pause", "proxy", "partition", "restart", "wipe"]
    faults = {what for what, *_ in schedule(3, kinds)} - {"wait"}
    known = {"kill", "kill_servers", "pause", "pause_servers", "cut", "partition"}
    assert faults == known | {"restart_servers", "wipe_server"}
    assert set(kinds) <= set(KINDS)


def test_where_namespaces_are_not_permitted_proxies_cut_and_the_run_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut_the_leader_off(faults: Faults) -> None:
        leader = faults.leader()
        assert leader is not None
        faults.partition(faults.free_servers()[:1], [leader], 4.0)
        faults.wait(4.5)

    monkeypatch.setattr(namespaces, "_UNSHARE", ("false",))
    settings = Settings(backend="etcd", candidates=2, ttl=2.0, seed=0, faults=["partition"])
    done = run(settings, script=cut_the_leader_off)
    assert done.violations == ()
    assert "by proxies" in done.notes[0]
    assert "not permitted" in done.notes[0]
