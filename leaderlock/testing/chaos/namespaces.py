"""Networks that can be cut in two: each server in a network namespace of its own.

                switch:  bridge "whole"        bridge "apart"
                          |     |     |           |     |
    servers meet here:  eth0  eth0  eth0        eth0  eth0        10.77.0.1 to .n
    clients come by:     lo    lo    lo          lo    lo         through a door

A server is cut off by moving its port to the other bridge: packets vanish, connections stay. A door
is a proxy that listens outside and connects inside, so that clients, probes and operators notice
nothing. The namespaces live as long as the processes that hold them, which the reaper knows.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from leaderlock.testing.chaos.stores.base import ClusteredStore
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.programs import ServerError
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.reaper import reaper

_UNSHARE = ("unshare", "--net")
_CLONE_NEWNET = 0x40000000
_WHOLE, _APART = "whole", "apart"


class NotPermitted(Exception):
    """This machine, or this user, has no network namespaces."""


class Network:
    """The servers of a cluster, in namespaces. To be made before they are started.

    Raises:
        NotPermitted: it is not possible here.
    """

    def __init__(self, store: ClusteredStore) -> None:
        self._store = store
        self._holders: list[subprocess.Popen[str]] = []
        self._doors: list[_Door] = []
        try:
            self._switch = self._namespace()
            self._insides = [self._namespace() for _ in store.nodes]
            self._lay_cables()
            self._doors = [_Door(inside) for inside in self._insides]
        except (OSError, subprocess.CalledProcessError, ServerError) as error:
            self.close()
            raise NotPermitted(str(error)) from error
        addresses = [_address(number) for number in range(len(store.nodes))]
        store.move(addresses, [door.port for door in self._doors])
        for node, inside in zip(store.nodes, self._insides, strict=True):
            command = partial(_command_within, inside, node.command)
            node.command = command  # type: ignore[method-assign]

    def cut(self, servers: Sequence[Server]) -> None:
        """Have these servers meet each other, but none of the rest."""
        self._plug(servers, _APART)

    def mend(self) -> None:
        """Have all meet again."""
        self._plug(self._store.nodes, _WHOLE)

    def close(self) -> None:
        """After the servers have been stopped."""
        for door in self._doors:
            door.stop()
        for holder in self._holders:
            holder.kill()
            reaper.forget(holder.pid)
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()

    def _namespace(self) -> int:
        """A new one, as the pid of the process that holds it."""
        holder = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", "echo made; exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        reaper.watch(holder.pid, "")
        self._holders.append(holder)
        assert holder.stdout is not None
        if not holder.stdout.readline():
            raise OSError("no network namespace can be made")
        return holder.pid

    def _lay_cables(self) -> None:
        bridges = [f"link add {name} up type bridge" for name in (_WHOLE, _APART)]
        cables = [
            line
            for number, inside in enumerate(self._insides)
            for line in (
                f"link add port{number} type veth peer name eth0 netns {inside}",
                f"link set port{number} up master {_WHOLE}",
            )
        ]
        _ip(self._switch, *bridges, *cables)
        for number, inside in enumerate(self._insides):
            address = f"address add {_address(number)}/24 dev eth0"
            _ip(inside, "link set lo up", address, "link set eth0 up")

    def _plug(self, servers: Sequence[Server], bridge: str) -> None:
        nodes = list(self._store.nodes)
        ports = [nodes.index(server) for server in servers]
        _ip(self._switch, *(f"link set port{number} master {bridge}" for number in ports))


class _Door(Proxy):
    """Listens outside; its thread, and so what it connects, is inside. The port is the same."""

    def __init__(self, inside: int) -> None:
        self._inside = inside
        super().__init__(0)
        self.target_port = self.port
        self.pass_on()  # raises unless the thread got inside

    def _run(self) -> None:
        with Path(f"/proc/{self._inside}/ns/net").open("rb") as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:  # of this thread alone
                raise OSError(ctypes.get_errno(), "setns")
        super()._run()


def _address(number: int) -> str:
    return f"10.77.0.{number + 1}"


def _within(inside: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{inside}/ns/net", "--"]


def _command_within(inside: int, command: object) -> list[str]:
    assert callable(command)
    return [*_within(inside), *command()]


def _ip(inside: int, *lines: str) -> None:
    subprocess.run(
        [*_within(inside), "ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
        capture_output=True,
    )
