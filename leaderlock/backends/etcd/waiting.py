"""One stream that carries all watches of a backend.

etcd3's own watcher is not used: it never tells those who wait that a stream has ended, opens a new
one without a pause and without their watches (python-etcd3#1227, #291).

The stream has no deadline. gRPC's pings end it when the server is gone, "hasleader" when the server
is cut off from the others, and `Connection.turn_away` when the server left another request without
an answer. After every end all watches are made anew, and whoever waits is woken: anything may have
happened in between.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from etcd3 import etcdrpc as rpc

from leaderlock.backends.etcd.connection import Connection, Line, leak
from leaderlock.backoff import Backoff
from leaderlock.errors import BackendRefused, BackendUnavailable

log = logging.getLogger("leaderlock")

_LONGEST_PAUSE = 2.0


@dataclass(slots=True, eq=False)
class _Watch:
    """What somebody waits for.

    Attributes:
        since: the first revision of interest; 0: the present, of which `wake` then tells.
        number: what the server calls it on the present stream.
    """

    key: bytes
    range_end: bytes
    wake: Callable[[], None]
    since: int
    number: int | None = None


class _Cancelled(Exception):
    """A watch was compacted away, or its login is over or lacks the right (python-etcd3#88)."""


class _Stream:
    """The watches of one stream. It answers to creations in the order in which they were sent."""

    def __init__(self) -> None:
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()  # None ends the stream
        self._asked: deque[tuple[_Watch, bool]] = deque()  # and whether to wake it at once
        self._watches: dict[int, _Watch] = {}

    def create(self, watch: _Watch) -> None:
        self._asked.append((watch, watch.since == 0))
        request = rpc.WatchCreateRequest(
            key=watch.key, range_end=watch.range_end, start_revision=watch.since
        )
        if not watch.range_end:  # a predecessor, whose end is waited for
            request.filters.append(rpc.WatchCreateRequest.NOPUT)
        watch.since, watch.number = 0, None  # for the next stream
        self.requests.put(rpc.WatchRequest(create_request=request))

    def cancel(self, watch: _Watch) -> None:
        if watch.number is not None and self._watches.pop(watch.number, None) is not None:
            request = rpc.WatchCancelRequest(watch_id=watch.number)
            self.requests.put(rpc.WatchRequest(cancel_request=request))

    def take(self, answer: Any, wanted: set[_Watch]) -> _Watch | None:
        """Whom to wake.

        Raises:
            _Cancelled: the server has ended a watch.
        """
        if answer.canceled and (answer.created or answer.watch_id in self._watches):
            raise _Cancelled(answer.cancel_reason)
        if not answer.created:
            return self._watches.get(answer.watch_id) if answer.events else None
        watch, at_once = self._asked.popleft()
        watch.number = answer.watch_id
        self._watches[answer.watch_id] = watch
        if watch not in wanted:  # any more
            self.cancel(watch)
            return None
        return watch if at_once else None


class Watcher:
    """Wakes those who wait, from a thread of its own that starts with the first of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.on_turn = self._leave
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[_Watch] = set()
        self._stream: _Stream | None = None
        self._call: Any = None
        self._line: Line | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def watch(
        self, key: bytes, range_end: bytes, wake: Callable[[], None], since: int = 0
    ) -> Callable[[], None]:
        """Call `wake` when the key is deleted, or when anything changes in the range.

        Does not wait. Returns the way to stop, which may be called twice.
        """
        watch = _Watch(key, range_end, wake, since)
        with self._lock:
            self._watches.add(watch)
            if self._stream is not None:
                self._stream.create(watch)
            if self._thread is None and not self._closing.is_set():
                thread = threading.Thread(
                    target=self._run, name="leaderlock-etcd-watch", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:
                    self._watches.discard(watch)
                    text = f"no thread to watch elections with: {error}"
                    raise BackendUnavailable(text) from error
                self._thread = thread

        def stop() -> None:
            with self._lock:
                self._watches.discard(watch)
                if self._stream is not None:
                    self._stream.cancel(watch)

        return stop

    def _leave(self, line: Line) -> None:
        """Its server does not answer others: open the stream elsewhere."""
        with self._lock:
            if self._line is line and self._call is not None:
                self._call.cancel()

    def close(self, timeout: float) -> None:
        self._closing.set()
        with self._lock:
            thread, call = self._thread, self._call
            self._watches.clear()
        if call is not None:
            call.cancel()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def abandon(self) -> None:
        """In a forked child: neither the thread nor the stream is here."""
        leak((self._call, self._stream, self._thread))
        self._start()

    # From here on: the thread.

    def _run(self) -> None:
        backoff, told = Backoff(_LONGEST_PAUSE), ""
        while not self._closing.is_set():
            try:
                self._follow(backoff)
            except BackendUnavailable:  # so are all other requests, of which the core tells
                pass
            except (BackendRefused, _Cancelled) as error:
                if told != str(error):
                    told = str(error)
                    log.warning("leaderlock.etcd_watch_ended error=%s", error)
            except Exception:
                # A fault of ours. Never a reason not to be woken any more.
                log.exception("leaderlock.internal_error thread=leaderlock-etcd-watch")
            self._closing.wait(backoff.pause())

    def _follow(self, backoff: Backoff) -> None:
        """Serve one stream until it ends."""
        stream = _Stream()
        try:
            with self._connection.following(iter(stream.requests.get, None)) as (line, call):
                with self._lock:
                    self._stream, self._call, self._line = stream, call, line
                    for watch in self._watches:
                        stream.create(watch)
                if self._closing.is_set():
                    return
                for answer in call:
                    with self._lock:
                        watch_to_wake = stream.take(answer, self._watches)
                    backoff.reset()
                    if watch_to_wake is not None:
                        watch_to_wake.wake()
        except _Cancelled:
            self._connection.forget_login()
            raise
        finally:
            with self._lock:
                self._stream = self._call = self._line = None
            stream.requests.put(None)
