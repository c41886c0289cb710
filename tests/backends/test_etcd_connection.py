"""etcd:// and how it connects: URLs, TLS, logins, a ready client, secrets."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import etcd3
import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    ConfigurationError,
    connect,
)
from leaderlock.backends.base import Granted, Renewal, Settings
from leaderlock.backends.etcd import EtcdBackend
from leaderlock.backends.etcd.target import target_of
from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.etcd import EtcdServer, encode
from leaderlock.url import StoreURL
from tests.backends.etcd_tools import backend_at, keys_of, leases_of, queue_of
from tests.backends.tools import attempt_at, win
from tests.elector.tools import Record, eventually, lasts_at_most

USER, PASSWORD = "someone", "pass word/@:ü"


def connected(url: str = "", **settings: Any) -> EtcdBackend:
    """A backend made as `connect` does it."""
    client = connect(url or None, **{"ttl": 30, "request_timeout": 2, **settings})
    config = client.config
    timing = config.timing
    backend = config.backend.from_url(
        config.url,
        Settings(ttl=timing.ttl, request_timeout=timing.request_timeout),
    )
    assert isinstance(backend, EtcdBackend)
    return backend


# URLs


@pytest.mark.parametrize(
    ("url", "settings", "complaint"),
    [
        ("etcd://", {}, "names no host"),
        ("etcd://h/path", {}, "no databases"),
        ("etcd://h:99999", {}, "not a host"),
        ("etcd://user@h", {}, "both"),
        ("etcd://h", {"password": "x"}, "both"),
        ("etcd://h?ca=/dev/null", {}, "not encrypted"),
        ("etcds://h?verify=false", {}, "gRPC accepts no certificate unseen"),
        ("etcds://h?ca=/dev/null", {}, "cannot be used"),
        ("etcd://h?timeout=3", {}, "timeout"),
        ("etcd://h", {"ttl": 1}, "2 to"),
        ("etcd://h", {"etcd_client": "no client"}, "etcd_client"),
        ("", {"etcd_client": object()}, "etcd3"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_connected(
    url: str, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        connect(url or None, **settings)


def test_hosts_are_taken_from_the_url_or_beside_it() -> None:
    def hosts(text: str) -> tuple[tuple[str, int], ...]:
        return target_of(StoreURL.parse(text)).hosts

    assert hosts("etcd://a,b:1,[::1]:3") == (("a", 2379), ("b", 1), ("::1", 3))
    backend = connected("etcd://a:1", hosts=["b:2", "c"])
    assert backend._connection.target.hosts == (("b", 2), ("c", 2379))


def test_the_environments_proxy_is_not_used(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "http_proxy", "https_proxy", "grpc_proxy":
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    backend = backend_at(own_etcd.url)
    assert win(backend, attempt_at())
    backend.close()


# TLS


def test_tls_with_a_client_certificate(certificates: Certificates) -> None:
    with EtcdServer(certificates=certificates, client_certificates=True) as server:
        own = {"cert": str(certificates.client_cert), "key": str(certificates.client_key)}
        backend = connected(server.url, ca=str(certificates.ca), **own)
        assert win(backend, attempt_at())
        assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}
        backend.close()
        without = connected(server.url, ca=str(certificates.ca))
        with lasts_at_most(2.0), pytest.raises(BackendRefused, match="TLS"):
            without.campaign(attempt_at())
        without.close()


def test_a_server_that_is_not_trusted_is_refused_at_once(
    certificates: Certificates, other_certificates: Certificates
) -> None:
    with EtcdServer(certificates=certificates) as server:
        for settings in {"ca": str(other_certificates.ca)}, {}:
            backend = connected(server.url, **settings)
            with lasts_at_most(2.0), pytest.raises(BackendRefused, match="trusted"):
                backend.campaign(attempt_at())
            backend.close()
        both = connected(server.url, ca=str(certificates.ca))
        assert win(both, attempt_at())
        both.close()


def test_plain_and_encrypted_do_not_fit(own_etcd: EtcdServer, certificates: Certificates) -> None:
    backend = connected(own_etcd.url.replace("etcd:", "etcds:"), ca=str(certificates.ca))
    # It hangs up, as a server does that is being restarted.
    with lasts_at_most(2.0), pytest.raises(BackendUnavailable, match="Handshake"):
        backend.campaign(attempt_at())
    backend.close()
    with EtcdServer(certificates=certificates) as server:
        backend = backend_at(server.url.replace("etcds:", "etcd:"))
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        backend.close()


def test_files_that_are_just_being_replaced_are_no_refusal(
    certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Path(certificates.ca).read_bytes())
    target = connected(f"etcds://127.0.0.1:1?ca={ca}")._connection.target
    assert target.tls and target.tls.ca == str(ca)
    ca.unlink()
    assert target.objection(("127.0.0.1", 1), 1.0) is None


def test_a_tls_server_that_is_down_is_unavailable(certificates: Certificates) -> None:
    with EtcdServer(certificates=certificates) as server:
        backend = connected(server.url, ca=str(certificates.ca))
        assert win(backend, attempt_at())
        server.kill()
        with pytest.raises(BackendUnavailable):
            backend.leader("e")
        backend.close()


# Logins


def test_login(caplog: pytest.LogCaptureFixture) -> None:
    with EtcdServer(login=(USER, PASSWORD)) as server, caplog.at_level(logging.DEBUG):
        backend = backend_at(server.url)
        assert win(backend, attempt_at())
        backend.close()
        assert keys_of(server) == []
        plain = f"etcd://127.0.0.1:{server.port}"
        for url, settings, complaint in (
            (plain, {}, "asks for a login"),
            (plain, {"username": USER, "password": "wr0ng"}, "wrong"),
            (plain, {"username": "nobody", "password": PASSWORD}, "wrong"),
        ):
            refused = connected(url, **settings)
            with lasts_at_most(1.0), pytest.raises(BackendRefused, match=complaint) as error:
                refused.campaign(attempt_at())
            shown = repr(error.value) + repr(error.value.__cause__) + repr(error.value.__context__)
            assert "wr0ng" not in shown and PASSWORD not in shown
            with pytest.raises(BackendRefused):
                refused.leader("e")
            refused.close()
        given = connected(plain, username=USER, password=PASSWORD)
        assert win(given, attempt_at())
        given.close()
        with connect(server.url, ttl=6) as client, client.elector("e") as elector:
            assert elector.wait_elected(20)
            shown = repr(elector) + repr(client) + repr(client.config) + str(vars(backend))
        shown += str(vars(backend._connection)) + caplog.text
        assert PASSWORD not in shown and "pass%20word" not in shown


def test_a_user_without_the_right_is_refused() -> None:
    with EtcdServer(login=(USER, PASSWORD)) as server:
        prefix = {"key": encode("allowed/"), "range_end": encode("allowed0")}
        for path, body in (
            ("user/add", {"name": "guest", "password": "guest"}),
            ("role/add", {"name": "some"}),
            ("role/grant", {"name": "some", "perm": {"permType": "READWRITE", **prefix}}),
            ("user/grant", {"user": "guest", "role": "some"}),
        ):
            server.call(f"auth/{path}", body)
        url = f"etcd://guest:guest@127.0.0.1:{server.port}"
        backend = backend_at(url)
        with pytest.raises(BackendRefused, match="readwrite"):
            backend.campaign(attempt_at())
        assert not backend._queue._unanswered, "one more for every attempt"
        with pytest.raises(BackendRefused, match="readwrite"):
            backend.leader("e")
        backend.close()
        # The right to the namespace is all that is needed.
        with connect(url, ttl=6, namespace="allowed") as client:
            record = Record()
            one, other = (client.elector("e", on_elected=record.elected) for _ in range(2))
            with one, other:
                record.wait("elected")
                (one if one.is_leader else other).resign()
                record.wait("elected", 2)
                assert other.leader() is not None
        assert leases_of(server) == [], "the lease may not be revoked"


def test_a_token_that_expires_is_renewed_and_its_watches_with_it() -> None:
    """etcd3 keeps the first one; its watches never hear of the end (python-etcd3#1227)."""
    with EtcdServer(login=(USER, PASSWORD), token_ttl=1) as server:
        leader, waiter = backend_at(server.url), backend_at(server.url)
        woken = threading.Event()
        win(leader, attempt_at())
        waiter.campaign(attempt_at(name="b", wake=woken.set))
        eventually(lambda: waiter._watcher._stream is not None)
        time.sleep(3.0)
        assert leader.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}
        # The stream has the old token, under which no watch is made any more.
        waiter.release(attempt_at(name="b"))
        waiter.campaign(attempt_at(name="c", wake=woken.set))
        leader.release(attempt_at())
        assert woken.wait(10), "the watch was refused, and nobody told"
        assert win(waiter, attempt_at(name="c"))
        for backend in leader, waiter:
            backend.close()


