"""MariaDB: no store of elections, but what leaders write to, and so where a fence stands."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from leaderlock.testing.servers.process import NotReady, Server
from leaderlock.testing.servers.programs import program


class MariaDBServer(Server):
    """A MariaDB where everybody may do everything without a password (--skip-grant-tables).

    It starts from an empty folder: without grants it needs none of its system tables. A test
    makes its own database.
    """

    def url_at(self, port: int) -> str:
        return f"mysql://root@127.0.0.1:{port}/"

    def command(self) -> list[str]:
        launcher = Path(program("mariadbd"))
        return [
            str(launcher),
            "--no-defaults",
            "--skip-grant-tables",
            f"--datadir={self.data}",
            f"--socket={self.folder / 'socket'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            *(("--user=root",) if os.geteuid() == 0 else ()),  # else root is refused
            *_messages_beside(launcher),
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M",
            # A killed process loses nothing by these: the kernel has its writes.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
        ]

    def probe(self) -> None:
        """A server that is ready speaks first."""
        with socket.create_connection(("127.0.0.1", self.port), self.call_timeout) as connection:
            greeting = connection.recv(5)
            if len(greeting) < 5 or greeting[4] != 10:  # the version of the protocol
                raise NotReady("it does not let anybody in")


def _messages_beside(launcher: Path) -> list[str]:
    """Where an unpacked server finds its messages; an installed one knows."""
    folder = launcher.parent.parent / "mariadbd" / "usr" / "share" / "mysql"
    return [f"--lc-messages-dir={folder}"] if folder.exists() else []
