"""How redis:// is reached: URLs, credentials, rights, TLS, and clients of the program's own."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
import traceback
from typing import Any

import pytest
import redis as redis_py
from redis.connection import SSLConnection, UnixDomainSocketConnection

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    ConfigurationError,
    LeaderElector,
    connect,
)
from leaderlock.backends.redis.target import Kind, target_of
from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.redis import RedisCluster, RedisServer, ValkeyServer
from leaderlock.url import StoreURL
from tests.backends.redis_tools import backend_at, dripping, keys_of
from tests.backends.tools import attempt_at, win
from tests.elector.tools import eventually, lasts_at_most
from tests.servers.external import Shared

# URLs


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "service", "db"),
    [
        ("redis://h", Kind.SINGLE, (("h", 6379),), "", 0),
        ("redis://[::1]:7000/2", Kind.SINGLE, (("::1", 7000),), "", 2),
        ("rediss://h:1/", Kind.SINGLE, (("h", 1),), "", 0),
        ("redis+unix:///run/redis.sock", Kind.SINGLE, (("/run/redis.sock", 0),), "", 0),
        ("redis+sentinel://a,b:7/main", Kind.SENTINEL, (("a", 26379), ("b", 7)), "main", 0),
        ("rediss+sentinel://a/main/4", Kind.SENTINEL, (("a", 26379),), "main", 4),
        ("redis+cluster://a:1,b", Kind.CLUSTER, (("a", 1), ("b", 6379)), "", 0),
        ("rediss+cluster://a/0", Kind.CLUSTER, (("a", 6379),), "", 0),
    ],
)
def test_urls(url: str, kind: Kind, hosts: object, service: str, db: int) -> None:
    target = target_of(StoreURL.parse(url))
    assert (target.kind, target.hosts, target.service) == (kind, hosts, service)
    assert target.arguments["db"] == db
    assert ("ssl_cert_reqs" in target.arguments) == url.startswith("rediss")


def test_the_other_layers_of_the_configuration_reach_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEADERLOCK_PASSWORD", "secret")
    mapping = {"url": "redis+sentinel:///main", "hosts": ["a:1", "b:2"], "db": 5, "election": "e"}
    url = LeaderElector.from_config(mapping)._client.config.url
    target = target_of(url)
    assert target.hosts == (("a", 1), ("b", 2))
    assert (target.arguments["db"], target.arguments["password"]) == (5, "secret")
    assert "secret" not in repr((url, target)) + str(url)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("redis://", {}, "names no host"),
        ("redis://a,b", {}, "each would elect a leader of its own"),
        ("redis://a/x", {}, "number of the database"),
        ("redis://a/1/2", {}, "number of the database"),
        ("redis://a/1?db=2", {}, "number of the database"),
        ("redis://a?db=x", {}, "db='x'.* must be a whole number"),
        ("redis://a?ca=/etc/hostname", {}, "use the scheme with an s"),
        ("redis://a?sentinel_password=x", {}, "names no sentinels"),
        ("redis://a?wait_replicas=-1", {}, "wait_replicas"),
        ("redis://a?quarantine=perhaps", {}, "quarantine='perhaps'.* must be true or false"),
        ("redis://a?ttl=0.01", {}, "outside what this store grants"),
        ("redis+unix://h/run/redis.sock", {}, "redis.unix:///run/redis.sock"),
        ("redis+unix://", {}, "redis.unix:///run/redis.sock"),
        ("redis+sentinel://a", {}, "write redis.sentinel://host1,host2/mymaster/0"),
        ("redis+sentinel://a/main/x", {}, "number of the database"),
        ("redis+cluster://a/1", {}, "database 0 only"),
        ("rediss://a?ca=/no/such/file", {}, "can be read"),
        ("rediss://a?ca=/etc/hostname", {}, "TLS files .* cannot be used"),
        (None, {"redis_client": "redis://a"}, "a redis.Redis or redis.RedisCluster"),
        (None, {"redis_client": redis_py.Redis(), "db": 1}, "brings its own db"),
        ("redis://a", {"redis_client": redis_py.Redis()}, "given twice"),
    ],
)
def test_what_cannot_be_used_is_told_at_once(
    url: str | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        connect(url, **options)


# Credentials and rights


APP = (  # what docs/stores/redis.md says is needed
    "app on >se/cret ~{leaderlock:* &{leaderlock:* -@all +eval +evalsha +hget +hset +hmget +exists"
    " +get +set +del +pexpire +pttl +zadd +zrem +zrank +zcard +zrange +zrangebyscore +time"
    " +lastsave +info +publish +subscribe +unsubscribe +ping +select +wait"
)


@pytest.fixture(scope="module")
def guarded() -> Any:
    users = [
        APP,
        "mute on >x ~* resetchannels +@all",
        "blind on >x ~* &* +@all -info",
        "deaf on >x ~* &* +@all -subscribe",
        "narrow on >x ~other:* &* +@all",
    ]
    with RedisServer(password="s3cret", users=users) as server:
        yield server


def login_at(server: RedisServer, login: str) -> str:
    return f"redis://{login}@127.0.0.1:{server.port}"


def test_the_rights_that_are_documented_are_enough(guarded: RedisServer) -> None:
    url = login_at(guarded, "app:se%2Fcret")
    with connect(url, ttl=3, quarantine=False) as client:
        first, second = client.elector("e"), client.elector("e")
        with first:
            assert first.wait_elected(20)
            with second:
                eventually(lambda: "{leaderlock:}:wake:" in str(guarded.call("PUBSUB", "CHANNELS")))
                assert first.resign() and second.wait_elected(2)
                assert first.leader()
    backend = backend_at(url, quarantine=True, ttl=0.5)
    eventually(lambda: hasattr(backend.campaign(attempt_at("q")), "token"))
    backend.close()


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ("", "refuses the login"),
        (":hunter2", "refuses the login"),
        ("app:hunter2", "refuses the login"),
        ("nobody:x", "refuses the login"),
        ("mute:x", "refuses: .*(publish|channel)"),
        ("narrow:x", "refuses: .*key"),
    ],
)
def test_wrong_credentials_and_missing_rights_are_refused_at_once(
    guarded: RedisServer, login: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = login_at(guarded, login) if login else f"redis://127.0.0.1:{guarded.port}"
    elector = LeaderElector(url, "refused", ttl=3, quarantine=False)
    with elector, lasts_at_most(2), pytest.raises(BackendRefused, match=message) as caught:
        elector.wait_elected(10)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(elector)
    assert "hunter2" not in shown
    assert not any("refused}:leader" in key for key in keys_of(guarded))


def test_the_quarantine_needs_the_right_to_ask_for_the_age_of_the_server(
    guarded: RedisServer,
) -> None:
    """A server that does not tell its age may have forgotten a leader: no guess is made."""
    blind = backend_at(login_at(guarded, "blind:x"), quarantine=True)
    with pytest.raises(BackendRefused, match="may not run INFO.*quarantine=false"):
        blind.campaign(attempt_at("blind"))
    blind.close()
    blind = backend_at(login_at(guarded, "blind:x"))
    assert win(blind, attempt_at("blind"))
    blind.close()


def test_who_may_not_look_at_the_replicas_has_them_confirm_all_the_same(
    guarded: RedisServer,
) -> None:
    blind = backend_at(login_at(guarded, "blind:x"), wait=1)
    with pytest.raises(BackendUnavailable, match="0 of wait_replicas=1 replicas confirmed"):
        blind.campaign(attempt_at("unconfirmed"))
    assert "{leaderlock:unconfirmed}:leader" not in keys_of(guarded)
    blind.close()


def test_who_may_not_listen_waits_for_the_end_of_the_lease_and_is_told(
    guarded: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = login_at(guarded, "deaf:x")
    with connect(url, ttl=1.5, quarantine=False) as client:
        first, second = client.elector("deaf"), client.elector("deaf")
        with first:
            assert first.wait_elected(20)
            with second:
                eventually(lambda: second._candidate.answered)
                first.stop()
                assert second.wait_elected(10)
    warnings = [r for r in caplog.records if "redis_wakes_failing" in r.getMessage()]
    assert len(warnings) == 1, "told once, not at every try"


def test_a_password_alone_logs_in() -> None:
    with RedisServer(password="p@ss/word") as server:
        backend = backend_at(server.url)
        assert win(backend, attempt_at())
        backend.close()


def test_a_server_that_may_evict_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(settings={"maxmemory-policy": "allkeys-lru"}) as server:
        backend = backend_at(server.url)
        win(backend, attempt_at())
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        win(backend, attempt_at())
        backend.close()
    warnings = [r for r in caplog.records if "redis_may_evict" in r.getMessage()]
    assert len(warnings) == 1 and "allkeys-lru" in warnings[0].getMessage()
    assert warnings[0].levelno == logging.WARNING


# Sockets, databases and TLS


def test_a_reply_that_comes_in_drips_does_not_outlast_the_time(own_redis: RedisServer) -> None:
    """Each byte is in time: a timeout of the socket would begin anew with each."""
    with dripping(own_redis, pause=0.05) as port:
        backend = backend_at(own_redis.url_at(port), timeout=0.5)
        with lasts_at_most(0.5), pytest.raises(BackendUnavailable):
            backend.leader("e")
        backend.close()


def test_the_second_address_of_a_host_has_its_turn(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one does not even refuse."""
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # from then on the system leaves it unanswered
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        proxy = stack.enter_context(Proxy(own_redis.port))
        proxy.delay(0.01)  # or it would be there at once, also with no time left
        addresses = [silent.getsockname(), ("127.0.0.1", proxy.port)]
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 0, "", a) for a in addresses],
        )
        backend = backend_at(f"redis://two-addresses:{own_redis.port}", timeout=1.0)
        with lasts_at_most(1.0):
            assert win(backend, attempt_at())
        backend.close()