def test_an_observer_logs_in_again_too() -> None:
    """It sends no requests whose refusal would tell that the token is over."""
    with EtcdServer(login=(USER, PASSWORD), token_ttl=1) as server:
        observer, first, second = backend_at(server.url), threading.Event(), threading.Event()
        observer.watch("e", first.set)
        assert first.wait(10)
        time.sleep(3.0)
        observer.watch("f", second.set)
        assert second.wait(10)
        observer.close()


def test_a_change_of_rights_is_survived() -> None:
    """Tokens of before are refused then: "revision of auth store is old"."""
    with EtcdServer(login=(USER, PASSWORD)) as server:
        backend = backend_at(server.url)
        win(backend, attempt_at())
        server.call("auth/role/add", {"name": "news"})
        assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}
        backend.close()


def test_a_login_that_nobody_asks_for_does_no_harm(own_etcd: EtcdServer) -> None:
    """As when passwords are about to be introduced."""
    backend = connected(own_etcd.url, username=USER, password=PASSWORD)
    assert win(backend, attempt_at())
    own_etcd._ask_for_login(USER, PASSWORD)
    eventually(lambda: _renewed(backend))
    backend.close()
    assert queue_of(own_etcd) == []


def _renewed(backend: EtcdBackend) -> bool:
    return backend.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}


