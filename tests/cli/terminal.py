"""A terminal with a shell in it, at which a test types."""

from __future__ import annotations

import os
import pty
import re
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.elector.tools import PATIENCE, eventually

CTRL_C, CTRL_Z, CTRL_D = "\x03", "\x1a", "\x04"


class Terminal:
    """An interactive shell with job control. It, and what it has started, ends with the block."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._seen = bytearray()
        self._read_until = 0
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            words = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
            os.execvpe(words[0], words, {**environment, "PS1": "ready> ", "TERM": "xterm"})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        self.wait("ready> ")
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._fd)  # a hang-up: the shell passes it on to its jobs
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGHUP)
        for pid in self._session():  # what is stopped hears of no hang-up
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._reader.join(PATIENCE)

    def _session(self) -> list[int]:
        found = []
        for each in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                facts = each.read_text().rpartition(")")[2].split()
                if int(facts[3]) == self._pid:
                    found.append(int(each.parent.name))
        return found

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait(self, pattern: str) -> re.Match[str]:
        """Until this stands behind what was waited for last."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.finditer(pattern, self.text()[self._read_until :]))
            return bool(found)

        eventually(look, f"{pattern!r} in {self.text()[self._read_until :]!r}")
        self._read_until += found[0].end()
        return found[0]

    def text(self) -> str:
        return self._seen.decode(errors="replace")

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._fd, 65536):
                self._seen += data
