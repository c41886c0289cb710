"""The protocol of Redis (RESP2), as far as it is needed: commands go out, replies come in.

redis-py does the same for clients of all kinds. This takes a third of its time, which is felt in
every election, and where thousands of terms are renewed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError, InvalidResponse, ResponseError

Command = Sequence[str | bytes | int] | bytes
"""Words, or what `packed` makes of them."""

AT_ONCE = 65536
"""Bytes; more than TLS has in one record, so that nothing of it is left behind."""


def packed(command: Command) -> bytes:
    """A command as it is sent."""
    if isinstance(command, bytes):
        return command
    pieces = [b"*%d\r\n" % len(command)]
    for word in command:
        data = word if isinstance(word, bytes) else str(word).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(pieces)


class Replies:
    """What comes in on one connection.

    Args:
        receive: waits for some bytes, at most so many; none: the connection has ended.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._data = b""
        self._at = 0  # what comes before it has been read

    @property
    def has_more(self) -> bool:
        """Whether something has come in that nobody has read."""
        return self._at < len(self._data)

    def read(self) -> Any:
        """The next reply; an error is one."""
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            self.add(self._receive(AT_ONCE))
        kind, rest = self._data[self._at : self._at + 1], self._data[self._at + 1 : end]
        self._at = end + 2
        try:
            if kind == b":":
                return int(rest)
            if kind == b"$":
                return None if rest == b"-1" else self._take(int(rest))
            if kind == b"*":
                return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
            if kind == b"+":
                return rest
            if kind == b"-":
                return ResponseError(rest.decode(errors="replace"))
            raise ValueError
        except ValueError:
            raise InvalidResponse(f"no reply of a Redis: {kind + rest!r:.80}") from None

    def _take(self, size: int) -> bytes:
        while len(self._data) < self._at + size + 2:
            self.add(self._receive(AT_ONCE))
        begin, self._at = self._at, self._at + size + 2
        return self._data[begin : begin + size]

    def add(self, data: bytes) -> None:
        """What has been received."""
        if not data:
            raise ConnectionError("Connection closed by server.")
        self._data = self._data[self._at :] + data
        self._at = 0
