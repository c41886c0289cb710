"""Many elections, many candidates: both commands, with few, on stores that start fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


def _figures(module: str, *arguments: str) -> Any:
    run = _run(module, *arguments, "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
def test_many_elections_are_won_held_and_lost(backend: str) -> None:
    figures = _figures(
        "scale", "--backend", backend, "--elections", "30", "--ttl", "3", "--seconds", "1"
    )
    assert (figures["backend"], figures["elections"]) == (backend, 30)
    assert 0 < figures["cold"] < 60
    assert 1 <= sum(figures["threads"].values()) <= 12
    assert 0 <= figures["rest"]["cpu"] < 1
    assert 0 < figures["rest"]["heartbeat"] < 3
    if backend == "redis":
        assert figures["connections"] >= 1
        assert figures["cold_requests"]["eval"] >= 30, "one for each, at least"
        assert 0.5 < figures["rest"]["requests"]["eval"] < 2, "one for all of them"
    else:
        assert not figures["cold_requests"], "it has no server that could count"
    loss = figures["loss"]
    if backend == "memory":
        assert loss is None, "it cannot fall silent"
        return
    assert 0 < loss["first"] <= loss["last"]
    assert (loss["believing"], loss["repeated"]) == (0, 0)


def test_many_elections_are_shown_with_the_goals() -> None:
    run = _run("scale", "--backend", "memory", "--elections", "3", "--ttl", "1", "--seconds", "1")
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout, "plain text in a pipe"
    assert "3 elections of one client" in run.stdout
    assert "goal" in run.stdout
    assert "won from cold, s" in run.stdout


_CROWD = ("--hand-overs", "3", "--ttl", "3", "--seconds", "3", "--clients", "2")


@pytest.mark.parametrize(("backend", "processes"), [("memory", 1), ("sqlite", 2), ("redis", 2)])
def test_many_candidates_hand_over(backend: str, processes: int) -> None:
    sizes = "4,8" if backend == "redis" else "4"
    where = ("--backend", backend, "--candidates", sizes, "--processes", str(processes))
    figures = _figures("crowd", *where, *_CROWD)
    assert figures["backend"] == backend
    crowds = figures["crowds"]
    assert [crowd["candidates"] for crowd in crowds] == ([4, 8] if backend == "redis" else [4])
    for crowd in crowds:
        assert crowd["clients"] == 2 * processes
        hand_overs = crowd["hand_overs"]
        assert hand_overs["many"] == 3
        assert 0 < hand_overs["median"] <= hand_overs["worst"] < 60
        assert 0 <= hand_overs["in_order"] <= 1
        if processes == 1:
            assert crowd["fail_over"] is None, "nobody would be left"
        else:
            assert 0 < crowd["fail_over"]["seconds"] < 60
            assert 0 < crowd["fail_over"]["worst_hand_over"] < 60
        if backend == "redis":
            assert hand_overs["requests"]["eval"] >= 2, "to release, and to be elected"
            assert hand_overs["with_rest"] >= sum(hand_overs["requests"].values())
            assert crowd["rest"]["eval"] >= 1, "the leader's renewals"
    first = sum(crowds[0]["hand_overs"]["requests"].values())
    assert figures["goal"] == pytest.approx(1.5 * first + 5)


def test_many_candidates_are_shown_with_the_goals() -> None:
    run = _run("crowd", "--backend", "memory", "--candidates", "3", "--processes", "1", *_CROWD)
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout, "plain text in a pipe"
    heading = next(line for line in run.stdout.splitlines() if "goal" in line)
    assert heading.index(" 3 ") < heading.index("goal")
    assert "requests of a hand-over" in run.stdout
    assert "to who has waited longest, %" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--backend", "memory"), "one process"),
        (("--backend", "paper", "--candidates", "9"), "no store is called paper"),
        (("--candidates", "7"), "8 candidates or more"),
    ],
)
def test_a_crowd_that_cannot_be_measured_is_refused(arguments: tuple[str, ...], why: str) -> None:
    run = _run("crowd", *arguments)
    assert run.returncode == 2
    assert why in run.stderr


def test_a_crowd_of_no_number_is_refused_in_a_sentence() -> None:
    run = _run("crowd", "--candidates", "ten")
    assert run.returncode == 2
    assert "write for example 10,100" in run.stderr and "Traceback" not in run.stderr


def test_where_the_time_of_an_election_goes_is_added_up() -> None:
    run = _run("hops", "--rounds", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    first, *others = run.stdout.splitlines()
    assert first.startswith("floor of what is correct") and first.endswith("1.00")
    assert len(others) == 5
