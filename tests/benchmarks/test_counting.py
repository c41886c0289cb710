"""The counting proxy finds the requests of each protocol, however they are cut into pieces."""

from __future__ import annotations

import struct

import pytest

from benchmarks.contestants.floor_redis import Connection
from benchmarks.counting import COUNTERS, CountingProxy
from leaderlock.testing.servers.redis import RedisServer

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frame(kind: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, 0]) + struct.pack(">i", 1) + body


_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_GRPC = [
    _PREFACE,
    _frame(_SETTINGS, b"123456"),
    _frame(_HEADERS, b"path"),
    _frame(_DATA, b"\0\0\0\0\1x"),
    _frame(_DATA, b""),  # only ends the stream
    _frame(_HEADERS, b"path"),
    _frame(_DATA, b"\0\0\0\0\1y"),
    _frame(_DATA, b"\0\0\0\0\1z"),
]
_POST = b"POST /v3/kv/txn HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"
_GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\n\r\n"
_SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n*1\r\n"


@pytest.mark.parametrize(
    ("store", "stream", "requests"),
    [
        ("redis", _SET + b"*1\r\n$4\r\nPING\r\n" + _SET, 3),
        ("consul", _GET + _POST + _GET, 3),
        ("etcd", b"".join(_GRPC), 3),
        ("etcd", _POST + _POST, 2),
        ("zookeeper", struct.pack(">i", 4) + b"open" + struct.pack(">i", 2) + b"xx", 2),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_requests_are_counted_whatever_the_pieces(
    store: str, stream: bytes, requests: int, size: int
) -> None:
    counter = COUNTERS[store]()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert sum(counter.feed(piece) for piece in pieces) == requests


def test_half_a_request_is_none() -> None:
    for store, stream in ("redis", _SET), ("consul", _POST), ("etcd", b"".join(_GRPC[:4])):
        counter = COUNTERS[store]()
        assert counter.feed(stream[:-1]) == 0
        assert counter.feed(stream[-1:]) == 1


def test_the_proxy_passes_on_what_it_counts(redis: RedisServer) -> None:
    with CountingProxy(redis.port, COUNTERS["redis"]) as proxy:
        connection = Connection("127.0.0.1", proxy.port)
        connection.send("SET", "a", "1")
        connection.send("GET", "a")
        assert [connection.receive(), connection.receive()] == [b"OK", b"1"]
        assert connection.call("PING") == b"PONG"
        assert proxy.requests == 3
        connection.close()
