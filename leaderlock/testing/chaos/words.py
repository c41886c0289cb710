"""What a report says of a run in words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import combinations

from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.history import History, overlap
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.verdicts import Status


def title(run: Run) -> str:
    """Which run it is."""
    servers = f"{run.nodes} node{'s' * (run.nodes != 1)}" if run.nodes else "a store of yours"
    return (
        f"{run.store}, {servers}, {run.candidates} candidates, {run.seconds:g} s, seed {run.seed}"
    )


def about(run: Run) -> str:
    """Under which conditions it was run."""
    faults = ", ".join(run.faults) or "none"
    return "; ".join([f"ttl {run.ttl:g} s", f"faults: {faults}", *run.notes])


def outcome(run: Run) -> str:
    """What it has shown."""
    if run.violations:
        return f"Violated: {', '.join(verdict.invariant for verdict in run.violations)}"
    held = sum(verdict.status is Status.HELD for verdict in run.verdicts)
    reported = sum(verdict.status is Status.REPORTED for verdict in run.verdicts)
    more = f"; {reported} broken that this store does not promise" if reported else ""
    return f"No violation: {held} of {len(run.verdicts)} invariants held{more}"


def facts(run: Run) -> Iterator[str]:
    """The run in a few numbers."""
    history = History(run.events)
    began = began_at(run)
    # Nobody leads any more once the candidates are stopped at the end.
    end = min((event.at for event in history.of("stopped")), default=history.end)
    beliefs = history.beliefs
    led, longest, until = 0.0, 0.0, began
    for belief in beliefs:
        led += max(0.0, min(belief.until, end) - max(belief.since, until))
        longest = max(longest, belief.since - until)
        until = max(until, belief.until)
    clashes = sum(
        one.who != other.who and overlap(one, other) is not None
        for one, other in combinations(beliefs, 2)
    )
    yield f"{len(beliefs):,} terms"
    yield f"{clashes:,} overlap{'s' * (clashes != 1)}" if clashes else "no two at once"
    yield f"somebody led {led / max(end - began, 0.001):.0%} of the time"
    yield f"at most {max(longest, end - until):.1f} s without a leader"
    yield f"{len(history.of('accepted', who='resource')):,} writes accepted"
    yield f"{len(history.of('refused', who='resource')):,} refused"
    yield f"{len(history.faults):,} faults"


def command(run: Run) -> str:
    """What repeats the run: the schedule of its faults, not its history."""
    store = ["--backend", run.store, "--nodes", str(run.nodes)] if run.nodes else ["--url", "URL"]
    options = {
        "candidates": run.candidates,
        "seconds": f"{run.seconds:g}",
        "ttl": f"{run.ttl:g}",
        "seed": run.seed,
        "faults": ",".join(run.faults),
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return shlex.join(["python", "-m", "leaderlock.testing.chaos", *store, *given])


def began_at(run: Run) -> float:
    """Where the time of a report begins."""
    return next((event.at for event in run.events if event.what == "began"), 0.0)


def describe(event: Event, zero: float) -> str:
    """An event in one line, its times in seconds since `zero`."""
    data = dict(event.data)
    if "seen" in data:
        data["seen"] = f"{data['seen'] - zero:.3f}"
    facts = " ".join(f"{name}={value}" for name, value in data.items())
    return f"{event.at - zero:8.3f} s  {event.who} {event.what} {facts}".rstrip()
