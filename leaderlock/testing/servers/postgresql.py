"""PostgreSQL: no store of elections, but what leaders write to, and so where a fence stands."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
from pathlib import Path

from leaderlock.testing.servers.process import STOP_TIMEOUT, NotReady, Server
from leaderlock.testing.servers.programs import ServerError, program

_NOBODY = 65534
# PostgreSQL refuses to run as root. Somebody else may read the programs, wherever they are, by a
# right that root hands down; without the secure bit, access(2) would not count it, and initdb asks
# that.
_AS_NOBODY = (
    "setpriv",
    f"--reuid={_NOBODY}",
    f"--regid={_NOBODY}",
    "--clear-groups",
    "--securebits=+no_setuid_fixup",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)


class PostgreSQLServer(Server):
    """A PostgreSQL with a superuser `postgres`, who needs no password, and a database of that name.

    `freeze` stops the process that lets clients in, not those that talk to them.

    Args:
        settings: more of them, "name=value".
    """

    def __init__(self, settings: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._settings = settings

    def url_at(self, port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def command(self) -> list[str]:
        if not any(self.data.iterdir()):
            self._make_data()
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "shared_buffers=8MB",
            "jit=off",
            "fsync=off",  # a killed process loses nothing by it: the kernel has its writes
            *self._settings,
        )
        options = [word for setting in settings for word in ("-c", setting)]
        return self._as_somebody("postgres", "-D", str(self.data), *options)

    def probe(self) -> None:
        """Begins to log in. The answer of a server that is still starting is an error."""
        with socket.create_connection(("127.0.0.1", self.port), self.call_timeout) as connection:
            words = b"\0".join((b"user", b"postgres", b"database", b"postgres", b"", b""))
            connection.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
            if connection.recv(1) != b"R":
                raise NotReady("it does not let anybody in")

    def kill(self) -> None:
        """End it as a crash does, and keep its data for `start()`."""
        # Its other processes are groups of their own; while one is left, no server can start.
        with contextlib.ExitStack() as stack:
            others = []
            for pid in _children(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    others.append(os.pidfd_open(pid))
                    stack.callback(os.close, others[-1])
            super().kill()
            for other in others:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(other, signal.SIGKILL)
                select.select([other], [], [], STOP_TIMEOUT)

    def shut_down(self) -> None:
        """End it in an orderly way, also while clients are connected, and keep its data."""
        self._end(signal.SIGINT)

    def stop(self) -> None:
        """End it and remove all that it left."""
        # Killed, it would leave a piece of shared memory behind.
        self._end(signal.SIGQUIT)
        super().stop()

    def _make_data(self) -> None:
        if os.geteuid() == 0:
            for folder in self.folder, self.data:
                os.chown(folder, _NOBODY, _NOBODY)
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        done = subprocess.run(
            self._as_somebody("initdb", "-D", str(self.data), "--no-sync", *options),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"initdb failed: {done.stdout}{done.stderr}")

    def _as_somebody(self, *words: str) -> list[str]:
        return [*(_AS_NOBODY if os.geteuid() == 0 else ()), program("postgresql"), *words]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
