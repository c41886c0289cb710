"""The move: new nodes on the new store and with the next epoch, beside the old ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.swapping import ledger

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
ENTRIES = 200  # of each epoch, before the next step

Say = Callable[[str], None]


class Stuck(Exception):
    """Something did not happen in time."""


class Node:
    """A process that runs `examples.swapping.node`.

    Attributes:
        told: what it has told, in order.
    """

    def __init__(self, name: str, url: str, epoch: int, path: Path) -> None:
        self.name = name
        self.told: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.swapping.node", str(path)],
            cwd=ROOT,
            # Nothing else of this environment is meant for it.
            env={name: os.environ[name] for name in os.environ if name[:11] != "LEADERLOCK_"}
            | {
                "LEADERLOCK_URL": url,
                "LEADERLOCK_EPOCH": str(epoch),
                "LEADERLOCK_ELECTION": "swapping",
                "LEADERLOCK_CANDIDATE_ID": name,
                "LEADERLOCK_TTL": "3",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.told.append(json.loads(line))

    def find(self, event: str) -> dict[str, Any] | None:
        """The last thing of this kind that it has told."""
        return next((told for told in reversed(self.told) if told["event"] == event), None)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end, and wait for it."""
        if self.runs:
            self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._reader.join(PATIENCE)


@dataclass
class Report:
    """What came of it.

    Attributes:
        old: how many entries were written under the old epoch.
        new: under the new one.
        stale: under a lower token than one before it.
        fenced: what the old nodes were told.
        refusal: what a node was told whose store was changed without a new epoch.
    """

    old: int = 0
    new: int = 0
    stale: int = 0
    fenced: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""


def move(old_url: str, new_url: str, path: Path, say: Say = lambda line: None) -> Report:
    """Start the service on the old store, and move it to the new one while it writes.

    Args:
        old_url, new_url: two stores.
        path: the ledger, which is made.
        say: told of every step.

    Raises:
        Stuck: a step did not happen in time.
    """
    ledger.create(path)
    with ExitStack() as stack:

        def start(name: str, url: str, epoch: int) -> Node:
            return stack.enter_context(running(name, url, epoch, path))

        say("1. two nodes on the old store, epoch 1")
        old = [start(f"old-{n}", old_url, 1) for n in (1, 2)]
        wait_for(lambda: ledger.count(path, 1) >= ENTRIES, "entries under epoch 1", old)

        say("2. two nodes on the new store, epoch 2; the old ones still run, and one of them leads")
        new = [start(f"new-{n}", new_url, 2) for n in (1, 2)]
        wait_for(lambda: ledger.count(path, 2) >= ENTRIES, "entries under epoch 2", new)

        say("3. the old nodes are fenced out: the one that led, then the one that follows it")
        wait_for(lambda: not any(node.runs for node in old), "the end of the old nodes")

        say("4. somebody points a node at the old store, and does not raise the epoch")
        for node in new:
            node.stop()
        wrong = start("wrong", old_url, 2)
        wait_for(lambda: wrong.find("refused"), "refusal of another source")
    return audit(path, old, wrong)


def audit(path: Path, old: list[Node], wrong: Node) -> Report:
    """Read the ledger, and what the nodes have told."""
    tokens = ledger.accepted(path)
    pairs = zip(tokens, tokens[1:], strict=False)
    refusal = wrong.find("refused")
    return Report(
        old=sum(token.epoch == 1 for token in tokens),
        new=sum(token.epoch == 2 for token in tokens),
        stale=sum(later < earlier for earlier, later in pairs),
        fenced=[fenced for node in old if (fenced := node.find("fenced"))],
        refusal=refusal["why"] if refusal else "",
    )


@contextmanager
def running(name: str, url: str, epoch: int, path: Path) -> Iterator[Node]:
    """A node, for the length of a block."""
    node = Node(name, url, epoch, path)
    try:
        yield node
    finally:
        node.stop()


def wait_for(condition: Callable[[], object], what: str, by: Sequence[Node] = ()) -> None:
    """Raises Stuck when it does not come true in time, or all that could bring it have ended."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end or (by and not any(node.runs for node in by)):
            raise Stuck(f"no {what}, after {[node.told for node in by]}")
        time.sleep(0.02)
