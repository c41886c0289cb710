"""What a run has measured, in one shape for the table, the picture and the JSON file."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.field import CORRECT, FLOOR


@dataclass(frozen=True)
class Spread:
    """Of one figure, measured many times. With few samples the p99 is the worst of them."""

    p50: float
    p99: float
    samples: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        ordered = sorted(values)
        return cls(
            statistics.median(ordered),
            ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            len(ordered),
        )


@dataclass
class Figures:
    """Of one contestant on one store. None: not measured, or not to be had on this system.

    Attributes:
        elect_resign: seconds.
        hand_over: seconds.
        fail_over: in ttl.
        requests: per `elect_resign`, per `hand_over`, and in a ttl by an idle `leader` or
            `follower`.
        cpu: of an idle `leader` or `follower`, as a share of one core.
        memory: bytes for one more election that is led.
        threads: of a process with one election.
        threads_more: for one more election.
        asks: ns for a question whether it still leads, by what is called.
        errors: by figure, in the library's own words.
    """

    elect_resign: Spread | None = None
    hand_over: Spread | None = None
    fail_over: Spread | None = None
    requests: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    memory: float | None = None
    threads: int | None = None
    threads_more: float | None = None
    asks: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass
class OnStore:
    """All contestants of a store, in the order of the table.

    Attributes:
        missing: who could not be measured, and why.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def ratio(self, name: str, what: str, *, to: str = FLOOR, tail: bool = False) -> float | None:
        """A spread of a contestant in that of a floor: the p50s, or the p99s.

        Args:
            what: `elect_resign` or `hand_over`.
            to: FLOOR or CORRECT.
        """
        mine, floor = (
            getattr(self.figures.get(who), what, None) if who in self.figures else None
            for who in (name, to)
        )
        if mine is None or floor is None:
            return None
        upper, lower = (mine.p99, floor.p99) if tail else (mine.p50, floor.p50)
        return float(upper / lower) if lower else None


@dataclass
class Results:
    """A run.

    Attributes:
        about: the date, the machine, the settings and the command.
        imports: seconds of a statement, less those of an interpreter that does nothing.
    """

    about: dict[str, Any]
    stores: dict[str, OnStore] = field(default_factory=dict)
    imports: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it, with the ratios, in seconds and bytes."""
        stores = {}
        for store, on in self.stores.items():
            contestants = {}
            for name, figures in on.figures.items():
                ratios = {
                    f"{what}{p99}_to_{label}": on.ratio(name, what, to=to, tail=bool(p99))
                    for what in ("elect_resign", "hand_over")
                    for p99 in ("", "_p99")
                    for label, to in (("floor", FLOOR), ("correct_floor", CORRECT))
                }
                contestants[name] = {**dataclasses.asdict(figures), "ratios": ratios}
            stores[store] = {"contestants": contestants, "missing": on.missing}
        return {"about": self.about, "stores": stores, "imports": self.imports}
