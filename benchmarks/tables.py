"""The figures as rows: for a terminal, and for the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.field import CORRECT, FLOOR
from benchmarks.results import Figures, OnStore, Results, Spread

NONE = "-"

SPEED = (
    "",
    "elect+resign",
    "of floor",
    "of correct",
    "p99",
    "hand-over",
    "of floor",
    "of correct",
    "p99",
    "fail-over",
)
COST = (
    "",
    "req. elect",
    "req. hand-over",
    "req. leader",
    "req. follower",
    "still leads?",
    "CPU leader",
    "CPU follower",
    "memory",
    "threads",
)

LEGEND = (
    "floor: the bare minimum of requests, sent raw (benchmarks/contestants/floor_*.py).",
    "floor of what is correct: with the round trips that safety needs; it says there what for.",
    "elect+resign: median of an election without contenders, and its resignation.",
    "hand-over: median from before the call that resigns to after the one that waited, elsewhere.",
    "fail-over: median from SIGKILL of the leader's process to its successor, in ttl.",
    "req.: requests through a counting proxy, pings too: for an election and resignation; for a",
    "  hand-over and the wait before it; in a ttl, of an idle leader and an idle follower.",
    "still leads?: what a leader calls to ask whether it still leads.",
    "CPU: of one core, idle. memory: resident, for one more election that is led.",
    "threads: of a process with a few elections, and for each one more.",
)


def speed(on: OnStore) -> list[list[str]]:
    """A row for each contestant, under SPEED."""
    return [[name, *_speed(on, name, figures)] for name, figures in on.figures.items()]


def cost(on: OnStore) -> list[list[str]]:
    """A row for each contestant but the floors, under COST, except where they have something."""
    return [[name, *_cost(figures)] for name, figures in on.figures.items()]


def _speed(on: OnStore, name: str, figures: Figures) -> Iterator[str]:
    for what in "elect_resign", "hand_over":
        spread: Spread | None = getattr(figures, what)
        if spread is None:
            yield from ("failed" if _failed(figures, what) else NONE, NONE, NONE, NONE)
            continue
        yield _ms(spread.p50)
        yield _ratio(on.ratio(name, what, to=FLOOR))
        yield _ratio(on.ratio(name, what, to=CORRECT))
        yield _ms(spread.p99)
    if figures.fail_over is not None:
        yield f"{figures.fail_over.p50:.2f} ttl"
    else:
        yield "failed" if _failed(figures, "fail_over") else NONE


def _failed(figures: Figures, what: str) -> bool:
    return what in figures.errors or "start" in figures.errors


def _cost(figures: Figures) -> Iterator[str]:
    for what in "elect_resign", "hand_over", "leader", "follower":
        yield f"{figures.requests[what]:.1f}" if what in figures.requests else NONE
    yield ", ".join(f"{name} {_ns(ns)}" for name, ns in figures.asks.items()) or NONE
    for role in "leader", "follower":
        yield f"{figures.cpu[role]:.2%}" if role in figures.cpu else NONE
    yield NONE if figures.memory is None else f"{figures.memory / 1024:.1f} KiB"
    if figures.threads is None or figures.threads_more is None:
        yield NONE
    else:
        yield f"{figures.threads} +{figures.threads_more:.2g}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _ratio(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"


def _ns(ns: float) -> str:
    return f"{ns:.0f} ns" if ns < 10_000 else f"{ns / 1000:.0f} us"


def notes(on: OnStore) -> Iterator[str]:
    """Who is missing or has failed, and why: nobody is left out in silence."""
    for name, why in on.missing.items():
        yield f"{name}: not measured: {why}"
    for name, figures in on.figures.items():
        for what, error in figures.errors.items():
            yield f"{name}: {what} failed: {error}"


def imports(results: Results) -> list[list[str]]:
    """Statements, and what they take."""
    return [[statement, _ms(seconds)] for statement, seconds in results.imports.items()]


def markdown(results: Results) -> str:
    """All tables, with the machine, the date and the command."""
    about = results.about
    where = f"{about['date']}, {about['machine']}, load {about['load']}, ttl {about['ttl']:g} s"
    lines = [f"Measured on {where}, by `{about['command']}`.", ""]
    for store, on in results.stores.items():
        lines += [f"### {store}", ""]
        lines += _markdown_table(SPEED, speed(on))
        lines += _markdown_table(COST, cost(on))
        if said := list(notes(on)):
            lines += [*(f"- {note}" for note in said), ""]
    if results.imports:
        lines += ["### Imports", "", *_markdown_table(("", "beyond python"), imports(results))]
    lines += [line if line.startswith(" ") else f"- {line}" for line in LEGEND]
    return "\n".join([*lines, ""])


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
