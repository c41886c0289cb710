"""The recipes of Go, as programs: `etcdctl lock` and `consul lock`.

https://github.com/etcd-io/etcd/tree/main/etcdctl#lock-options-lockname-command-arg1-arg2-: "LOCK
acquires a distributed mutex with a given name. Once the lock is acquired, it will be held until
etcdctl is terminated." It prints the key that it holds.
https://developer.hashicorp.com/consul/commands/lock: "only when held, is a child process invoked".

A cycle contains the start of a process and its session with the store: that is how they are used.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from benchmarks.contestants.contestant import Contestant, Lock
from leaderlock.testing.servers.programs import program


class Command(Lock):
    """A program that says a line when it leads, and resigns when it is told to end."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def acquire(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"{self._command[0]} ended without the lock")

    def release(self) -> None:
        self._process.terminate()
        self._process.communicate()


class Etcdctl(Contestant):
    def connect(self) -> None:
        self._program = program("etcdctl")

    def lock(self, name: str) -> Lock:
        where = f"--endpoints=127.0.0.1:{self.port}"
        return Command([self._program, where, "lock", f"--ttl={int(self.ttl)}", name])


class ConsulLock(Contestant):
    def connect(self) -> None:
        self._program = program("consul")

    def lock(self, name: str) -> Lock:
        where = f"-http-addr=127.0.0.1:{self.port}"
        child = "echo leads; exec sleep 600"
        return Command([self._program, "lock", where, name, child])


make_etcdctl = Etcdctl
make_consul = ConsulLock
