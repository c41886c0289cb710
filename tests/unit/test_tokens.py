"""FencingToken: order, wire form, and what is none."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import ConfigurationError, FencingToken

epochs = st.integers(0, 2**31 - 1)
values = st.integers(0, 2**63 - 1)
tokens = st.builds(FencingToken, epochs, values)


@given(tokens, tokens)
def test_they_are_ordered_by_epoch_then_value(a: FencingToken, b: FencingToken) -> None:
    left, right = (a.epoch, a.value), (b.epoch, b.value)
    assert (a < b) == (left < right)
    assert (a <= b) == (left <= right)
    assert (a > b) == (left > right)
    assert (a >= b) == (left >= right)
    assert (a == b) == (left == right)
    assert a != b or hash(a) == hash(b)


@given(tokens, tokens)
def test_text_order_is_token_order(a: FencingToken, b: FencingToken) -> None:
    assert (str(a) < str(b)) == (a < b)


@given(tokens)
def test_the_wire_form_is_read_back(token: FencingToken) -> None:
    assert FencingToken.parse(str(token)) == token
    assert len(str(token)) == 30
    assert int(token) == token.value


def test_the_wire_form_is_the_documented_one() -> None:
    assert str(FencingToken(1, 42)) == "0000000001.0000000000000000042"
    assert f"{FencingToken(1, 42)}" == f"{1:010d}.{42:019d}"


def test_a_higher_epoch_wins_over_any_value_and_any_source() -> None:
    old, new = FencingToken(1, 2**63 - 1, "redis:a"), FencingToken(2, 1, "redis:b")
    assert old < new and new > old and old <= new and new >= old and old != new


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
def test_sources_cannot_be_compared_within_an_epoch(
    compare: Callable[[FencingToken, FencingToken], bool],
) -> None:
    a, b = FencingToken(1, 1, "redis:a"), FencingToken(1, 2, "redis:b")
    with pytest.raises(TypeError, match="'redis:[ab]' and 'redis:[ab]'; raise the epoch"):
        compare(a, b)
    assert a != b
    assert FencingToken(1, 1, "redis:a") != FencingToken(1, 1, "redis:b")


def test_a_token_from_the_wire_compares_with_any_source() -> None:
    issued = FencingToken(1, 5, "redis:a")
    parsed = FencingToken.parse(str(issued))
    assert parsed == issued and hash(parsed) == hash(issued)
    assert parsed < FencingToken(1, 6, "redis:b")


@pytest.mark.parametrize("other", [5, "5", None, 5.0, (1, 5)])
def test_nothing_else_is_comparable(other: Any) -> None:
    token = FencingToken(1, 5)
    assert token != other
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        with pytest.raises(TypeError):
            compare(token, other)
        with pytest.raises(TypeError):
            compare(other, token)


@pytest.mark.parametrize(
    ("epoch", "value", "words"),
    [
        (-1, 1, "epoch must be 0 to 2147483647, not -1"),
        (2**31, 1, "epoch must be 0 to"),
        (1, -1, "value must be 0 to 9223372036854775807, not -1"),
        (1, 2**63, "value must be 0 to"),
        ("1", 1, "epoch must be an int, not '1'"),
        (1, 1.0, "value must be an int, not 1.0"),
        (1, None, "value must be an int, not None"),
        (True, 1, "epoch must be an int, not True"),
    ],
)
def test_numbers_that_are_none_are_refused(epoch: Any, value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FencingToken(epoch, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "1.42",
        "0000000001.000000000000000042",
        "0000000001.00000000000000000042",
        "0000000001,0000000000000000042",
        " 0000000001.0000000000000000042",
        "0000000001.0000000000000000042\n",
        "000000000-1.000000000000000042",
        "٠٠٠٠٠٠٠٠٠١.0000000000000000042",
        "9999999999.0000000000000000042",
        "0000000001.9999999999999999999",
    ],
)
def test_what_is_no_wire_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        FencingToken.parse(text)


@pytest.mark.parametrize("text", [None, 42, b"0000000001.0000000000000000042"])
def test_what_is_no_text_is_refused_by_name(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a fencing token"):
        FencingToken.parse(text)


def test_it_cannot_be_changed_and_travels() -> None:
    token = FencingToken(1, 5, "redis:a")
    with pytest.raises(AttributeError):
        token.value = 6  # type: ignore[misc]
    for other in (pickle.loads(pickle.dumps(token)), copy.deepcopy(token)):
        assert other == token and other.source == token.source
