"""What is asked over kazoo's connection, and the answers.

The messages are kazoo's own. Its client is passed by: it checks every path twice, and for each
request makes two objects that a dozen threads may wait for.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Sequence
from typing import Any

from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.serialization import CheckVersion, SetData, Transaction

EPHEMERAL_SEQUENTIAL = 3

_INT = struct.Struct("!i")
_HEAD = struct.Struct("!iBi")  # type, whether it is the end, error
_CHECK, _WRITE = (_HEAD.pack(kind.type, False, -1) for kind in (CheckVersion, SetData))
_END = _HEAD.pack(-1, True, -1)
_CHECKED = _HEAD.pack(CheckVersion.type, False, 0)


class Answer:
    """A value or an exception, once it is there."""

    __slots__ = ("_exception", "_is_there", "_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._is_there = False
        self._value: Any = None
        self._exception: Exception | None = None

    def ready(self) -> bool:
        """Whether it is there."""
        return self._is_there

    @property
    def succeeded(self) -> bool:
        """Whether it is there, and is a value."""
        return self._is_there and self._exception is None

    def get(self, timeout: float) -> Any:
        """Wait for it.

        Raises:
            KazooTimeoutError: it is not there in time.
            KazooException: what it says.
        """
        if not self._lock.acquire(timeout=timeout):
            raise KazooTimeoutError
        self._lock.release()
        if self._exception is not None:
            raise self._exception
        return self._value

    # What kazoo calls.

    def set(self, value: Any = None) -> None:
        self._value = value
        self._arrive()

    def set_exception(self, exception: Exception) -> None:
        self._exception = exception
        self._arrive()

    def _arrive(self) -> None:
        self._is_there = True
        with contextlib.suppress(RuntimeError):  # a connection that is closed may say so twice
            self._lock.release()


class Checks:
    """One transaction of `check` and `write`. Its answer has an entry for each of them."""

    type = Transaction.type

    def __init__(self, operations: Sequence[bytes]) -> None:
        self._operations = operations

    def serialize(self) -> bytes:
        return b"".join(self._operations) + _END

    def deserialize(self, data: bytes, offset: int) -> Any:
        many = len(self._operations)
        if data[offset:] == many * _CHECKED + _END:  # as nearly always
            return [True] * many
        return Transaction.deserialize(data, offset)


def check(path: str, version: int) -> bytes:
    """Fails if there is no node, or one of another version."""
    name = path.encode()
    return _CHECK + _INT.pack(len(name)) + name + _INT.pack(version)


def write(path: str, value: bytes, version: int) -> bytes:
    """The same, and write it."""
    return _WRITE + bytes(SetData(path, value, version).serialize())
