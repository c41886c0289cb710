"""Ends the servers of a test process that died, even by SIGKILL, and removes their folders.

The reaper is a small process that reads from a pipe which servers are running. The kernel closes
the pipe when the test process is gone. (Linux's PR_SET_PDEATHSIG would not do: it also ends a
server when the thread that started it ends.)
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time


class Reaper:
    """The test process's end of the pipe. The process starts with the first server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        atexit.register(self._close)

    def watch(self, pid: int, folder: str) -> None:
        """Should this process die, kill the process group and remove the folder."""
        self._tell(f"watch {pid} {folder}")

    def forget(self, pid: int) -> None:
        """To be called before the process is waited for, when its pid is still its own."""
        self._tell(f"forget {pid}")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._process = subprocess.Popen(
                    # Without site-packages it starts in 10 ms.
                    [sys.executable, "-IS", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # so that Ctrl-C leaves it alone
                )
                self._owner = os.getpid()
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _close(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.communicate(timeout=10)


def main() -> None:
    watched: dict[int, str] = {}
    for line in sys.stdin:
        verb, pid, *folder = line.rstrip("\n").split(" ", 2)
        if verb == "watch":
            watched[int(pid)] = folder[0]
        else:
            watched.pop(int(pid), None)
    for group in watched:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    time.sleep(0.2 if watched else 0)  # they may be writing into their folders
    for folder_name in watched.values():
        shutil.rmtree(folder_name, ignore_errors=True)


if __name__ == "__main__":
    main()
else:
    reaper = Reaper()