def test_a_unix_socket() -> None:
    with RedisServer(unix_socket=True) as server:
        backend = backend_at(f"redis+unix://{server.socket_path}?db=0")
        assert win(backend, attempt_at())
        assert keys_of(server) != []
        backend.close()
        server.kill()
        with pytest.raises(BackendUnavailable, match="socket"):
            backend_at(f"redis+unix://{server.socket_path}").leader("e")


def test_databases_are_worlds_of_their_own(redis: Shared) -> None:
    one, two = backend_at(redis.url + "/1"), backend_at(redis.url + "/2")
    for backend in one, two:
        assert win(backend, attempt_at("databases"))
    for backend in one, two:
        backend.release(attempt_at("databases"))
        backend.close()


@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
def test_tls_with_a_clients_certificate(
    kind: type[RedisServer], certificates: Certificates, other_certificates: Certificates
) -> None:
    with kind(certificates=certificates) as server:
        ours = {
            "ca": str(certificates.ca),
            "cert": str(certificates.client_cert),
            "key": str(certificates.client_key),
        }
        with LeaderElector(server.url, "e", ttl=3, quarantine=False, **ours) as elector:  # type: ignore[arg-type]
            assert elector.wait_elected(20)
        unverified = {name: ours[name] for name in ("cert", "key")} | {"verify": "false"}
        with LeaderElector(server.url, "e", ttl=3, quarantine=False, **unverified) as elector:  # type: ignore[arg-type]
            assert elector.wait_elected(20)
        for wrong in (
            ours | {"ca": str(other_certificates.ca)},
            {name: ours[name] for name in ("cert", "key")},
        ):
            elector = LeaderElector(server.url, "e", ttl=3, **wrong)  # type: ignore[arg-type]
            with elector, lasts_at_most(2), pytest.raises(BackendRefused, match="no TLS with"):
                elector.wait_elected(10)
        nobody = LeaderElector(server.url, "e", ttl=3, ca=ours["ca"])
        with nobody, pytest.raises(BackendRefused, match="no TLS with"):
            nobody.wait_elected(10)


