"""Turns messages of Redis into wakes: one connection and one thread for all elections.

A client has a channel of its own, on which those of its attempts are named whose turn it is.
Observers have that of their election.

Messages are hints. Those of a time without a subscription are lost, so everybody is woken when a
channel has been subscribed, or subscribed again; a connection that dies in silence is found out by
a PING, and until then the waiting ask again when the lease that they have seen runs out.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import math
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

from redis.exceptions import ResponseError

from leaderlock.backends.base import Attempt
from leaderlock.backends.redis.connection import Line, translated
from leaderlock.backends.wakes import Wakes
from leaderlock.backoff import Backoff
from leaderlock.errors import BackendRefused, BackendUnavailable

log = logging.getLogger("leaderlock")

TURN = 0.02
"""Seconds that who waits leaves to each one in front of it, before it asks, too."""

_LONGEST_SILENCE = 5.0  # before a PING
_LONGEST_PAUSE = 2.0  # before the next connection
_CHUNK = 500  # channels in one SUBSCRIBE
_ANYWHERE = ("pub/sub", 0)


class Subscriber:
    """Wakes attempts when their election may be free, and observers when its leader changes.

    Args:
        connect: opens a connection by a deadline, a reading of time.monotonic.
        timeout: seconds that a connection or an answer may take.
        channels: what the channels of all clients begin with.
    """

    def __init__(self, connect: Callable[[float], Line], timeout: float, channels: str) -> None:
        self._connect = connect
        self._timeout = timeout
        self.channels = channels
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._client = os.urandom(8).hex()
        self._waiting: dict[str, Callable[[], None]] = {}  # by attempt
        self._observers = Wakes()  # by channel
        self._thread: threading.Thread | None = None
        self._line: Line | None = None
        self._bell: tuple[socket.socket, socket.socket] | None = None  # rings inside the thread
        self._closed = threading.Event()
        self._backoff = Backoff(_LONGEST_PAUSE)
        self._is_failing = False

    @property
    def _channel(self) -> str:
        return self.channels + self._client

    def place_of(self, attempt: Attempt) -> str:
        """What stands for it in a queue: the client, and the attempt."""
        return f"{self._client}:{attempt.attempt_id}"

    def expect(self, attempt: Attempt) -> None:
        """Wake it from now on, as far as messages are heard. Does nothing twice."""
        self._waiting[attempt.attempt_id] = attempt.wake

    def forget(self, attempt: Attempt) -> None:
        """Wake it no more."""
        self._waiting.pop(attempt.attempt_id, None)

    def watch(self, channel: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Wake an observer. Returns the way to stop."""
        remove = self._observers.add(channel, wake)
        self.subscribe()

        def stop() -> None:
            remove()
            self._ring_bell()

        return stop

    def subscribe(self) -> None:
        """Have every channel listened to that is wanted; does not wait for that."""
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                bell = socket.socketpair()
                for end in bell:
                    end.setblocking(False)
                thread = threading.Thread(
                    target=self._run, args=(bell,), name="leaderlock-redis", daemon=True
                )
                thread.start()
                self._bell, self._thread = bell, thread
        self._ring_bell()

    def close(self) -> None:
        """End the thread and its connection."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        self._ring_bell()
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._timeout)

    def abandon(self) -> None:
        """In a forked child, where the thread does not exist: let go of what it had."""
        line, bell = self._line, self._bell
        self._start_anew()
        if line is not None:
            line.disconnect()  # in a child, redis-py closes the descriptor and no more
        for end in bell or ():
            end.close()

    def _ring_bell(self) -> None:
        with self._lock:
            if self._bell is not None:
                with contextlib.suppress(BlockingIOError):  # it is ringing
                    self._bell[1].send(b"!")

    # From here on: the thread

    def _run(self, bell: tuple[socket.socket, socket.socket]) -> None:
        while not self._closed.is_set():
            try:
                with self._connected() as line:
                    self._listen(line, bell[0])
            except (BackendUnavailable, BackendRefused) as error:
                if not self._is_failing and not self._closed.is_set():  # told once per streak
                    log.warning("leaderlock.redis_wakes_failing error=%s", error)
                self._is_failing = True
                self._closed.wait(self._backoff.pause())
            except Exception:
                # A fault of ours. Never a reason not to be woken any more.
                log.exception("leaderlock.internal_error thread=leaderlock-redis")
                self._closed.wait(self._backoff.pause())
        with self._lock:
            self._bell = None
        for end in bell:
            end.close()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Line]:
        line = self._line = self._connect(time.monotonic() + self._timeout)
        try:
            with translated(_ANYWHERE):
                yield line
        finally:
            line.disconnect()

    def _listen(self, line: Line, bell: socket.socket) -> None:
        subscribed: set[str] = set()
        later: list[tuple[float, str]] = []  # a heap of attempts, and when to wake them
        asked_at: float | None = None  # when a PING was sent that has no answer yet
        heard_at, is_rung = time.monotonic(), True
        with selectors.DefaultSelector() as selector:
            selector.register(line, selectors.EVENT_READ)
            selector.register(bell, selectors.EVENT_READ)
            while not self._closed.is_set():
                if is_rung:
                    self._bring_up_to_date(line, subscribed)
                due = heard_at + _LONGEST_SILENCE if asked_at is None else asked_at + self._timeout
                due = min(due, later[0][0] if later else math.inf)
                ready = selector.select(max(0.0, due - time.monotonic()))
                if is_rung := any(key.fileobj is bell for key, _ in ready):
                    bell.recv(4096)
                line.until(time.monotonic() + self._timeout)
                for message in line.arrived():
                    heard_at, asked_at = time.monotonic(), None
                    self._hear(message, later)
                while later and later[0][0] <= time.monotonic():
                    self._wake(heapq.heappop(later)[1])
                if asked_at is not None and time.monotonic() >= asked_at + self._timeout:
                    raise BackendUnavailable("pub/sub is silent")
                if asked_at is None and time.monotonic() >= heard_at + _LONGEST_SILENCE:
                    line.send_command("PING")
                    asked_at = time.monotonic()

    def _bring_up_to_date(self, line: Line, subscribed: set[str]) -> None:
        wanted = self._observers.names() | {self._channel}
        line.until(time.monotonic() + self._timeout)
        for word, channels in (
            ("SUBSCRIBE", wanted - subscribed),
            ("UNSUBSCRIBE", subscribed - wanted),
        ):
            ordered = sorted(channels)
            for start in range(0, len(ordered), _CHUNK):
                line.send_command(word, *ordered[start : start + _CHUNK])
        subscribed.clear()
        subscribed.update(wanted)

    def _hear(self, message: object, later: list[tuple[float, str]]) -> None:
        match message:
            case [b"subscribe", bytes(channel), _]:
                self._is_failing = False
                self._backoff.reset()
                # What happened before was not heard.
                self._observers.ring(channel.decode())
                if channel.decode() == self._channel:
                    for attempt_id in list(self._waiting):
                        self._wake(attempt_id)
            case [b"message", bytes(channel), bytes(what)] if channel.decode() == self._channel:
                attempt_id, _, told_before = what.decode().partition(" ")
                heapq.heappush(later, (time.monotonic() + int(told_before) * TURN, attempt_id))
            case [b"message", bytes(channel), _]:
                self._observers.ring(channel.decode())
            case ResponseError():
                raise message

    def _wake(self, attempt_id: str) -> None:
        if (wake := self._waiting.get(attempt_id)) is not None:
            wake()
