"""Where the Redis is and how to speak to it, from a URL or from a client of the program's own."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from leaderlock.backends.network import (
    HOSTS,
    LOGIN,
    TLS,
    Host,
    TLSFiles,
    hosts_of,
    login_of,
    tls_of,
)
from leaderlock.errors import ConfigurationError
from leaderlock.url import Option, StoreURL, flag, text, whole_number

_PORT, _SENTINEL_PORT = 6379, 26379
_db = whole_number(0, 1_000_000)


def _ready_client(value: object) -> redis.Redis | redis.RedisCluster:
    if not isinstance(value, redis.Redis | redis.RedisCluster):
        raise ValueError("a redis.Redis or redis.RedisCluster")
    return value


_OF_THE_CLIENT = frozenset({"wait_replicas", "quarantine"})  # the rest says where the server is
OPTIONS: Mapping[str, Option] = {
    **HOSTS,
    **LOGIN,
    **TLS,
    "db": Option(_db, "number of the database, in place of the one in the URL; default 0"),
    "sentinel_username": Option(text, "asked for by the sentinels, not by Redis"),
    "sentinel_password": Option(text, "asked for by the sentinels, not by Redis"),
    "wait_replicas": Option(
        whole_number(0, 100), "replicas that have to confirm every election and renewal; default 0"
    ),
    "quarantine": Option(
        flag, "false: elect also on a server that was started less than a ttl ago; default true"
    ),
    "redis_client": Option(_ready_client, "a client whose settings are used, in place of a URL"),
}


class Kind(enum.Enum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Target:
    """How to reach the servers.

    Attributes:
        hosts: of Redis, of the sentinels, or of some nodes of the cluster.
        arguments: what a connection to Redis needs beside its host.
        service: the sentinels' name for the Redis.
        sentinel_arguments: what a connection to a sentinel needs beside its host.
    """

    kind: Kind
    hosts: tuple[Host, ...]
    connection_class: type[Any]
    arguments: Mapping[str, Any] = field(repr=False)
    service: str = ""
    sentinel_class: type[Any] = Connection
    sentinel_arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)


def target_of(url: StoreURL) -> Target:
    """Where a URL, or the client given in its place, points.

    Raises:
        ConfigurationError: something in it cannot be used.
    """
    client = url.options.get("redis_client")
    if client is None:
        return _of_url(url)
    if others := url.options.keys() - _OF_THE_CLIENT - {"redis_client"}:
        raise ConfigurationError(f"redis_client brings its own {', '.join(sorted(others))}")
    return _of_cluster(client) if isinstance(client, redis.RedisCluster) else _of_client(client)


def _of_url(url: StoreURL) -> Target:
    kind = Kind(url.scheme.partition("+")[2].replace("unix", "") or "single")
    tls = tls_of(url, wanted=url.scheme.startswith("rediss"))
    login = login_of(url)
    arguments: dict[str, Any] = {
        "username": login.username or None,
        "password": login.password or None,
    }
    sentinel_options = [name for name in url.options if name.startswith("sentinel_")]
    if sentinel_options and kind is not Kind.SENTINEL:
        raise ConfigurationError(f"{', '.join(sentinel_options)} in {url}: it names no sentinels")
    names = [part for part in url.path.split("/") if part]
    service = ""
    if url.scheme == "redis+unix":
        if url.authority or "hosts" in url.options or not names:
            raise ConfigurationError(f"{url}: write redis+unix:///run/redis.sock?db=0")
        hosts: tuple[Host, ...] = ((url.path, 0),)
        arguments["db"] = url.options.get("db", 0)
        return Target(kind, hosts, UnixDomainSocketConnection, arguments)
    if kind is Kind.SENTINEL:
        if not names:
            raise ConfigurationError(f"{url}: write {url.scheme}://host1,host2/mymaster/0")
        service = names.pop(0)
    arguments["db"] = _db_of(url, names)
    if kind is Kind.CLUSTER and arguments["db"]:
        raise ConfigurationError(f"{url}: a Redis Cluster has database 0 only")
    hosts = hosts_of(url, _SENTINEL_PORT if kind is Kind.SENTINEL else _PORT)
    if kind is Kind.SINGLE and len(hosts) > 1:
        raise ConfigurationError(
            f"{url} names {len(hosts)} hosts, and each would elect a leader of its own: name the "
            "primary, or use redis+sentinel:// or redis+cluster://"
        )
    sentinel_arguments = {
        name.removeprefix("sentinel_"): url.options[name] for name in sentinel_options
    }
    if tls:
        arguments |= _tls_arguments(tls)
        sentinel_arguments |= _tls_arguments(tls)
    used_class = SSLConnection if tls else Connection
    return Target(kind, hosts, used_class, arguments, service, used_class, sentinel_arguments)


def _db_of(url: StoreURL, names: list[str]) -> int:
    try:
        in_path = [_db(name) for name in names]
    except ValueError:
        in_path = [0, 0]
    if len(in_path) > 1 or (in_path and url.options.get("db", in_path[0]) != in_path[0]):
        raise ConfigurationError(
            f"{url}: its path ends in the number of the database, for example /0, and db= says "
            "nothing else"
        )
    found: int = url.options.get("db", in_path[0] if in_path else 0)
    return found


def _tls_arguments(tls: TLSFiles) -> dict[str, Any]:
    # Said in full: what redis-py does without being told has changed between its versions.
    return {
        "ssl_ca_certs": tls.ca,
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key or tls.cert,
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
    }


# Of a ready client only this is taken over: whom to call, who calls, and how it is encrypted.
# The rest of its settings (retries, decoding, caches, RESP3) is its own affair.
_TAKEN_OVER = frozenset(
    {"db", "username", "password", "credential_provider", "client_name"}
    | {"socket_keepalive", "socket_keepalive_options"}
)


def _taken_over(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in arguments.items() if k in _TAKEN_OVER or k.startswith("ssl_")}


def _of_client(client: redis.Redis) -> Target:
    pool = client.connection_pool
    given: Mapping[str, Any] = pool.connection_kwargs
    arguments, used_class = _taken_over(given), pool.connection_class
    if isinstance(pool, SentinelConnectionPool):
        pools = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]
        return Target(
            Kind.SENTINEL,
            tuple((p.connection_kwargs["host"], p.connection_kwargs["port"]) for p in pools),
            SSLConnection if issubclass(used_class, SSLConnection) else Connection,
            arguments,
            pool.service_name,
            pools[0].connection_class,
            _taken_over(pools[0].connection_kwargs),
        )
    if issubclass(used_class, UnixDomainSocketConnection):
        host = (given["path"], 0)
    else:
        host = (given.get("host", "localhost"), given.get("port", _PORT))
    return Target(Kind.SINGLE, (host,), used_class, arguments)


def _of_cluster(client: redis.RedisCluster) -> Target:
    nodes = client.get_nodes()  # type: ignore[no-untyped-call]
    pool = client.get_redis_connection(nodes[0]).connection_pool
    hosts = tuple((node.host, node.port) for node in nodes)
    arguments = _taken_over(pool.connection_kwargs)
    return Target(Kind.CLUSTER, hosts, pool.connection_class, arguments)


NO_RETRIES = Retry(NoBackoff(), 0)
"""The default of redis-py repeats whatever got no answer, also what was carried out (#3559)."""
