"""The billing demo, run as a user runs it: as a program, with real processes that really die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--subscriptions", "600"]
LEFT_BEHIND = "leaderlock-billing-*"


def run_demo(*options: str, scratch: Path) -> subprocess.CompletedProcess[str]:
    # Narrow terminals and colours of whoever runs the tests are not what is tested.
    environment = {**os.environ, "TMPDIR": str(scratch), "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "examples.billing", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def report_of(demo: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert demo.stdout, demo.stderr
    report = json.loads(demo.stdout)
    assert isinstance(report, dict)
    return report


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return run_demo(*SMALL, "--json", scratch=tmp_path_factory.mktemp("demo"))


def test_every_due_customer_is_charged_exactly_once_through_three_faults(
    demo: subprocess.CompletedProcess[str],
) -> None:
    report = report_of(demo)

    assert demo.returncode == 0, report["problems"]
    assert report["customers"] == {
        "due": 240,
        "once": 240,
        "twice_or_more": 0,
        "never": 0,
        "not_due": 0,
        "not_recorded": 0,
    }
    assert report["cents_charged"] == report["cents_due"]


def test_each_term_ends_for_its_own_reason_and_tokens_increase(
    demo: subprocess.CompletedProcess[str],
) -> None:
    report = report_of(demo)

    assert [term["why"] for term in report["terms"]] == ["killed", "paused", "resigned", "stopped"]
    tokens = [term["token"] for term in report["terms"]]
    assert tokens == sorted(set(tokens))
    assert [each["fault"] for each in report["failovers"]] == ["killed", "paused", "resigned"]


def test_late_charges_of_the_paused_leader_are_refused_by_the_fence(
    demo: subprocess.CompletedProcess[str],
) -> None:
    report = report_of(demo)

    paused = next(term for term in report["terms"] if term["why"] == "paused")
    assert paused["refused"] > 0
    assert report["charges_refused"] >= paused["refused"]


def test_without_the_fence_the_paused_leader_charges_twice(tmp_path: Path) -> None:
    demo = run_demo(*SMALL, "--no-fence", "--json", scratch=tmp_path)
    report = report_of(demo)

    assert demo.returncode == 1
    assert report["customers"]["twice_or_more"] > 0
    assert report["charges_refused"] == 0
    assert "a second time" in report["explanation"]


def test_without_an_election_everybody_is_charged_by_several_servers(tmp_path: Path) -> None:
    demo = run_demo(*SMALL, "--no-election", "--json", scratch=tmp_path)
    report = report_of(demo)

    assert demo.returncode == 1
    assert report["customers"]["twice_or_more"] > 0
    assert report["terms"] == []
    assert "Four servers did the same work" in report["explanation"]


def test_in_a_pipe_it_prints_plain_lines_and_a_verdict_and_leaves_nothing(tmp_path: Path) -> None:
    demo = run_demo(*SMALL, scratch=tmp_path)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "\x1b" not in demo.stdout
    for expected in ("is ELECTED", "KILLED", "PAUSED", "REFUSED by the fence", "RESIGN", "100 %"):
        assert expected in demo.stdout
    assert "VERDICT: every due customer was charged exactly once." in demo.stdout
    assert list(tmp_path.glob(LEFT_BEHIND)) == []


def test_the_picture_shows_what_is_printed_and_loads_nothing_and_keep_leaves_the_databases(
    tmp_path: Path,
) -> None:
    picture = tmp_path / "demo.svg"
    demo = run_demo(*SMALL, "--no-election", "--svg", str(picture), "--keep", scratch=tmp_path)

    svg = picture.read_text(encoding="utf-8")
    for expected in ("VERDICT:", "server-1"):
        assert expected in demo.stdout
        assert expected in svg
    assert "url(" not in svg.replace("url(#", "")
    (folder,) = tmp_path.glob(LEFT_BEHIND)
    assert str(folder) in demo.stderr
    assert {"subscriptions.db", "ledger.db"} <= {file.name for file in folder.iterdir()}


def test_help_shows_the_switches_and_examples(tmp_path: Path) -> None:
    demo = run_demo("--help", scratch=tmp_path)

    assert demo.returncode == 0
    for expected in ("--no-fence", "--no-election", "--url", "Examples:", "Exit status"):
        assert expected in demo.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--url", "memory://"],
        ["--url", "carrier-pigeon://loft"],
        ["--ttl", "0"],
        ["--subscriptions", "3"],
        ["--json", "--svg", "picture.svg"],
        ["--svg", "no/such/folder/picture.svg"],
        ["--no-such-switch"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused_before_anything_is_started(
    options: list[str], tmp_path: Path
) -> None:
    demo = run_demo(*options, scratch=tmp_path)

    assert demo.returncode == 2
    assert "Traceback" not in demo.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_libraries_are_named_in_one_sentence(tmp_path: Path) -> None:
    # -S and -E hide site-packages: what is left is the standard library.
    demo = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "examples.billing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert demo.returncode == 2
    assert "typer" in demo.stderr
    assert "make demo" in demo.stderr
    assert "leaderlock[demo]" in demo.stderr
    assert len(demo.stderr.splitlines()) == 1
