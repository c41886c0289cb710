"""What an elector is fixed to when it is made, and what a forked child of it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderlock import LeaderElector
from tests.elector.tools import in_child


def test_a_relative_file_stays_the_same_file_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    early = LeaderElector("sqlite://./e.db", "billing")
    late = LeaderElector("sqlite://./e.db", "billing")
    with early:
        assert early.wait_elected(timeout=10)
        monkeypatch.chdir(elsewhere)
        with late:
            assert late.leader() == early.leader() is not None
            assert not late.wait_elected(timeout=0.3)


def test_a_forked_child_has_a_default_name_of_its_own() -> None:
    elector = LeaderElector("memory://", "billing")
    name = elector.candidate_id

    def child() -> None:
        assert elector.candidate_id != name
        with elector:
            assert elector.wait_elected(timeout=10)
            leader = elector.leader()
            assert leader is not None and leader.candidate_id == elector.candidate_id

    assert in_child(child) == ""
    assert elector.candidate_id == name


def test_a_name_that_was_given_is_kept_in_a_forked_child() -> None:
    elector = LeaderElector("memory://", "billing", candidate_id="web")

    def child() -> None:
        assert elector.candidate_id == "web"

    assert in_child(child) == ""
