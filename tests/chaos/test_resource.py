"""The fenced resource: what it decides, and the order in which it says so."""

from __future__ import annotations

import io
import json

import pytest

from leaderlock.testing.chaos.resource import Resource


def decisions(*tokens: int | None, fences: bool = True) -> tuple[list[str], list[str]]:
    """What writers with these tokens are answered, and what is logged."""
    log = io.StringIO()
    resource = Resource(log, fences=fences)
    answers = [resource.write("c1", token, number) for number, token in enumerate(tokens)]
    return answers, [json.loads(line)["what"] for line in log.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((1, 1, 2), ["accepted", "accepted", "accepted"]),
        ((2, 1, 2, 3), ["accepted", "refused", "accepted", "accepted"]),
        ((None, 1, None), ["accepted", "accepted", "accepted"]),
        ((5, None, 4), ["accepted", "accepted", "refused"]),
    ],
)
def test_a_lower_token_is_refused(tokens: tuple[int | None, ...], expected: list[str]) -> None:
    answers, logged = decisions(*tokens)
    assert answers == logged == expected


def test_without_fencing_everything_is_accepted() -> None:
    assert decisions(2, 1, fences=False)[0] == ["accepted", "accepted"]
