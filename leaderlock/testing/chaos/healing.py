"""The faults that act just now: logged when they begin, and healed when their time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos.processes import Candidate
from leaderlock.testing.chaos.stores.base import Store

Heal = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Active:
    number: int
    until: float
    heal: Heal
    of_servers: bool


class Healing:
    """Keeps what acts, and the time.

    Args:
        note: logs what is done.
        quorum_changed: logs whether the store has a quorum.

    Attributes:
        store: with its servers.
    """

    def __init__(
        self,
        store: Store,
        note: Callable[..., None],
        quorum_changed: Callable[[bool], None],
    ) -> None:
        self.store = store
        self._note = note
        self._quorum_changed = quorum_changed
        self._has_quorum = True
        self._active: list[_Active] = []
        self._number = 0
        self._never = Flag()

    @property
    def active(self) -> int:
        """How many faults act just now."""
        return len(self._active)

    def wait(self, seconds: float) -> None:
        """Let time pass, and heal what is due."""
        end = BOOT_CLOCK.now() + seconds
        while True:
            now = BOOT_CLOCK.now()
            for active in [a for a in self._active if a.until <= now]:
                self._heal(active)
            if now >= end:
                return
            due = min([end, *(a.until for a in self._active)])
            self._never.wait(max(0.0, due - BOOT_CLOCK.now()))

    def outlast_all(self) -> None:
        """Let every fault have its time."""
        while self._active:
            self.wait(max(0.0, self._active[-1].until - BOOT_CLOCK.now()))

    def heal_all(self) -> None:
        """End every fault now."""
        while self._active:
            self._heal(self._active[0])

    # For the faults

    def _begin(
        self, name: str, target: str, candidates: Sequence[Candidate] = (), **data: Any
    ) -> int:
        self._number += 1
        whom = [candidate.who for candidate in candidates]
        self._note("fault", id=self._number, name=name, target=target, whom=whom, **data)
        return self._number

    def _last(self, number: int, seconds: float, heal: Heal, *, of_servers: bool = False) -> None:
        until = BOOT_CLOCK.now() + seconds
        self._active.append(_Active(number, until, heal, of_servers))
        self._active.sort(key=lambda active: active.until)
        if of_servers:
            self._note_quorum(self.store.has_quorum())

    def _heal(self, active: _Active) -> None:
        self._active.remove(active)
        if active.of_servers:
            self._note_quorum(True)  # from now on it may be
        active.heal()
        self._note("healed", id=active.number)
        if active.of_servers:
            self._note_quorum(self.store.has_quorum())

    def _note_quorum(self, reachable: bool) -> None:
        if reachable != self._has_quorum:
            self._has_quorum = reachable
            self._quorum_changed(reachable)
