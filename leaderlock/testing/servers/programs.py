"""Where the servers' programs are, and ports for them to listen on."""

from __future__ import annotations

import functools
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

_UNPACK = Path(__file__).resolve().parents[3] / "scripts" / "servers"  # in a checkout
_LOWEST_PORT = 20000


class ServerError(Exception):
    """A server is missing, or did not do what was asked of it."""


def program(name: str) -> str:
    """The path of a program of a store."""
    if not _UNPACK.exists():
        if found := shutil.which(name):
            return found
        raise ServerError(f"{name} is not installed: no program of that name is on the PATH")
    # Not what the system has: in a checkout all meet the same servers.
    path = _folder() / name
    if not path.exists():
        raise ServerError(f"{name} is not in {path.parent}: run `make servers`")
    return str(path)


@functools.cache
def _folder() -> Path:
    answer = subprocess.run([_UNPACK, "--where"], check=True, capture_output=True, text=True)
    return Path(answer.stdout.strip())


class Ports:
    """Free ports, each held for one user among all test processes of this machine.

    They lie below the ports that the kernel gives to outgoing connections. Otherwise a client
    could take the port of a server that is being restarted, or even connect to itself.
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def take(self) -> int:
        for _ in range(1000):
            port = random.randrange(_LOWEST_PORT, _highest_port())
            claim = _claim(port)
            if claim is None:
                continue
            if _is_free(port):
                self._claims.append(claim)
                return port
            claim.close()
        raise ServerError("no port is free")

    def release(self) -> None:
        while self._claims:
            self._claims.pop().close()


def _claim(port: int) -> socket.socket | None:
    """Tells the other test processes that a port is taken, until the socket is closed."""
    claim = socket.socket(socket.AF_UNIX)
    if sys.platform == "linux":  # where a name in the abstract namespace leaves no file behind
        try:
            claim.bind(f"\0leaderlock-tests-port-{port}")
        except OSError:
            claim.close()
            return None
    return claim


def _is_free(port: int) -> bool:
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:  # Consul gossips by UDP
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:  # a connection's TIME_WAIT does not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


@functools.cache
def _highest_port() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
        return max(int(text.split()[0]), _LOWEST_PORT + 2000)
    except OSError:
        return 32768
