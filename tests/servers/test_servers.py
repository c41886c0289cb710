"""The servers do what the tests of the adapters rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.etcd import EtcdServer, decode, encode
from leaderlock.testing.servers.process import NotReady, Server
from leaderlock.testing.servers.programs import ServerError, program
from leaderlock.testing.servers.redis import RedisServer, ValkeyServer
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from tests.servers.external import DOCKER_URLS, Shared, find_external

STORES = {
    "redis": RedisServer,
    "valkey": ValkeyServer,
    "etcd": EtcdServer,
    "zookeeper": ZooKeeperServer,
    "consul": ConsulServer,
}
each_store = pytest.mark.parametrize("kind", STORES.values(), ids=STORES.keys())


def write(server: Server, value: str) -> None:
    match server:
        case RedisServer():
            server.call("SET", "key", value)
        case EtcdServer():
            server.call("kv/put", {"key": encode("key"), "value": encode(value)})
        case ConsulServer():
            server.call("PUT", "/v1/kv/key", value)
        case ZooKeeperServer():
            with_kazoo(server, lambda client: client.create("/key", value.encode()))


def read(server: Server) -> str | None:
    """The value; None if there is none."""
    match server:
        case RedisServer():
            reply = server.call("GET", "key")
            assert reply is None or isinstance(reply, str)
            return reply
        case EtcdServer():
            found = server.call("kv/range", {"key": encode("key")}).get("kvs", [])
            return decode(found[0]["value"]) if found else None
        case ConsulServer():
            try:
                return decode(server.call("GET", "/v1/kv/key")[0]["Value"]).strip('"')
            except NotReady:
                return None
        case ZooKeeperServer():
            data = with_kazoo(server, lambda c: c.get("/key")[0] if c.exists("/key") else None)
            return None if data is None else str(data, "utf-8")
        case _:
            raise TypeError(server)


def with_kazoo(server: ZooKeeperServer, do: Callable[[KazooClient], Any], **options: Any) -> Any:
    """What `do` makes of a client with these options."""
    client = KazooClient(f"127.0.0.1:{server.port}", **options)
    try:
        client.start(timeout=10)
        return do(client)
    finally:
        client.stop()
        client.close()


def exists(pid: int) -> bool:
    """Whether a process lives. A zombie does not: where pid 1 is no init, orphans stay zombies."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@each_store
def test_a_frozen_server_says_nothing_and_leaves_nothing_behind(kind: type[Server]) -> None:
    with kind() as server:
        pid = server.pid
        assert exists(pid) and server.folder.exists()

        server.freeze()
        server.call_timeout = 0.3
        with pytest.raises(TimeoutError):
            server.probe()

        server.thaw()
        server.call_timeout = 5
        server.probe()

        server.freeze()
    assert not exists(pid) and not server.folder.exists()


@each_store
def test_a_server_keeps_its_data_in_a_crash_and_loses_it_when_told_to(kind: type[Server]) -> None:
    with kind() as server:
        write(server, "value")
        server.kill()
        assert not server.running
        url = server.url
        server.start()
        assert (server.url, read(server)) == (url, "value")

        server.restart(keep_data=False)
        assert (server.url, read(server)) == (url, None)


def test_a_server_that_does_not_start_shows_the_end_of_its_log() -> None:
    server = RedisServer(settings={"maxmemory": "nonsense"})
    with pytest.raises(ServerError, match="argument must be a memory value"), server:
        pass
    assert not server.folder.exists()


def test_two_servers_run_side_by_side() -> None:
    with RedisServer() as one, RedisServer() as other:
        write(one, "one")
        write(other, "other")
        assert (read(one), read(other)) == ("one", "other")


@pytest.mark.parametrize("store", STORES)
def test_the_shared_servers_are_there(store: str, request: pytest.FixtureRequest) -> None:
    shared: Shared = request.getfixturevalue(store)
    assert "://127.0.0.1:" in shared.url or find_external(store)


def test_a_missing_program_is_an_error_that_names_the_remedy() -> None:
    # In a checkout, and where leaderlock is installed.
    remedy = "run `make servers`|no program of that name is on the PATH"
    with pytest.raises(ServerError, match=remedy):
        program("no-such-server")


def test_servers_that_run_already_are_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for store in STORES:
        monkeypatch.delenv(f"LEADERLOCK_{store.upper()}_URL", raising=False)
    monkeypatch.setenv("LEADERLOCK_SERVERS", "")
    assert find_external("etcd") is None

    monkeypatch.setenv("LEADERLOCK_SERVERS", "docker")
    monkeypatch.setenv("LEADERLOCK_ETCD_URL", "etcd://elsewhere:2379")
    found = {store: find_external(store) for store in STORES}
    urls = {store: server.url for store, server in found.items() if server}
    assert urls == DOCKER_URLS | {"etcd": "etcd://elsewhere:2379"}

    monkeypatch.setenv("LEADERLOCK_SERVERS", "podman")
    with pytest.raises(ServerError, match="'podman' is neither empty nor 'docker'"):
        find_external("redis")