def test_a_wake_is_heard_over_tls(certificates: Certificates) -> None:
    """What is encrypted a selector cannot see into: part of a record is no message."""
    keys = {
        "ca": str(certificates.ca),
        "cert": str(certificates.client_cert),
        "key": str(certificates.client_key),
    }
    with RedisServer(certificates=certificates) as server:
        first, second = (
            LeaderElector(server.url, "e", ttl=30, quarantine=False, **keys)  # type: ignore[arg-type]
            for _ in range(2)
        )
        with first:
            assert first.wait_elected(20)
            with second:
                for leader, other in (first, second), (second, first), (first, second):
                    assert leader.resign()
                    assert other.wait_elected(5), "nobody asks again before the lease would end"


def test_a_missing_certificate_is_noticed_also_by_a_client_that_is_slow(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes when the server has refused it already, and sees no more than an end."""
    send = SSLConnection.send_packed_command

    def send_late(line: SSLConnection, *arguments: Any, **options: Any) -> None:
        time.sleep(0.2)
        send(line, *arguments, **options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(SSLConnection, "send_packed_command", send_late)
    with RedisServer(certificates=certificates) as server:
        elector = LeaderElector(server.url, "e", ttl=5, ca=str(certificates.ca))
        with elector, pytest.raises(BackendRefused, match="no TLS with"):
            elector.wait_elected(10)


def test_a_certificate_for_another_name_is_refused(certificates: Certificates) -> None:
    with RedisServer(certificates=certificates, settings={"bind": "127.0.0.1 127.0.0.2"}) as server:
        url = f"rediss://127.0.0.2:{server.port}"
        backend = LeaderElector(
            url,
            "e",
            ttl=3,
            ca=str(certificates.ca),
            cert=str(certificates.client_cert),
            key=str(certificates.client_key),
        )
        with backend, pytest.raises(BackendRefused, match="no TLS with"):
            backend.wait_elected(10)


def test_a_cluster_with_tls(certificates: Certificates) -> None:
    class TLSServer(RedisServer):
        def __init__(self, settings: dict[str, str]) -> None:
            super().__init__(certificates=certificates, settings=settings | {"tls-cluster": "yes"})

    with RedisCluster(TLSServer) as cluster:
        files = {
            "ca": str(certificates.ca),
            "cert": str(certificates.client_cert),
            "key": str(certificates.client_key),
        }
        url = cluster.url.replace("redis+", "rediss+")
        with connect(url, ttl=3, quarantine=False, **files) as client:
            electors = [client.elector(f"e{number}") for number in range(5)]
            for elector in electors:
                elector.start()
            assert all(elector.wait_elected(20) for elector in electors)


# Clients of the program's own


def test_a_ready_client_lends_its_settings_and_is_left_alone() -> None:
    users = ["app on >secret ~* &* +@all"]
    with RedisServer(users=users, unix_socket=True) as server:
        theirs = redis_py.Redis(
            host="127.0.0.1", port=server.port, db=4, username="app", password="secret",
            decode_responses=True, single_connection_client=True, health_check_interval=1,
        )  # fmt: skip
        by_socket = redis_py.Redis(
            connection_pool=redis_py.ConnectionPool(
                connection_class=UnixDomainSocketConnection, path=str(server.socket_path), db=4
            )
        )
        for client in theirs, by_socket:
            before = repr(client.connection_pool.connection_kwargs)
            with connect(redis_client=client, ttl=3, quarantine=False) as ours:
                elector = ours.elector("e")
                with elector:
                    assert elector.wait_elected(20)
                    assert client.exists("{leaderlock:e}:leader"), "it is in another database"
                    assert "secret" not in repr((ours, elector))
            assert repr(client.connection_pool.connection_kwargs) == before
            assert client.ping()
            client.close()


def test_a_ready_client_from_a_url_with_tls(certificates: Certificates) -> None:
    with RedisServer(certificates=certificates) as server:
        client = redis_py.Redis.from_url(
            server.url,
            ssl_ca_certs=str(certificates.ca),
            ssl_certfile=str(certificates.client_cert),
            ssl_keyfile=str(certificates.client_key),
        )
        elector = LeaderElector(None, "e", redis_client=client, ttl=3, quarantine=False)
        with elector:
            assert elector.wait_elected(20)
        assert client.ping()
        client.close()
