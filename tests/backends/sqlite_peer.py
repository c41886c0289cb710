"""Another process with an SQLiteBackend, which does what it is told line by line.

Each line on stdin is a JSON text with a Python expression; each line on stdout is its value, or
the name and text of the exception that it raised.
"""

from __future__ import annotations

import _imp
import ctypes
import json
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaderlock.backends.base import Attempt, Granted, Settings
from leaderlock.backends.sqlite import SQLiteBackend

path = Path(sys.argv[1])
settings = Settings(ttl=float(sys.argv[2]), request_timeout=float(sys.argv[3]))
backend = SQLiteBackend(path, settings)
woken = threading.Event()
connections: list[sqlite3.Connection] = []


def attempt(name: str, election: str = "e") -> Attempt:
    return Attempt(election, name, b"payload of " + name.encode(), woken.set)


def campaign(name: str, election: str = "e", of: SQLiteBackend | None = None) -> int:
    """The token; 0 while somebody else leads."""
    answer = (of or backend).campaign(attempt(name, election))
    return answer.token if isinstance(answer, Granted) else 0


def renew(name: str) -> str:
    return backend.renew([attempt(name)]).outcomes[name].value


def release(name: str) -> None:
    backend.release(attempt(name))


def lock_file() -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    connection.execute("BEGIN IMMEDIATE")
    connections.append(connection)


def unlock_file() -> None:
    connections.pop().close()


def fork(code: str, leave: str) -> str:
    """Evaluate `code` in a forked child, which then leaves by "_exit" or by "exit"."""
    return _evaluate_in_child(os.fork, code, leave)


def fork_in_c(code: str, leave: str) -> str:
    """As an embedding program forks that tells Python only in the child, for example uWSGI."""
    library = ctypes.PyDLL(None)
    sys.setswitchinterval(1000)  # no thread may ask for the GIL before it is made anew
    time.sleep(0.05)

    def fork_here() -> int:
        _imp.acquire_lock()  # PyOS_AfterFork_Child lets go of it
        if (child := int(library.fork())) == 0:
            library.PyOS_AfterFork_Child()
        else:
            _imp.release_lock()
        return child

    try:
        return _evaluate_in_child(fork_here, code, leave)
    finally:
        sys.setswitchinterval(0.005)


def _evaluate_in_child(make_child: Callable[[], int], code: str, leave: str) -> str:
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    child = make_child()
    if child == 0:
        backend.abandon()  # as the core does
        os.write(write_end, _evaluate(code).encode())
        if leave == "_exit":
            os._exit(0)
        sys.exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return answer


def fork_while_busy(code: str) -> str:
    """Fork while a thread is kept waiting inside SQLite for longer than a fork waits."""
    thread = threading.Thread(target=lambda: _evaluate("campaign('busy')"))
    thread.start()
    while not backend._grants._gate.locked():
        time.sleep(0.001)
    answer = fork(code, "exit")
    thread.join()
    return answer


def contend(terms: int) -> list[tuple[int, float, float]]:
    """Lead `terms` times. Returns token, begin and end of each term."""
    found = []
    for _ in range(terms):
        name = uuid.uuid4().hex
        woken.clear()
        while not (token := campaign(name)):
            woken.wait(settings.ttl)
            woken.clear()
        begin = settings.clock.now()
        time.sleep(0.001)
        found.append((token, begin, settings.clock.now()))
        release(name)
    return found


def open_fresh_files(count: int, start: float) -> list[int]:
    """Campaign in one file after the other, each at a time that all processes agree on."""
    tokens = []
    for number in range(count):
        fresh = SQLiteBackend(path.with_name(f"fresh-{number}.db"), settings)
        while settings.clock.now() < start + number * 0.1:
            pass
        tokens.append(campaign(uuid.uuid4().hex, of=fresh))
        fresh.close()
    return tokens


def become_nobody() -> None:
    """Root may write everything: a test of refused writing has to be somebody else."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def limit_file_size(size: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def fill(count: int) -> None:
    for number in range(count):
        backend.campaign(Attempt(f"election {number}", "a", b"x" * 3000, woken.set))


def _evaluate(code: str) -> str:
    try:
        answer: Any = {"value": eval(code)}
    except Exception as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    return json.dumps(answer, default=repr)


if __name__ == "__main__":
    print(json.dumps({"value": "ready"}), flush=True)
    for line in sys.stdin:
        print(_evaluate(json.loads(line)), flush=True)
