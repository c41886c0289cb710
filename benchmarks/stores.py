"""A store of each kind to measure on, on this machine, which counts what it is asked."""

from __future__ import annotations

import sqlite3
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import typer

from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.etcd import EtcdServer
from leaderlock.testing.servers.process import Server
from leaderlock.testing.servers.redis import RedisServer
from leaderlock.testing.servers.zookeeper import ZooKeeperServer

Count = Mapping[str, float]
"""Requests, by kind."""

# What clients send; what a script runs is no request. HMGET stands for all that is read at once to
# find out who leads.
_REDIS = ("eval", "evalsha", "hmget", "subscribe", "unsubscribe", "ping")


@dataclass
class Store:
    """A store to measure on.

    Attributes:
        url: where it is.
        requests: what it has been asked so far, by kind, as it counts itself.
        kill: have it fall silent for good; None: that cannot be done to it.
    """

    url: str
    requests: Callable[[], Count] = dict
    kill: Callable[[], object] | None = None


@contextmanager
def open_store(backend: str) -> Iterator[Store]:
    """A store of its own, empty, for as long as the block lasts."""
    with ExitStack() as stack:
        started: Callable[[Server], object] = stack.enter_context
        match backend:
            case "memory":
                yield Store("memory://benchmark")
            case "sqlite":
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                file = f"{folder}/elections.db"
                lock = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
                stack.callback(lock.close)
                # It has no process. What lets nobody else write does to it what a death does.
                yield Store(f"sqlite://{file}", kill=lambda: lock.execute("BEGIN IMMEDIATE"))
            case "redis":
                started(redis := RedisServer(settings={"appendfsync": "everysec"}))
                # No restart to sit out: that would be a whole lease before the first election.
                url = f"{redis.url}?quarantine=false"
                yield Store(url, lambda: redis_requests(redis), redis.kill)
            case "etcd":
                started(etcd := EtcdServer())
                yield Store(etcd.url, lambda: etcd_requests(etcd), etcd.kill)
            case "zookeeper":
                started(zookeeper := ZooKeeperServer())
                yield Store(zookeeper.url, lambda: zookeeper_requests(zookeeper), zookeeper.kill)
            case "consul":
                telemetry = {"prometheus_retention_time": "1h", "disable_hostname": True}
                started(consul := ConsulServer(settings={"telemetry": telemetry}))
                yield Store(consul.url, lambda: consul_requests(consul), consul.kill)
            case _:
                raise typer.BadParameter(f"no store is called {backend}")


def less(after: Count, before: Count, per: float = 1) -> Count:
    """What has been asked in between, by kind; divided by `per`."""
    differences = {kind: (after[kind] - before.get(kind, 0)) / per for kind in after}
    return {kind: round(value, 2) for kind, value in differences.items() if value}


def told(counts: Count) -> str:
    """For people."""
    return ", ".join(f"{kind} {count:g}" for kind, count in sorted(counts.items()))


def redis_requests(server: RedisServer) -> Count:
    """Commands by name; scripts are scripts, however they are named."""
    found: Counter[str] = Counter()
    for line in str(server.call("INFO", "commandstats")).splitlines():
        name, _, value = line.removeprefix("cmdstat_").partition(":")
        if name in _REDIS:
            kind = name.removesuffix("sha")
            found[kind] += int(value.partition("=")[2].partition(",")[0])
    return {kind: float(number) for kind, number in found.items()}


def etcd_requests(server: EtcdServer) -> Count:
    """Requests by method; those within streams, too."""
    found: Counter[str] = Counter()
    for line in _page(server, "/metrics").splitlines():
        if line.startswith("grpc_server_msg_received_total{"):
            labels, _, value = line.rpartition(" ")
            found[labels.partition('grpc_method="')[2].partition('"')[0]] += int(value)
    return {kind: float(number) for kind, number in found.items()}


def consul_requests(server: ConsulServer) -> Count:
    """Requests by method and path."""
    found = {}
    for line in _page(server, "/v1/agent/metrics?format=prometheus").splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("consul_http_") and name.endswith("_count") and "agent" not in name:
            found[name.removeprefix("consul_http_").removesuffix("_count")] = float(value)
    return found


def zookeeper_requests(server: ZooKeeperServer) -> Count:
    lines = [line.split("\t") for line in server.ask("mntr").splitlines()]
    return {"packets": float(dict(line for line in lines if len(line) == 2)["zk_packets_received"])}


def _page(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return str(answer.read(), "utf-8")
