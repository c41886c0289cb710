"""Servers with passwords and TLS: who is let in, and who is not."""

from __future__ import annotations

import socket

import pytest
from kazoo.exceptions import SessionClosedRequireSaslError

from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.etcd import EtcdServer, encode
from leaderlock.testing.servers.process import NotReady
from leaderlock.testing.servers.redis import RedisServer, ValkeyServer
from leaderlock.testing.servers.web import Refusal, call
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from tests.servers.test_servers import with_kazoo

WEB_SERVERS: list[type[EtcdServer] | type[ConsulServer]] = [EtcdServer, ConsulServer]


def test_redis_asks_for_a_password() -> None:
    with RedisServer(password="p@ss/word") as server:
        assert server.url == f"redis://:p%40ss%2Fword@127.0.0.1:{server.port}"
        server.password = "wrong"
        with pytest.raises(NotReady, match="WRONGPASS"):
            server.probe()


def test_redis_has_users_with_rights_of_their_own() -> None:
    with RedisServer(users=["app on >secret ~app:* &* +@all -@dangerous"]) as server:
        assert "app" in str(server.call("ACL", "LIST"))
        assert server.call("ACL", "DRYRUN", "app", "SET", "app:1", "x") == "OK"
        assert server.call("ACL", "DRYRUN", "app", "SET", "other", "x") != "OK"


def test_redis_listens_on_a_unix_socket() -> None:
    with RedisServer(unix_socket=True) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.socket_path))
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"


@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
def test_redis_speaks_tls(
    kind: type[RedisServer], certificates: Certificates, other_certificates: Certificates
) -> None:
    with kind(certificates=certificates) as server:
        assert server.url.startswith("rediss://")
        server.certificates = other_certificates
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            server.probe()


@pytest.mark.parametrize("kind", WEB_SERVERS)
def test_etcd_and_consul_speak_tls_with_client_certificates(
    kind: type[EtcdServer] | type[ConsulServer], certificates: Certificates
) -> None:
    with kind(certificates=certificates, client_certificates=True) as server:
        assert server.url.partition("://")[0] in ("etcds", "consuls")
        with pytest.raises(OSError):
            call(server.port, "GET", "/", tls=certificates.context(with_client=False))


def test_etcd_asks_for_a_login_also_after_a_restart() -> None:
    with EtcdServer(login=("app", "p:ss"), token_ttl=1) as server:
        assert server.url == f"etcd://app:p%3Ass@127.0.0.1:{server.port}"
        server.restart()
        login = {"name": "app", "password": "p:ss"}
        token = call(server.port, "POST", "/v3/auth/authenticate", login)["token"]
        write = {"key": encode("k"), "value": encode("v")}
        call(server.port, "POST", "/v3/kv/put", write, headers={"Authorization": token})
        with pytest.raises(Refusal, match="user name is empty"):
            call(server.port, "POST", "/v3/kv/put", write)
        login["password"] = "wrong"
        with pytest.raises(Refusal, match="invalid user ID or password"):
            call(server.port, "POST", "/v3/auth/authenticate", login)


def test_consul_asks_for_a_token_and_has_sessions_of_a_second() -> None:
    with ConsulServer(acl=True) as server:
        server.call("PUT", "/v1/session/create", {"TTL": "1s", "NodeChecks": []})
        token = server.make_token('key_prefix "app/" { policy = "write" }')
        call(server.port, "PUT", "/v1/kv/app/1", "x", headers={"X-Consul-Token": token})
        for path, secret in ("/v1/kv/other", token), ("/v1/kv/app/1", ""):
            with pytest.raises(Refusal, match="Permission denied"):
                call(server.port, "PUT", path, "x", headers={"X-Consul-Token": secret})


def test_zookeeper_speaks_tls_with_client_certificates(certificates: Certificates) -> None:
    with ZooKeeperServer(certificates=certificates, client_certificates=True) as server:
        files = {
            "ca": str(certificates.ca),
            "certfile": str(certificates.client_cert),
            "keyfile": str(certificates.client_key),
        }
        assert with_kazoo(server, lambda client: client.exists("/"), use_ssl=True, **files)

        context = certificates.context(with_client=False)
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        with plain, pytest.raises(OSError):
            # With TLS 1.3, the refusal comes after the handshake.
            connection = context.wrap_socket(plain, server_hostname="localhost")
            with connection:
                connection.sendall(b"srvr")
                assert not connection.recv(100)
                raise ConnectionError("the server closed the connection")


def test_zookeeper_asks_for_a_login() -> None:
    with ZooKeeperServer(logins={"app": "secret"}) as server:
        sasl = {"mechanism": "DIGEST-MD5", "username": "app", "password": "secret"}
        assert with_kazoo(server, lambda client: client.exists("/"), sasl_options=sasl)
        with pytest.raises(SessionClosedRequireSaslError):
            with_kazoo(server, lambda client: client.exists("/"))


def test_redis_takes_more_settings() -> None:
    policy = ["maxmemory-policy", "allkeys-lru"]
    with RedisServer(settings={policy[0]: policy[1]}) as server:
        assert server.call("CONFIG", "GET", policy[0]) == policy
