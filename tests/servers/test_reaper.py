"""No server outlives the test process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leaderlock.testing.servers.process import wait_until
from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import ROOT
from tests.servers.test_servers import exists

STARTS_TWO = """
import time
from leaderlock.testing.servers.redis import RedisServer
stopped, running = RedisServer().start(), RedisServer().start()
stopped.stop()
running.freeze()
print(running.pid, running.folder, flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["time.sleep(60)", "", "import os; os._exit(1)"])
def test_servers_end_when_their_test_process_dies(then: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_TWO.format(then=then)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        if "sleep" in then:
            os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not exists(int(pid)), 10, lambda: "the server lives on")
    wait_until(lambda: not Path(folder).exists(), 10, lambda: "its folder stays")


def test_a_server_outlives_the_thread_that_started_it() -> None:
    server = RedisServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        server.probe()
    finally:
        server.stop()
