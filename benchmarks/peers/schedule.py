"""The faults of a comparison: aimed at whoever leads, in a fixed order, their lengths by the seed.

The nemesis of the harness leaves more to chance, which takes minutes to show what these show in a
round: each outlasts the lease, so that the one who led has been succeeded when it is over.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos.faults import Faults
from leaderlock.testing.chaos.processes import Candidate
from leaderlock.testing.servers.process import Server

_SHORTEST, _LONGEST = 2.0, 2.3  # a fault, in ttl: no lease is longer
_GAP = 0.5  # between two, in ttl
_LOOK = 0.1

Step = Callable[[Faults, Candidate, float], None]
"""Does one fault: to the candidate that leads, or to the store; and for how long."""


def _kill(faults: Faults, leader: Candidate, seconds: float) -> None:
    faults.kill(leader, seconds)


def _kill_server(faults: Faults, leader: Candidate, seconds: float) -> None:
    faults.kill_servers(_server(faults), seconds / 2)


def _pause(faults: Faults, leader: Candidate, seconds: float) -> None:
    faults.pause(leader, seconds)


def _cut(how: str, faults: Faults, leader: Candidate, seconds: float) -> None:
    faults.cut([leader], how, seconds)


def _operate(number: int, faults: Faults, leader: Candidate, seconds: float) -> None:
    actions = sorted(faults.store.actions())
    if number < len(actions):
        faults.operate(actions[number], seconds / 2)


def _server(faults: Faults) -> list[Server]:
    return [faults.store.leader() or faults.store.nodes[0]]


STEPS: dict[str, Sequence[Step]] = {
    "kill": (_kill, _kill_server),
    "pause": (_pause, _pause, _pause),
    "proxy": tuple(partial(_cut, how) for how in ("hold", "drop replies", "reset")),
    "operator": tuple(partial(_operate, number) for number in range(4)),
}


def schedule(kind: str, *, seconds: float, seed: int, ttl: float) -> Callable[[Faults], None]:
    """Whole rounds of a kind of faults, at least one, until so many seconds are over."""

    def script(faults: Faults) -> None:
        lengths = random.Random(seed)
        end = BOOT_CLOCK.now() + seconds
        rounds = 0
        while not rounds or BOOT_CLOCK.now() < end:
            rounds += 1
            for step in STEPS[kind]:
                length = lengths.uniform(_SHORTEST, _LONGEST) * ttl
                if (leader := _wait_for_leader(faults, length)) is not None:
                    step(faults, leader, length)
                while faults.active:
                    faults.wait(_LOOK)
                faults.wait(_GAP * ttl)

    return script


def _wait_for_leader(faults: Faults, seconds: float) -> Candidate | None:
    """Whoever leads; nobody, if it takes so long."""
    end = BOOT_CLOCK.now() + seconds
    while (leader := faults.leader()) is None and BOOT_CLOCK.now() < end:
        faults.wait(_LOOK)
    return leader
