"""More than ten thousand simulated clusters, and the proof that enough happens in them."""

from __future__ import annotations

import pytest

from leaderlock.timing import Timing
from tests.model.checked import Violation
from tests.model.cluster import Cluster, check_runs, main
from tests.model.mutants import WindowFromTheReply
from tests.model.plan import MAX_DRIFT

RUNS, CHUNK = 10_000, 500
OPERATOR_RUNS = 1_000
SAMPLE = 300


@pytest.mark.parametrize("first", range(0, RUNS, CHUNK))
def test_no_run_breaks_a_rule(first: int) -> None:
    check_runs(range(first, first + CHUNK))


@pytest.mark.parametrize("first", range(0, OPERATOR_RUNS, CHUNK))
def test_an_operator_breaks_nothing_but_the_terms_they_delete(first: int) -> None:
    check_runs(range(first, first + CHUNK), operator=True)


def test_enough_happens_in_the_runs() -> None:
    happened = check_runs(range(SAMPLE))
    assert happened["elected"] > 4 * SAMPLE
    for what in (
        "lost: expired",
        "lost: stopped",
        "lost request",
        "lost reply",
        "late request",
        "late reply",
        "request delivered twice",
        "request timed out",
        "request met an outage",
        "grant answered twice",
        "renewal confirmed too late",
        "release before the drain",
        "pause, leading",
        "kill, leading",
        "fork, leading",
    ):
        assert happened[what] > SAMPLE / 4, what
    for what in (  # rarer, but in every few runs
        "late grant",
        "orphaned",
        "campaign executed after it was given up",
        "elected in a child",
        "lost: forked",
        "lost: resigned",
        "renewal refused",
        "lost wake",
        "outage, leading",
        "cut requests, leading",
        "cut replies, leading",
        "resign, leading",
        "stop, leading",
    ):
        assert happened[what] > 5, what


def test_an_operator_makes_terms_be_taken_and_tokens_regress() -> None:
    happened = check_runs(range(50), operator=True)
    for what in ("lost: taken", "regressed", "delete, leading", "wipe, leading"):
        assert happened[what] > 5, what


def test_the_plans_cover_what_they_claim() -> None:
    plans = [Cluster(seed).plan for seed in range(SAMPLE)]
    assert {len(plan.rates) for plan in plans} == {2, 3, 4, 5}
    drifts = [plan.store_rate / rate for plan in plans for rate in plan.rates]
    assert max(drifts) == pytest.approx(MAX_DRIFT)
    assert min(drifts) == pytest.approx(1 / MAX_DRIFT)
    timings: list[Timing] = [plan.timing for plan in plans]
    assert len({timing.ttl for timing in timings}) == 4
    assert {timing.stop_grace > 0 for timing in timings} == {True, False}
    assert {timing.drain_timeout < timing.belief_window for timing in timings} == {True, False}
    assert {timing.heartbeat < timing.request_timeout for timing in timings} == {True, False}


def test_a_run_follows_from_its_seed() -> None:
    traces = []
    for _ in range(2):
        cluster = Cluster(7, trace=True)
        cluster.run()
        traces.append(cluster.trace)
    assert traces[0] == traces[1]
    assert traces[0]


def test_a_broken_rule_is_told_with_its_seed_and_trace() -> None:
    with pytest.raises(Violation) as violation:
        check_runs(range(5), machine=WindowFromTheReply)
    message = str(violation.value)
    assert "python -m tests.model.cluster --seed 0" in message
    assert "hears Answer(said=<Said.GRANTED" in message
    assert "local" in message


def test_a_seed_can_be_replayed_from_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Plan(")
    assert shown.endswith("no rule is broken\n")
    assert main(["--seed", "3", "--runs", "2", "--operator"]) == 0
    assert "elected" in capsys.readouterr().out
