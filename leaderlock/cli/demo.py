"""`leaderlock demo`: three nodes, whose leaders are killed, paused and stopped."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from leaderlock.cli import exits
from leaderlock.cli.store import Place

HELP = """
Watch three nodes elect a leader, on this machine.

Each is a `leaderlock run` of its own. The leader is killed; the next one is paused, and loses its
term; the next one is stopped, and hands over. Without --url it needs no server.

\b
Examples:
  leaderlock demo
  leaderlock demo --url redis://127.0.0.1
"""

_TTL = 3.0
_CONSUL_TTL = 10.0  # its servers take no less
_PATIENCE = 120.0
_COMMAND = """
import os, signal, time
name, token = os.environ["LEADERLOCK_CANDIDATE_ID"], os.environ["LEADERLOCK_TOKEN"]
def end(*_):
    print(name, "ends: its command got SIGTERM", flush=True)
    os._exit(0)
print(name, "starts its command under token", token, flush=True)
signal.signal(signal.SIGTERM, end)
while True:
    time.sleep(60)
"""


def demo(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default=False, help="A store of yours."),
    ] = None,
) -> None:
    signal.signal(signal.SIGTERM, _leave)
    with exits.plainly(), tempfile.TemporaryDirectory(prefix="leaderlock-demo-") as folder:
        store = url or f"sqlite://{folder}/election.db"
        ttl = _CONSUL_TTL if store.startswith("consul") else _TTL
        Place(store, ttl=ttl).resolve()  # what is wrong with it is told once
        with _nodes(store, ttl, folder) as nodes:
            _play(nodes)


def _play(nodes: _Nodes) -> None:
    first = nodes.next_leader("")
    print(f"kill -9 the leader, {first}: the store finds out, or the lease runs out", flush=True)
    nodes.signal(first, signal.SIGKILL)
    second = nodes.next_leader(first)
    print(f"pause {second} (SIGSTOP): its command must not outlive the term", flush=True)
    nodes.signal(second, signal.SIGSTOP)
    third = nodes.next_leader(second)
    print(f"wake {second} up: it contends again", flush=True)
    nodes.signal(second, signal.SIGCONT)
    print(f"stop {third} (SIGTERM): it hands over", flush=True)
    nodes.signal(third, signal.SIGTERM)
    nodes.next_leader(third)


class _Nodes:
    """Three `leaderlock run`, and what their commands print."""

    def __init__(self, url: str, ttl: float, folder: str) -> None:
        script = Path(folder, "command.py")
        script.write_text(_COMMAND, encoding="utf-8")
        # The URL by the environment: it may hold a password.
        environment = {**os.environ, "LEADERLOCK_URL": url, "LEADERLOCK_TTL": f"{ttl:g}"}
        election = f"demo-{uuid.uuid4().hex[:8]}"
        words = [sys.executable, "-m", "leaderlock.cli", "run", "-q", "-e", election]
        command = ["--", sys.executable, "-IS", str(script)]
        reader, writer = os.pipe()
        self.processes = {
            name: subprocess.Popen(
                [*words, "--id", name, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                start_new_session=True,
            )
            for name in ("node-1", "node-2", "node-3")
        }
        os.close(writer)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()

    def _listen(self, reader: int) -> None:
        with open(reader, encoding="utf-8") as lines:
            for line in lines:
                self._lines.put(line.rstrip("\n"))

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def next_leader(self, old: str) -> str:
        """Whose command is the next to start."""
        began = time.monotonic()
        while True:
            try:
                line = self._lines.get(timeout=1.0)
            except queue.Empty:
                codes = [process.poll() for process in self.processes.values()]
                if None not in codes:  # they have told why
                    raise typer.Exit(max(map(int, filter(None, codes)), default=exits.NO)) from None
                if time.monotonic() > began + _PATIENCE:
                    exits.say(f"nobody was elected within {_PATIENCE:g} s")
                    raise typer.Exit(exits.NO) from None
                continue
            print(f"    {time.monotonic() - began:5.2f} s  {line}", flush=True)
            name, _, what = line.partition(" ")
            if name != old and what.startswith("starts"):
                return name


def _leave(number: int, frame: object) -> NoReturn:
    """In order, so that no node is left."""
    sys.exit(exits.SIGNAL + number)


@contextmanager
def _nodes(url: str, ttl: float, folder: str) -> Iterator[_Nodes]:
    nodes = _Nodes(url, ttl, folder)
    with ExitStack() as ends:
        for process in nodes.processes.values():
            ends.callback(process.wait)
            ends.callback(process.send_signal, signal.SIGCONT)
            ends.callback(process.terminate)
        yield nodes
