"""What happens in one simulated run, drawn from its seed: timing, clocks and faults."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from leaderlock.capabilities import Capabilities
from leaderlock.timing import Timing

MAX_DRIFT = 1.5
"""The most that the store's clock may be faster than a candidate's: see `belief_ratio`."""

FAULTS = (
    "pause",
    "pause the leader",
    "cut requests",
    "cut replies",
    "outage",
    "kill the leader",
    "fork",
    "fork the leader",
    "resign",
    "stop",
    "start",
)
OPERATOR_ACTIONS = ("delete", "delete", "wipe", "replace")


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens to one process or to the store at one instant."""

    at: float
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Times are global, durations of `timing` are on the clock of whoever measures them.

    Attributes:
        rates: how fast each candidate's clock runs.
        round_trip: the longest that a message takes when nothing is wrong.
        lost, late, twice: shares of the messages, while faults last, that are lost, late by up to
            3 ttl, and delivered to the store twice.
        lag: share of the timers that fire late by up to a belief window.
        lost_wakes: share of the store's wakes that do not arrive.
        longest_work: how long work may take to end after its term was lost.
        faults_end: the instant from which on nothing goes wrong any more.
    """

    timing: Timing
    store_rate: float
    rates: tuple[float, ...]
    round_trip: float
    lost: float
    late: float
    twice: float
    lag: float
    lost_wakes: float
    longest_work: float
    faults_end: float
    incidents: tuple[Incident, ...]


def draw(rng: Random, *, operator: bool) -> Plan:
    """A run with faults of its own mixture: some runs know one kind only, some know all."""
    timing = _draw_timing(rng)
    ttl = timing.ttl
    store_rate = rng.choice((1.0, rng.uniform(0.8, 1.25)))
    rates = tuple(store_rate * _draw_drift(rng) for _ in range(rng.choice((2, 3, 3, 4, 5))))
    faults_end = ttl * rng.uniform(5, 15)
    return Plan(
        timing=timing,
        store_rate=store_rate,
        rates=rates,
        # A healthy request is answered in time also by the clock of the fastest candidate.
        round_trip=timing.request_timeout / (2.5 * max(rates)),
        lost=rng.choice((0.0, 0.05, 0.2)),
        late=rng.choice((0.0, 0.05, 0.2)),
        twice=rng.choice((0.0, 0.1)),
        lag=rng.choice((0.0, 0.1, 0.3)),
        lost_wakes=rng.choice((0.0, 0.5)),
        longest_work=ttl * rng.choice((0.05, 0.5, 3.0)),
        faults_end=faults_end,
        incidents=_draw_incidents(rng, timing, faults_end, operator=operator),
    )


def _draw_timing(rng: Random) -> Timing:
    ttl = rng.choice((1.0, 3.0, 10.0, 30.0))
    limits = Capabilities(
        linearizable=True,
        event_driven=True,
        min_ttl=0.01,
        max_ttl=1e6,
        expiry_factor=rng.choice((1.0, 1.0, 2.0)),
        expiry_slack=ttl * rng.choice((0.0, 0.0, 0.1)),
        hold_off=ttl * rng.choice((0.0, 0.0, 0.3)),
        notice=ttl * rng.choice((0.3, 0.6, 1.0)),
    )
    window = limits.belief_ratio * ttl
    grace = window * rng.choice((0.0, 0.0, 0.2))
    window -= grace
    return Timing(
        ttl=ttl,
        heartbeat=window * rng.choice((0.2, 1 / 3, 0.5)),
        request_timeout=window * rng.choice((0.1, 0.2, 1 / 3)),
        stop_grace=grace,
        drain_timeout=window * rng.choice((0.2, 1.0, 3.0)),
        capabilities=limits,
    )


def _draw_drift(rng: Random) -> float:
    """A candidate's rate, relative to the store's; the bounds themselves come up often."""
    drift = rng.choice((MAX_DRIFT, 1.0, rng.uniform(1.0, MAX_DRIFT)))
    return rng.choice((1 / drift, drift))


def _draw_incidents(
    rng: Random, timing: Timing, end: float, *, operator: bool
) -> tuple[Incident, ...]:
    kinds = rng.sample(FAULTS, rng.choice((1, 3, len(FAULTS))))
    if operator:
        kinds += OPERATOR_ACTIONS
    return tuple(
        Incident(
            at=rng.uniform(0, end),
            kind=rng.choice(kinds),
            seconds=rng.uniform(0, rng.choice((timing.belief_window, timing.ttl, 3 * timing.ttl))),
        )
        for _ in range(rng.randint(2, 20))
    )
