"""Redis, raw: what no lock can do without.

floor           one EVAL that sets the key with its expiry if there is none, one EVAL that deletes
                it if it is one's own; over one socket. Whoever waits is subscribed to a channel,
                on a second socket, and sends one EVAL when it is told.
                Why EVAL for the release: without the comparison, a leader that was late would
                delete its successor's key.
correct floor   the same requests. What is added is inside the script, a counter that outlives the
                key: without it there is no fencing token. It costs no round trip.
"""

from __future__ import annotations

import os
import socket

from benchmarks.contestants.contestant import Contestant, Lock

_ACQUIRE = "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0"
_ACQUIRE_FENCED = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[1] .. ':fence')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return token
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', KEYS[1], 'free')
end
"""


class Connection:
    """A socket that speaks the protocol of Redis, as far as it is needed."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def send(self, *words: str) -> None:
        parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
        self._socket.sendall("".join(parts).encode("ascii"))

    def receive(self) -> object:
        line = self._stream.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.receive() for _ in range(int(rest))]
        if kind == b"-" or not line:
            raise RuntimeError(f"Redis: {rest.decode() or 'connection closed'}")
        return rest

    def skip(self) -> None:
        """Read whole messages that are there already, and wait for none."""
        while self._has_more():
            self.receive()

    def _has_more(self) -> bool:
        self._socket.setblocking(False)
        try:
            return bool(self._stream.peek(1))  # of what was read ahead, too
        finally:
            self._socket.setblocking(True)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def call(self, *words: str) -> object:
        self.send(*words)
        return self.receive()


class RawLock(Lock):
    def __init__(self, contestant: RedisFloor, name: str) -> None:
        self._contestant = contestant
        self._name = name
        self._id = f"{os.getpid()}"
        self._news: Connection | None = None

    def acquire(self) -> None:
        if self._news is not None:
            self._news.skip()  # of our own releases
        while not self._try():
            if self._news is None:
                self._news = Connection(self._contestant.host, self._contestant.port)
                self._news.call("SUBSCRIBE", self._name)
                continue  # it may have been freed before
            self._news.receive()

    def _try(self) -> bool:
        ms = str(int(self._contestant.ttl * 1000))
        script = self._contestant.acquire
        return bool(self._contestant.redis.call("EVAL", script, "1", self._name, self._id, ms))

    def release(self) -> None:
        self._contestant.redis.call("EVAL", _RELEASE, "1", self._name, self._id)

    def keep(self) -> None:
        self._contestant.redis.call("PEXPIRE", self._name, str(int(self._contestant.ttl * 1000)))


class RedisFloor(Contestant):
    acquire = _ACQUIRE

    def connect(self) -> None:
        self.redis = Connection(self.host, self.port)

    def lock(self, name: str) -> Lock:
        return RawLock(self, name)


class CorrectRedisFloor(RedisFloor):
    acquire = _ACQUIRE_FENCED


make = RedisFloor
make_correct = CorrectRedisFloor
