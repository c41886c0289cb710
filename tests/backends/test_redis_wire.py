"""The protocol of redis://, and what a heartbeat remembers of the last one; no server is needed."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError, InvalidResponse, ResponseError

from leaderlock.backends.base import Attempt, Renewal
from leaderlock.backends.redis.renewals import Renewals
from leaderlock.backends.redis.scripts import Keys
from leaderlock.backends.redis.wire import Replies, packed
from tests.backends.tools import attempt_at

STREAM = (
    b"+OK\r\n:-7\r\n$-1\r\n$0\r\n\r\n$6\r\na\r\nb\r\n\r\n*-1\r\n"
    b"*3\r\n:1\r\n$1\r\nx\r\n*0\r\n-MOVED 1 h:2\r\n"
)
MEANT = [b"OK", -7, None, b"", b"a\r\nb\r\n", None, [1, b"x", []]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_replies_are_read_however_they_are_cut(size: int) -> None:
    pieces = (STREAM[at : at + size] for at in range(0, len(STREAM), size))
    replies = Replies(lambda _: next(pieces))
    assert [replies.read() for _ in MEANT] == MEANT
    error = replies.read()
    assert isinstance(error, ResponseError) and str(error) == "MOVED 1 h:2"
    assert not replies.has_more


def test_what_nobody_asked_for_is_noticed() -> None:
    replies = Replies(lambda _: b":1\r\n-ERR bye\r\n")
    assert replies.read() == 1
    assert replies.has_more


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n", b":x\r\n", b"$y\r\n", b"\r\n"]
)
def test_what_is_no_redis_is_refused(garbage: bytes) -> None:
    with pytest.raises(InvalidResponse, match="no reply of a Redis"):
        Replies(lambda _: garbage).read()


def test_an_end_in_the_middle_of_a_reply_is_an_end() -> None:
    pieces = iter([b"$5\r\nab", b""])
    with pytest.raises(ConnectionError, match="closed"):
        Replies(lambda _: next(pieces)).read()


def test_commands_are_sent_as_lengths_and_words() -> None:
    words = ("SET", "ké", b"\r\n\x00", 12)
    assert packed(words) == b"*4\r\n$3\r\nSET\r\n$3\r\nk\xc3\xa9\r\n$3\r\n\r\n\x00\r\n$2\r\n12\r\n"
    assert packed(packed(words)) == packed(words)


def attempts(*numbers: int) -> list[Attempt]:
    return [attempt_at(f"e{number}", f"a{number}") for number in numbers]


def renewals(*, alone: bool = False) -> Renewals:
    return Renewals(lambda election: Keys("n", election, lambda _: 0), 1000, alone=alone)


def test_a_heartbeat_that_renews_the_same_sends_the_same() -> None:
    made = renewals()
    first, second = made.of(attempts(*range(1200))), made.of(attempts(*range(1200)))
    assert [len(chunk.attempts) for chunk in first] == [500, 500, 200]
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert [len(chunk.attempts) for chunk in renewals(alone=True).of(attempts(1, 2))] == [1, 1]


def test_a_heartbeat_sends_anew_what_has_changed() -> None:
    """A term more, a term less, the next term of an election."""
    made = renewals()
    made.of(attempts(*range(1200)))
    for wanted in attempts(*range(1201)), attempts(*range(1, 1201)), attempts(7), []:
        chunks = made.of(wanted)
        assert [attempt for chunk in chunks for attempt in chunk.attempts] == wanted
        for chunk, fresh in zip(chunks, renewals().of(wanted), strict=True):
            assert chunk.request == fresh.request
    again = [attempt_at("e7", "another")]
    (chunk,) = made.of(again)
    assert b"another" in bytes(chunk.request.command)  # type: ignore[arg-type]


def test_each_term_hears_its_own_answer() -> None:
    (chunk,) = renewals().of(attempts(1, 2, 3))
    renewed, taken = Renewal.RENEWED, Renewal.TAKEN
    assert chunk.outcomes(b"111") == {"a1": renewed, "a2": renewed, "a3": renewed}
    assert chunk.outcomes(b"101") == {"a1": renewed, "a2": taken, "a3": renewed}
    for short in b"10", b"11":
        with pytest.raises(ValueError, match="shorter"):
            chunk.outcomes(short)
