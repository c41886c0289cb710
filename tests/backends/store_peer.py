"""Another process with a candidate, for tests that kill, pause and fork leaders.

    python -m tests.backends.store_peer URL ELECTION TTL [CANDIDATE_ID]

It contends at once and writes a line of JSON for each thing that happens: {"event": "elected",
"token": 7}, {"event": "lost", "reason": "expired"}, {"event": "is_leader", "value": true} for each
change that a thread sees which does nothing but look ("until": when it last saw the value before,
which is long ago in a process that was paused), and answers to the commands it reads from
stdin, one a line: `resign`, `stop` (which also ends it), and `fork`. Every line has the time "at"
on the boot clock, which all processes of the machine share.

`Peer` is the other end of it: `with Peer(url, election, ttl) as peer: peer.wait_for("elected")`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from leaderlock import LeaderElector
from leaderlock.clock import BOOT_CLOCK

_PATIENCE = 30.0
_ROOT = Path(__file__).resolve().parents[2]


class Peer:
    """A candidate in a process of its own, and what it has told so far.

    Attributes:
        events: in the order of their arrival.
        process: the interpreter; `process.pid` is to be killed and paused at will.
    """

    def __init__(self, url: str, election: str, ttl: float, candidate_id: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        command = [sys.executable, "-m", "tests.backends.store_peer", url, election, str(ttl)]
        self.process = subprocess.Popen(
            [*command, *([candidate_id] if candidate_id else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        self._reader = threading.Thread(target=self._read, name="test-peer", daemon=True)
        self._reader.start()

    def wait_for(self, event: str, count: int = 1, timeout: float = _PATIENCE) -> dict[str, Any]:
        """The event of this kind with that number, the first being 1."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.of(event)) >= count, timeout)
            assert arrived, f"no {event!r} number {count} within {timeout:g} s: {self.events}"
            return self.of(event)[count - 1]

    def of(self, event: str) -> list[dict[str, Any]]:
        """All events of this kind so far."""
        return [found for found in self.events if found["event"] == event]

    def tell(self, command: str) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        count = len(self.of(command)) + 1
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.wait_for(command, count)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(_PATIENCE)

    def pause(self) -> None:
        """Stop it, and return when it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._reader.join(_PATIENCE)
        for pipe in self.process.stdin, self.process.stdout:
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


_printing = threading.Lock()


def _tell(event: str, **details: object) -> None:
    line = json.dumps({"event": event, "at": BOOT_CLOCK.now(), **details})
    with _printing:
        print(line, flush=True)


def _look(elector: LeaderElector) -> None:
    known, seen_at = False, BOOT_CLOCK.now()
    while True:
        now = BOOT_CLOCK.now()
        if (leads := elector.is_leader) != known:
            _tell("is_leader", value=leads, until=seen_at)
            known = leads
        seen_at = now
        time.sleep(0.002)


def _fork(elector: LeaderElector) -> None:
    """A child that asks whether it leads, leaves like any program, and says what it saw."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        with _printing:  # held by another thread, it would stay locked in the child
            child = os.fork()
    if child == 0:
        os.write(writer, b"leads" if elector.is_leader else b"does not lead")
        sys.exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _tell("fork", child=answer, status=status)


def main(url: str, election: str, ttl: str, candidate_id: str | None = None) -> None:
    """Contend until told to stop, or until nobody is there any more to tell."""
    elector = LeaderElector(
        url,
        election,
        ttl=float(ttl),
        candidate_id=candidate_id,
        on_elected=lambda leadership: _tell("elected", token=leadership.token.value),
        on_lost=lambda leadership, reason: _tell(
            "lost", token=leadership.token.value, reason=reason.value
        ),
    )
    threading.Thread(target=_look, args=(elector,), daemon=True).start()
    elector.start()
    _tell("ready", pid=os.getpid())
    for line in sys.stdin:
        match line.strip():
            case "resign":
                _tell("resign", released=elector.resign())
            case "fork":
                _fork(elector)
            case "stop":
                _tell("stop", released=elector.stop())
                return
            case other:
                _tell("unknown", command=other)


if __name__ == "__main__":
    main(*sys.argv[1:])
