"""The process of one candidate: it contends, and writes to the resource whenever it leads.

    python -m leaderlock.testing.chaos.candidate < one line of JSON, then one command a line

Two threads look at `is_leader`: one does nothing else, the other writes. Neither sees a callback.
The commands are

    resign          give the term up
    fork SECONDS    fork, and have the child look at is_leader for so long
    gil SECONDS     hold Python's lock for so long, as a C extension may
    stop            end in order; so does the end of the input
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import socket
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos.contender import Contender, find
from leaderlock.testing.chaos.events import Event, append

_LOOK_EVERY = 0.001
_TELL_EVERY = 0.1
_WRITE_EVERY = 0.002
_LONGEST_WORK = 0.02
"""Between the look and the write that it allows: here a pause does its harm."""
_RESOURCE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a candidate has to know. It may hold a password, so it comes by the input."""

    who: str
    url: str
    election: str
    kind: str
    log: str
    resource_port: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        return cls(**json.loads(line))


class Log:
    """One process's events. Threads share it."""

    def __init__(self, path: Path, who: str) -> None:
        self._who = who
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def note(self, what: str, **data: Any) -> None:
        with self._lock:
            append(self._file, Event(BOOT_CLOCK.now(), self._who, what, data))

    def close(self) -> None:
        self._file.close()


class Belief:
    """Looks at a contender, and logs what it says when that has changed."""

    def __init__(self, contender: Contender, log: Log) -> None:
        self._contender = contender
        self._log = log
        self._lock = threading.Lock()
        self._leads = False
        self._token: int | None = None
        self._seen = self._told = BOOT_CLOCK.now()

    def look(self) -> tuple[bool, int | None]:
        """Whether it leads now, and the token."""
        with self._lock:
            return self._look()

    def _look(self) -> tuple[bool, int | None]:
        now = BOOT_CLOCK.now()
        token = self._contender.token
        leads = self._contender.is_leader
        if leads and self._contender.token != token:  # another term has begun meanwhile
            return self._look()
        if self._leads and (not leads or token != self._token):
            self._log.note("leads not", token=self._token, seen=self._seen)
            self._leads = False
        if leads and not self._leads:
            self._log.note("leads", token=token, seen=self._seen)
            self._told = now
        elif leads and now - self._told >= _TELL_EVERY:
            self._log.note("still leads", token=token, seen=now)
            self._told = now
        self._leads, self._token, self._seen = leads, token, now
        return leads, token


class Writer:
    """Writes to the resource whenever the contender says that it leads."""

    def __init__(self, belief: Belief, log: Log, who: str, port: int) -> None:
        self._belief = belief
        self._log = log
        self._who = who
        self._port = port
        self._number = 0

    def run(self, stopped: threading.Event) -> None:
        with socket.create_connection(("127.0.0.1", self._port), _RESOURCE_TIMEOUT) as resource:
            stream = resource.makefile("rw", encoding="utf-8", newline="\n")
            while not stopped.wait(_WRITE_EVERY):
                leads, token = self._belief.look()
                if leads:
                    self._number += 1
                    write = {"token": token, "number": self._number}
                    self._log.note("writes", **write)
                    stopped.wait(random.uniform(0, _LONGEST_WORK))
                    stream.write(json.dumps({"by": self._who, **write}) + "\n")
                    stream.flush()
                    self._log.note("wrote", **write, result=stream.readline().strip() or "error")


class Candidate:
    """The process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = Log(Path(settings.log), settings.who)
        self._stopped = threading.Event()
        make = find(settings.kind)
        self._contender = make(settings.url, settings.election, self._log.note)
        self._belief = Belief(self._contender, self._log)
        self._forks = 0

    def run(self) -> None:
        self._log.note("started", pid=os.getpid())
        port = self._settings.resource_port
        writer = Writer(self._belief, self._log, self._settings.who, port)
        threads = [
            threading.Thread(target=self._watch, args=(self._look,), name="looks", daemon=True),
            threading.Thread(
                target=self._watch, args=(lambda: writer.run(self._stopped),), daemon=True
            ),
        ]
        for thread in threads:
            thread.start()
        self._contender.start()
        for line in sys.stdin:
            command, *seconds = line.split()
            if command == "stop":
                break
            self._obey(command, float(seconds[0]) if seconds else 0.0)
        released = self._contender.stop()
        self._belief.look()
        self._log.note("stopped", released=released)
        self._stopped.set()
        for thread in threads:
            thread.join(_RESOURCE_TIMEOUT)

    def _look(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY):
            self._belief.look()

    def _watch(self, what: Any) -> None:
        """A thread that fails would make the run prove less than it says."""
        try:
            what()
        except Exception as error:
            self._log.note("fault", error=repr(error))
            raise

    def _obey(self, command: str, seconds: float) -> None:
        match command:
            case "resign":
                token = self._contender.token
                if self._contender.is_leader:
                    self._log.note("resigned", token=token)
                    self._contender.resign()
            case "gil":
                ctypes.PyDLL(None).usleep(int(seconds * 1e6))
            case "fork":
                self._forks += 1
                if os.fork() == 0:
                    self._live_as_child(seconds)
            case _:
                raise ValueError(f"no such command: {command!r}")

    def _live_as_child(self, seconds: float) -> None:
        """A child is another candidate, which has never contended."""
        who = f"{self._settings.who}.fork{self._forks}"
        log = Log(Path(self._settings.log).with_name(f"{who}.jsonl"), who)
        log.note("started", pid=os.getpid())
        belief = Belief(self._contender, log)
        until = BOOT_CLOCK.now() + seconds
        while BOOT_CLOCK.now() < until:
            belief.look()
            self._stopped.wait(_LOOK_EVERY)
        log.note("stopped", released=True)
        os._exit(0)


def main() -> None:
    Candidate(Settings.from_json(sys.stdin.readline())).run()


if __name__ == "__main__":
    main()
