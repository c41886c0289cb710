"""Puts a run together: a store, a resource, candidates, a nemesis; then calm, and the verdicts.

Whatever happens, also Ctrl-C, everything that was started is ended and removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Any

from leaderlock.client import connect
from leaderlock.clock import BOOT_CLOCK
from leaderlock.errors import ConfigurationError
from leaderlock.testing.chaos.candidate import Log
from leaderlock.testing.chaos.candidate import Settings as CandidateSettings
from leaderlock.testing.chaos.checker import check
from leaderlock.testing.chaos.events import read
from leaderlock.testing.chaos.faults import Faults
from leaderlock.testing.chaos.namespaces import Network, NotPermitted
from leaderlock.testing.chaos.nemesis import KINDS, Nemesis, kinds_for
from leaderlock.testing.chaos.processes import Candidate, ResourceProcess
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.stores import DEFAULT_NODES, STORES, with_ttl
from leaderlock.testing.chaos.stores.base import ELECTION, ClusteredStore, Store
from leaderlock.testing.chaos.stores.given import GivenStore
from leaderlock.timing import Timing

_STARTUP = 30.0
_SHUTDOWN = 5.0
_QUEUE_SAMPLES = 3

Tell = Callable[[str, float], None]
"""Called now and then with what is being done, and how much of the faults is over."""


class HarnessFailed(Exception):
    """A candidate's own program failed, so that the run proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to run.

    Attributes:
        backend: a name of `STORES`; ignored with a `url`.
        nodes: 0: the store's default.
        seed: None: a random one.
        faults: kinds of `nemesis.KINDS`; empty: all that can be done to the store.
        url: a store that somebody else has started.
        candidate: the kind of contender; see `contender`.
        fences: whether the resource refuses lower tokens.
        not_applicable: invariants that say nothing about this kind of contender.
        logs: the folder that the logs are kept in.
    """

    backend: str = "etcd"
    nodes: int = 0
    candidates: int = 5
    seconds: float = 60.0
    seed: int | None = None
    ttl: float = 3.0
    faults: Sequence[str] = ()
    url: str = ""
    candidate: str = "leaderlock"
    fences: bool = True
    not_applicable: frozenset[str] = frozenset()
    logs: Path | None = None


def run(
    settings: Settings,
    tell: Tell = lambda stage, done: None,
    *,
    store: Store | None = None,
    script: Callable[[Faults], None] | None = None,
) -> Run:
    """Run it, and decide what it has shown.

    Args:
        store: in place of one that the settings name.
        script: injects faults in place of the nemesis; what acts at its end is healed.

    Raises:
        ConfigurationError: a setting cannot be used.
        HarnessFailed: it proves nothing.
    """
    seed = random.randrange(10_000) if settings.seed is None else settings.seed
    with contextlib.ExitStack() as stack:
        store = store or _make_store(settings)
        stack.callback(store.stop)  # it has a folder already
        kinds = list(settings.faults) if script else _kinds(settings, store)
        folder = stack.enter_context(_folder(settings.logs))
        tell("starting the store", 0.0)
        network, notes = _lay_network(store, stack) if "partition" in kinds else (None, ())
        stack.enter_context(store)
        arena = _Arena(store, network, settings, seed, folder, stack)
        arena.wait_for_leader()
        if script is None:
            arena.let_loose(Nemesis(arena.faults, kinds, seed=seed, ttl=settings.ttl), tell)
        else:
            script(arena.faults)
        tell("calm", 1.0)
        arena.calm_down()
        tell("stopping", 1.0)
        arena.stop()
        events = read(folder.glob("*.jsonl"))
        for event in events:
            if event.what == "fault" and event.who != "nemesis":
                raise HarnessFailed(f"{event.who}: {event.data['error']}")
    return Run(
        store=store.name,
        nodes=len(store.nodes),
        candidates=settings.candidates,
        seconds=settings.seconds,
        seed=seed,
        ttl=settings.ttl,
        faults=tuple(kinds),
        notes=notes,
        events=tuple(events),
        verdicts=check(events, arena.traits),
    )


class _Arena:
    """What is running."""

    def __init__(
        self,
        store: Store,
        network: Network | None,
        settings: Settings,
        seed: int,
        folder: Path,
        stack: contextlib.ExitStack,
    ) -> None:
        self._store = store
        self._settings = settings
        self.timing = _timing(store, settings)
        traits = store.traits(self.timing)
        beside = traits.not_applicable | settings.not_applicable
        self.traits = dataclasses.replace(traits, not_applicable=beside)
        self._log = Log(folder / "run.jsonl", "run")
        nemesis = Log(folder / "nemesis.jsonl", "nemesis")
        stack.callback(self._log.close)
        stack.callback(nemesis.close)
        self._resource = ResourceProcess(folder / "resource.jsonl", fences=settings.fences)
        stack.callback(self._resource.kill)
        self._begin(seed)
        self._candidates: list[Candidate] = []
        for number in range(1, settings.candidates + 1):
            ports = [node.port for node in store.nodes]
            candidate = Candidate(f"c{number}", ports, folder, self._candidate_settings)
            stack.callback(candidate.close)
            self._candidates.append(candidate)
        self.faults = Faults(
            store,
            self._candidates,
            self.traits,
            note=nemesis.note,
            quorum_changed=lambda reachable: self._log.note("quorum", reachable=reachable),
            network=network,
        )

    def wait_for_leader(self) -> None:
        self._wait_until(lambda: self.faults.leader() is not None, _STARTUP)

    def let_loose(self, nemesis: Nemesis, tell: Tell) -> None:
        began, seconds = BOOT_CLOCK.now(), self._settings.seconds
        nemesis.run(
            began + seconds, lambda: tell("faults", min(1.0, (BOOT_CLOCK.now() - began) / seconds))
        )

    def calm_down(self) -> None:
        self.faults.heal_all()
        self._store.wait_healthy()
        self._log.note("calm")
        self.faults.calm()
        for _ in range(_QUEUE_SAMPLES):
            self.faults.wait(self.traits.lease / _QUEUE_SAMPLES)
            self._log.note("queue", entries=self._store.queue())

    def stop(self) -> None:
        self._log.note("ended")
        for candidate in self._candidates:
            candidate.process.tell("stop")
        for candidate in self._candidates:
            candidate.stop(self.timing.stop_timeout + self.traits.request_timeout + _SHUTDOWN)
        self._wait_until(lambda: not self._store.left(), self.traits.lease + 1.0)
        for entry in self._store.left():
            self._log.note("left", entry=entry)

    def _begin(self, seed: int) -> None:
        timing = {
            name: getattr(self.timing, name) for name in ("ttl", "belief_window", "heartbeat")
        }
        self._log.note(
            "began",
            store=self._store.name,
            nodes=len(self._store.nodes),
            candidates=self._settings.candidates,
            seed=seed,
            timing=timing,
        )

    def _candidate_settings(self, *, who: str, ports: Sequence[int], log: str) -> CandidateSettings:
        return CandidateSettings(
            who=who,
            url=with_ttl(self._store.url_at(ports), self._settings.ttl),
            election=ELECTION,
            kind=self._settings.candidate,
            log=log,
            resource_port=self._resource.port,
        )

    @staticmethod
    def _wait_until(condition: Callable[[], Any], timeout: float) -> None:
        end, never = BOOT_CLOCK.now() + timeout, Flag()
        while not condition() and BOOT_CLOCK.now() < end:
            never.wait(0.1)


def _make_store(settings: Settings) -> Store:
    if settings.url:
        return GivenStore(settings.url)
    if settings.backend not in STORES:
        raise ConfigurationError(
            f"no store is called {settings.backend!r}; there are {', '.join(STORES)}"
        )
    try:
        return STORES[settings.backend](settings.nodes or DEFAULT_NODES[settings.backend])
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _lay_network(
    store: Store, stack: contextlib.ExitStack
) -> tuple[Network | None, tuple[str, ...]]:
    """A network that can be cut, where there is one to cut and the machine permits it."""
    by_proxies = "partition by proxies: some candidates apart from all servers"
    if not isinstance(store, ClusteredStore) or len(store.nodes) < 3:
        return None, (by_proxies,)
    try:
        network = Network(store)
    except NotPermitted as error:
        return None, (f"{by_proxies}; network namespaces are not permitted here ({error})",)
    stack.callback(network.close)
    return network, ("partition by network namespaces: a minority of the servers, and candidates",)


def _kinds(settings: Settings, store: Store) -> list[str]:
    possible = kinds_for(store)
    for kind in settings.faults:
        if kind not in KINDS:
            raise ConfigurationError(f"no fault is called {kind!r}; there are {', '.join(KINDS)}")
        if kind not in possible:
            raise ConfigurationError(
                f"the fault {kind!r} cannot be done to this {store.name}: {', '.join(possible)}"
            )
    return list(settings.faults) or possible


def _timing(store: Store, settings: Settings) -> Timing:
    url = with_ttl(settings.url or f"{store.name}://127.0.0.1", settings.ttl)
    return connect(url).timing


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        if any(kept.iterdir()):
            raise ConfigurationError(f"the folder for logs is not empty: {kept}")
        yield kept
        return
    folder = Path(tempfile.mkdtemp(prefix="leaderlock-chaos-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
