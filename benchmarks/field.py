"""Who is measured on which store, and what stands for the store's floor."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.etcd import EtcdServer
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.programs import ServerError, program
from leaderlock.testing.servers.redis import RedisServer
from leaderlock.testing.servers.zookeeper import ZooKeeperServer

FLOOR = "floor"
CORRECT = "floor of what is correct"
OURS = "leaderlock"

_VENVS = Path(__file__).resolve().parents[1] / ".venv" / "peers"


class Missing(Exception):
    """A contestant that cannot be measured here, and why."""


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        kind: `module:factory` in benchmarks/contestants.
        needs: what has to be importable.
        program: one of the stores' programs that it runs.
        pins: what is installed in a venv of its own, because it does not go with the rest.
        many: it can hold many elections in one process.
    """

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    program: str = ""
    pins: tuple[str, ...] = ()
    many: bool = True

    @property
    def is_floor(self) -> bool:
        return self.name in (FLOOR, CORRECT)

    def python(self, own: str, *, may_install: bool) -> str:
        """The interpreter of its workers; `own` is ours.

        Raises:
            Missing: it cannot run.
        """
        if self.program:
            try:
                program(self.program)
            except ServerError as error:
                raise Missing(str(error)) from None
        if self.pins:
            return self._python_of_venv(may_install)
        for name in self.needs:
            if find_spec(name) is None:
                raise Missing(f"no module {name}: pip install 'leaderlock[peers]'")
        return own

    def _python_of_venv(self, may_install: bool) -> str:
        folder = _VENVS / self.name.replace(" ", "-")
        python, ready = folder / "bin" / "python", folder / ".ready"
        what = " ".join(self.pins)
        if not ready.exists() or ready.read_text("utf-8") != what:
            if not may_install:
                raise Missing(f"it has a venv of its own ({what}), which a full run makes")
            try:
                venv.create(folder, with_pip=True, clear=True)
                subprocess.run(
                    [python, "-m", "pip", "install", "--quiet", *self.pins],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=_plain_environment(),
                )
            except (subprocess.CalledProcessError, OSError) as error:
                said = str(getattr(error, "stderr", "") or error).strip().splitlines()
                raise Missing(f"pip could not install {what}: {said[-1][:200]}") from None
            ready.write_text(what, "utf-8")
        return str(python)


def _plain_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}


@dataclass(frozen=True)
class Field:
    """A store, and all who are measured on it.

    Attributes:
        start: makes its server.
        entries: the floors first, then leaderlock, then its peers.
    """

    store: str
    start: Callable[[], Server]
    entries: tuple[Entry, ...]


def _floors(store: str, *needs: str) -> tuple[Entry, ...]:
    return (
        Entry(FLOOR, f"floor_{store}:make", needs, many=False),
        Entry(CORRECT, f"floor_{store}:make_correct", needs, many=False),
    )


FIELDS = (
    Field(
        "redis",
        RedisServer,
        (
            *_floors("redis"),
            Entry(OURS, "ours:make", ("redis",)),
            Entry("redis-py Lock", "redis_locks:make_redis_py", ("redis",)),
            Entry("python-redis-lock", "redis_locks:make_python_redis_lock", ("redis_lock",)),
            Entry("tooz", "tooz_locks:make_redis", ("tooz", "redis")),
            Entry("pottery Redlock", "redis_locks:make_pottery", ("pottery",)),
            Entry("sherlock", "redis_locks:make_sherlock", ("sherlock",)),
        ),
    ),
    Field(
        "etcd",
        EtcdServer,
        (
            *_floors("etcd", "etcd3"),
            Entry(OURS, "ours:make", ("etcd3",)),
            Entry("python3-etcd3 Lock", "etcd3_lock:make", ("etcd3",)),
            Entry(
                "python-etcd3 0.12 Lock",
                "etcd3_lock:make",
                # Its generated code does not load with a protobuf of today, and a waiting lock
                # fails with a tenacity of today.
                pins=("etcd3==0.12.0", "protobuf<3.21", "setuptools<81", "tenacity<7"),
            ),
            Entry("tooz (etcd3gw)", "tooz_locks:make_etcd", ("tooz", "etcd3gw")),
            Entry("etcdctl lock", "programs:make_etcdctl", program="etcdctl", many=False),
        ),
    ),
    Field(
        "zookeeper",
        ZooKeeperServer,
        (
            *_floors("zookeeper"),
            Entry(OURS, "ours:make", ("kazoo",)),
            Entry("kazoo Lock", "kazoo_recipes:make_lock", ("kazoo",)),
            Entry("kazoo Election", "kazoo_recipes:make_election", ("kazoo",)),
            Entry("tooz", "tooz_locks:make_zookeeper", ("tooz", "kazoo")),
        ),
    ),
    Field(
        "consul",
        ConsulServer,
        (
            *_floors("consul"),
            Entry(OURS, "ours:make", ("consul",)),
            Entry("consul lock", "programs:make_consul", program="consul", many=False),
        ),
    ),
)
