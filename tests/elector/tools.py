"""What the tests of electors share: a store that misbehaves on demand, waits with a deadline."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from leaderlock import BackendUnavailable, LossReason
from leaderlock.backends.base import Attempt, Granted, Reading, Renewed, Settings, Waiting
from leaderlock.backends.memory import MemoryBackend
from leaderlock.clock import BOOT_CLOCK, Clock
from leaderlock.leadership import Leadership

PATIENCE = 20.0
"""How long a test waits, in seconds, for what is going to happen on a machine that is busy."""

Fault = Callable[[], None]

_names = (f"store-{number}" for number in itertools.count())


class Store(MemoryBackend):
    """A memory store with faults.

    Attributes:
        before: by verb; called before the request reaches the store.
        after: by verb; called when the store has carried the request out, before the reply.
        calls: how many requests of each verb have been made.
        seen: the verbs in their order, with the attempt ids of campaigns and releases.
    """

    def __init__(self, ttl: float = 3.0, name: str | None = None, clock: Clock = BOOT_CLOCK):
        super().__init__(
            Settings(ttl=ttl, request_timeout=0.2 * ttl, clock=clock), name or next(_names)
        )
        self.before: dict[str, Fault] = {}
        self.after: dict[str, Fault] = {}
        self.calls: Counter[str] = Counter()
        self.seen: list[tuple[str, str]] = []
        self.closed = 0
        self._hung = threading.Event()

    def sibling(self) -> Store:
        """A connection of its own to the same store."""
        return Store(self.settings.ttl, self._name, self.settings.clock)

    def hang(self, *verbs: str) -> None:
        """From now on these requests never return (until the end of the test)."""
        for verb in verbs:
            self.before[verb] = self._hang

    def let_go(self) -> None:
        """End everything that hangs."""
        self.before.clear()
        self.after.clear()
        self._hung.set()

    def heal(self) -> None:
        """No faults from now on; what hangs goes on hanging."""
        self.before.clear()
        self.after.clear()

    def fail(self, *verbs: str, error: Exception | None = None) -> None:
        """From now on these requests raise, without reaching the store."""

        def fault() -> None:
            raise error or BackendUnavailable("the test cut the connection")

        for verb in verbs:
            self.before[verb] = fault

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with self._request("campaign", attempt.attempt_id):
            return super().campaign(attempt)

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        with self._request("renew"):
            return super().renew(attempts)

    def release(self, attempt: Attempt) -> None:
        with self._request("release", attempt.attempt_id):
            super().release(attempt)

    def leader(self, election: str) -> Reading:
        with self._request("leader"):
            return super().leader(election)

    def close(self) -> None:
        self.closed += 1
        with self._request("close"):
            super().close()

    @contextmanager
    def _request(self, verb: str, attempt_id: str = "") -> Iterator[None]:
        self.calls[verb] += 1
        self.seen.append((verb, attempt_id))
        self.before.get(verb, _nothing)()
        yield
        self.after.get(verb, _nothing)()

    def _hang(self) -> None:
        self._hung.wait()
        raise BackendUnavailable("it hung until the end of the test")


ALL = ("campaign", "renew", "release", "leader", "close")


def _nothing() -> None:
    pass


class Record:
    """Callbacks that remember what they were told, and on which thread."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()

    def elected(self, leadership: Leadership) -> None:
        self._add("elected", leadership.token.value)

    def lost(self, leadership: Leadership, reason: LossReason) -> None:
        self._add("lost", reason)

    def leader(self, info: object) -> None:
        self._add("leader", info)

    def _add(self, kind: str, what: object) -> None:
        with self._changed:
            self.threads.add(threading.current_thread().name)
            self.told.append((kind, what))
            self._changed.notify_all()

    def kinds(self) -> list[str]:
        with self._changed:
            return [kind for kind, _ in self.told]

    def of(self, kind: str) -> list[object]:
        with self._changed:
            return [what for what_kind, what in self.told if what_kind == kind]

    def wait(self, kind: str, count: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until `kind` has been told so often."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: sum(k == kind for k, _ in self.told) >= count, timeout
            )
            assert arrived, f"{count} x {kind!r} not told within {timeout} s: {self.told}"


def eventually(condition: Callable[[], object], what: str = "", timeout: float = PATIENCE) -> None:
    """Wait until `condition` holds; fail after `timeout` seconds."""
    never = threading.Event()
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what or condition}"
        never.wait(0.002)


@contextmanager
def lasts_at_most(seconds: float) -> Iterator[None]:
    """The block returns within `seconds`, and half a second for a busy machine."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took <= seconds + 0.5, f"took {took:.2f} s, more than {seconds} s"


@contextmanager
def in_thread(job: Callable[[], object], name: str = "test") -> Iterator[threading.Thread]:
    """Run `job` beside the block; what it raises fails the test at the end of the block."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"{job} has not returned"
    if errors:
        raise errors[0]


def in_child(work: Callable[[], object]) -> str:
    """Run `work` in a forked child. Returns "" if all went well there, else what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            try:
                work()
                report = ""
            except BaseException as error:
                report = repr(error)
            os.write(writer, report.encode())
        finally:
            os._exit(0)
    os.close(writer)
    watchdog = threading.Timer(PATIENCE, os.kill, (pid, 9))
    watchdog.start()
    with open(reader, "rb") as pipe:  # noqa: PTH123 - a descriptor
        report = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    watchdog.cancel()
    return report or ("" if status == 0 else f"the child ended with status {status}")


def python(code: str, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        check=False,
    )


ROOT = Path(__file__).resolve().parents[2]


def our_threads() -> list[str]:
    """The names of leaderlock's threads that are alive."""
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("leaderlock"))