# A ready client


def test_a_ready_client_is_used_and_left_alone(own_etcd: EtcdServer) -> None:
    with etcd3.client(port=own_etcd.port) as theirs:
        with connect(etcd_client=theirs, ttl=6) as client, client.elector("e") as elector:
            assert elector.wait_elected(20)
            assert theirs.get(queue_of(own_etcd)[0])[0] is not None
        theirs.put("theirs", "still open")
        assert theirs.get("theirs")[0] == b"still open"
        with pytest.raises(ConfigurationError, match="brings its own ca"):
            connect(etcd_client=theirs, ca=__file__)


def test_a_ready_client_with_tls_and_a_login(certificates: Certificates) -> None:
    with EtcdServer(certificates=certificates, login=(USER, PASSWORD), token_ttl=1) as server:
        ready = {
            "port": server.port,
            "host": "localhost",
            "ca_cert": str(certificates.ca),
            "user": USER,
            "password": PASSWORD,
        }
        with etcd3.client(**ready) as theirs:
            by_token = connected(etcd_client=theirs)
            assert win(by_token, attempt_at())
            time.sleep(3.0)  # the token is over, and etcd3 does not keep the password
            with pytest.raises(BackendRefused, match="username and password"):
                by_token.renew([attempt_at()])
            by_token.close()
            by_login = connected(etcd_client=theirs, username=USER, password=PASSWORD)
            assert isinstance(by_login.campaign(attempt_at("other", "b")), Granted)
            by_login.close()


def test_a_ready_client_with_several_servers(own_etcd: EtcdServer) -> None:
    ends = [
        etcd3.Endpoint(host="127.0.0.1", port=port, secure=False) for port in (1, own_etcd.port)
    ]
    theirs = etcd3.MultiEndpointEtcd3Client(endpoints=ends)
    backend = connected(etcd_client=theirs)
    assert backend._connection.target.hosts == (("127.0.0.1", 1), ("127.0.0.1", own_etcd.port))
    assert win(backend, attempt_at())
    backend.close()
    theirs.close()
