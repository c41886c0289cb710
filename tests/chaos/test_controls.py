"""Negative controls: broken on purpose, each under the fault that shows it. Each is condemned."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from leaderlock.testing.chaos.faults import Faults
from leaderlock.testing.chaos.processes import Candidate
from leaderlock.testing.chaos.runner import Settings, run
from leaderlock.testing.chaos.stores.base import Store
from leaderlock.testing.chaos.stores.zookeeper import ZooKeeperStore
from leaderlock.testing.servers.process import wait_until
from leaderlock.testing.servers.proxy import Proxy

_BROKEN = "tests.chaos.controls.broken:"
_NAIVE = "tests.chaos.controls.naive:"


def violated(
    candidate: str,
    script: Callable[[Faults], None],
    *,
    backend: str = "redis",
    ttl: float = 1.0,
    store: Store | None = None,
    fences: bool = True,
) -> set[str]:
    """The invariants that three candidates of a kind break."""
    settings = Settings(
        backend=backend, nodes=1, candidates=3, ttl=ttl, candidate=candidate, fences=fences, seed=0
    )
    return {verdict.invariant for verdict in run(settings, store=store, script=script).violations}


def leader(faults: Faults) -> Candidate:
    found = wait_until(faults.leader, 15.0, lambda: "nobody leads")
    assert found is not None
    return found


def hand_over_to(faults: Faults, candidate: Candidate) -> None:
    def leads() -> bool:
        if (now := leader(faults)) is not candidate:
            now.process.tell("resign")
            faults.wait(0.3)
        return now is candidate

    wait_until(leads, 15.0, lambda: f"{candidate.who} does not lead")


def test_a_worker_without_fencing_is_condemned() -> None:
    def pause_leaders(faults: Faults) -> None:
        for _ in range(5):  # one in six meets no write that is under way
            faults.pause(leader(faults), 1.6)
            faults.wait(2.0)

    assert violated("leaderlock", pause_leaders, fences=False) == {"I1"}


def test_the_same_worker_with_fencing_is_not() -> None:
    def pause_leaders(faults: Faults) -> None:
        for _ in range(5):
            faults.pause(leader(faults), 1.6)
            faults.wait(2.0)

    assert violated("leaderlock", pause_leaders) == set()


def test_a_window_counted_from_the_reply_is_condemned() -> None:
    def slow_down(faults: Faults) -> None:
        # The request takes 0.4 ttl, the reply too: what is renewed has run out meanwhile.
        faults.cut([leader(faults)], "delay", 5.0, delay=0.4)
        faults.wait(5.0)

    assert "I4" in violated(_NAIVE + "CountsFromReply", slow_down)


def test_a_client_that_repeats_set_nx_is_condemned() -> None:
    def lose_a_reply(faults: Faults) -> None:
        for _ in range(3):  # once in a while nobody asks just then
            first = leader(faults)
            others = [candidate for candidate in faults.candidates if candidate is not first]
            faults.kill(first, 2.0)
            faults.cut(others, "drop replies", 0.2)
            faults.operate("delete the key")
            faults.wait(3.0)
            if faults.leader() is None:
                return

    assert {"I6", "I8"} <= violated(_NAIVE + "RetriesNX", lose_a_reply)


def test_a_forked_child_that_remembers_to_lead_is_condemned() -> None:
    def fork(faults: Faults) -> None:
        faults.fork(leader(faults), 2.0)
        faults.wait(2.5)

    assert "I4" in violated(_NAIVE + "RemembersLeading", fork)


def test_a_token_that_is_only_counted_is_condemned() -> None:
    def flush(faults: Faults) -> None:
        for _ in range(2):  # who has led sees it by itself, the others do not
            leader(faults)
            faults.operate("flush everything")
            faults.wait(1.5)

    assert "I2" in violated(_BROKEN + "plain_counter", flush)


def test_consuls_lock_index_as_token_is_condemned() -> None:
    def write_to_the_key(faults: Faults) -> None:
        for _ in range(2):  # who has led sees it by itself, the others do not
            leader(faults)
            faults.operate("write to the key")
            faults.resign()
            faults.wait(1.5)

    kind = _BROKEN + "lock_index_as_token"
    assert "I2" in violated(kind, write_to_the_key, backend="consul")


class Ensemble(ZooKeeperStore):
    """Three servers, whose first can be cut off from the others; it takes 10 s to see that."""

    def __init__(self) -> None:
        super().__init__()
        first, *others = self.cluster.nodes
        self.links = [Proxy(other.quorum_port) for other in others]
        for other, link in zip(others, self.links, strict=True):
            address = f"127.0.0.1:{link.port}:{other.election_port}"
            first.settings[f"server.{other.number}"] = address
        for node in self.cluster.nodes:
            node.settings["syncLimit"] = "50"

    def stop(self) -> None:
        super().stop()
        for link in self.links:
            link.stop()


def test_zookeepers_heartbeat_by_exists_is_condemned() -> None:
    store = Ensemble()
    assert "I4" in violated(
        _BROKEN + "heartbeat_by_exists",
        partial(isolate_the_leaders_server, store=store),
        ttl=1.5,
        store=store,
    )


def test_a_proof_by_the_quorum_is_not() -> None:
    store = Ensemble()
    script = partial(isolate_the_leaders_server, store=store)
    assert violated("leaderlock", script, ttl=1.5, store=store) == set()


def isolate_the_leaders_server(faults: Faults, store: Ensemble) -> None:
    first, *others = faults.candidates
    faults.cut([first], "reset", 60.0, proxies=first.proxies[1:])
    faults.cut(others, "reset", 60.0, proxies=[other.proxies[0] for other in others])
    hand_over_to(faults, first)
    for link in store.links:
        link.hold()
    for _ in range(40):
        if any(other.leads() for other in others):
            break
        faults.wait(0.2)
    faults.wait(1.0)  # side by side, if the first one has not noticed
    for link in store.links:
        link.pass_on()
