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

_AT_ONCE = 65536


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
        line = self._line()
        try:
            return self._reply(line[:1], line[1:])
        except ValueError:
            raise InvalidResponse(f"no reply of a Redis: {line!r:.80}") from None

    def _reply(self, kind: bytes, rest: bytes) -> Any:
        match kind:
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._take(int(rest))
            case b"*":
                return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
            case b"+":
                return rest
            case b"-":
                return ResponseError(rest.decode(errors="replace"))
            case _:
                raise ValueError

    def _line(self) -> bytes:
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            self._receive_more()
        return self._cut(end)

    def _take(self, size: int) -> bytes:
        while len(self._data) < self._at + size + 2:
            self._receive_more()
        return self._cut(self._at + size)

    def _cut(self, end: int) -> bytes:
        found = self._data[self._at : end]
        self._at = end + 2
        return found

    def _receive_more(self) -> None:
        if not (data := self._receive(_AT_ONCE)):
            raise ConnectionError("Connection closed by server.")
        self._data = self._data[self._at :] + data
        self._at = 0
