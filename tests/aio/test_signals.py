"""SIGTERM and Ctrl-C in an asyncio program, as docs/prefork.md has it: the term is handed over."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leaderlock import LeaderElector
from tests.elector.tools import ROOT, eventually

PROGRAM = """
import asyncio, signal, sys
from leaderlock import aio

async def main() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    elector = aio.LeaderElector(sys.argv[1], "e")
    if sys.argv[2] == "lead":
        async with elector.lead() as leadership:
            print("leads", flush=True)
            await asyncio.sleep(60)
    else:
        async def work(leadership) -> None:
            print("leads", flush=True)
            await asyncio.sleep(60)
        await elector.run(work)

signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background
asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("what", ["lead", "run"])
def test_a_signal_hands_over(what: str, how: signal.Signals, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/election.db?ttl=60"
    command = [sys.executable, "-c", PROGRAM, url, what]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        try:
            assert it.stdout is not None and it.stderr is not None
            assert it.stdout.readline() == b"leads\n"
            with LeaderElector(url, "e") as follower:
                eventually(lambda: follower._candidate.answered)
                began = time.monotonic()
                it.send_signal(how)
                assert follower.wait_elected(20)
                assert time.monotonic() - began < 10, "after a lease of 60 s, not by a hand-over"
            assert it.wait(20) != 0
            last = it.stderr.read().decode().splitlines()[-1]
            assert ("KeyboardInterrupt" if how == signal.SIGINT else "CancelledError") in last
        finally:
            it.kill()
