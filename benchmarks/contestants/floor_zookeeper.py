"""ZooKeeper, raw: what no lock can do without, in its own protocol over one socket.

floor           create an ephemeral sequential node, read the children, delete the node. Whoever
                waits has a watch on the node in front (one `exists`), and reads the children again
                when it fires. Why read them again: the node in front may have gone without its
                owner ever having led.
correct floor   uncontended the same: the creation is a quorum's answer, and the children are read
                where it has been applied already. But after a wait one transaction that checks the
                own node: what a server says of children and watches it says from its own copy, and
                the ensemble may have ended the session long ago. Only a write proves the term.
"""

from __future__ import annotations

import socket
import struct

from benchmarks.contestants.contestant import Contestant, Lock

_CREATE, _DELETE, _EXISTS, _PING, _CHILDREN, _CHECK, _MULTI = 1, 2, 3, 11, 8, 13, 14
_EPHEMERAL_SEQUENTIAL = 3
# One entry of an access list: everything, to the scheme world, for anyone.
_OPEN = struct.pack(">ii", 1, 31) + struct.pack(">i5si6s", 5, b"world", 6, b"anyone")
_NO_NODE, _NODE_EXISTS = -101, -110


def _text(text: str) -> bytes:
    return struct.pack(">i", len(text)) + text.encode("ascii")


class Session:
    """A session: requests are numbered, and answered in their order."""

    def __init__(self, host: str, port: int, ms: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        self._number = 0
        self._send(struct.pack(">iqiqi16s", 0, 0, ms, 0, 16, b"\0" * 16))
        self._receive()

    def call(self, kind: int, body: bytes = b"") -> bytes | int:
        """The answer, or the number of its error."""
        self._number += 1
        self._send(struct.pack(">ii", self._number, kind) + body)
        while True:
            number, error, answer = self._answer()
            if number == self._number:
                return error or answer

    def wait_for_event(self) -> None:
        while self._answer()[0] != -1:
            pass

    def ping(self) -> None:
        self._send(struct.pack(">ii", -2, _PING))

    def _answer(self) -> tuple[int, int, bytes]:
        frame = self._receive()
        number, _, error = struct.unpack(">iqi", frame[:16])
        return number, error, frame[16:]

    def _send(self, body: bytes) -> None:
        self._socket.sendall(struct.pack(">i", len(body)) + body)

    def _receive(self) -> bytes:
        (size,) = struct.unpack(">i", self._stream.read(4))
        return self._stream.read(size)


class RawLock(Lock):
    def __init__(self, contestant: ZooKeeperFloor, name: str) -> None:
        self._session, self._proves = contestant.session, contestant.proves
        self._parent = f"/{name}"
        create = _text(self._parent) + _text("") + _OPEN + struct.pack(">i", 0)
        _expect(self._session.call(_CREATE, create), _NODE_EXISTS)
        self._node = ""

    def acquire(self) -> None:
        create = _text(f"{self._parent}/n-") + _text("") + _OPEN
        flags = struct.pack(">i", _EPHEMERAL_SEQUENTIAL)
        self._node = _expect(self._session.call(_CREATE, create + flags))[4:].decode("ascii")
        waited = False
        while (ahead := self._ahead()) is not None:
            watch = _text(f"{self._parent}/{ahead}") + b"\1"
            if not isinstance(self._session.call(_EXISTS, watch), int):
                self._session.wait_for_event()
                waited = True
        if waited and self._proves:
            check = struct.pack(">i?i", _CHECK, False, -1) + _text(self._node)
            end = struct.pack(">i?i", -1, True, -1)
            _expect(self._session.call(_MULTI, check + struct.pack(">i", 0) + end))

    def release(self) -> None:
        _expect(self._session.call(_DELETE, _text(self._node) + struct.pack(">i", -1)))

    def _ahead(self) -> str | None:
        """The nearest node in front of ours."""
        answer = _expect(self._session.call(_CHILDREN, _text(self._parent) + b"\0"))
        (many,) = struct.unpack_from(">i", answer)
        names, at = [], 4
        for _ in range(many):
            (size,) = struct.unpack_from(">i", answer, at)
            names.append(answer[at + 4 : at + 4 + size].decode("ascii"))
            at += 4 + size
        own = self._node.rpartition("/")[2]
        return max((name for name in names if name < own), default=None)


def _expect(answer: bytes | int, *errors: int) -> bytes:
    if isinstance(answer, int):
        if answer in errors:
            return b""
        raise RuntimeError(f"ZooKeeper: error {answer}")
    return answer


class ZooKeeperFloor(Contestant):
    proves = False

    def connect(self) -> None:
        self.session = Session(self.host, self.port, 60_000)

    def lock(self, name: str) -> Lock:
        return RawLock(self, name)

    def idle(self) -> None:
        self.session.ping()


class CorrectZooKeeperFloor(ZooKeeperFloor):
    proves = True


make = ZooKeeperFloor
make_correct = CorrectZooKeeperFloor
