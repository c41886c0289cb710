"""zookeeper:// and zookeepers://: hosts, logins, TLS, ready clients; who is let in and who not."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kazoo.client import KazooClient

from leaderlock import BackendRefused, BackendUnavailable, ConfigurationError, connect
from leaderlock.backends.base import Attempt, Granted, Settings, Waiting
from leaderlock.backends.zookeeper import ZooKeeperBackend
from leaderlock.backends.zookeeper.target import target_of
from leaderlock.config import resolve
from leaderlock.testing.conformance.tools import until
from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.programs import Ports
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from tests.backends.tools import no_descriptors
from tests.conformance.zookeeper_harness import operate
from tests.servers.external import Shared

SECRET = "s3cr3t-p@ss"
AT_ONCE = 3.0  # seconds on a busy machine; the request_timeout is longer
PATIENT = 8.0


@pytest.fixture(scope="module")
def port(zookeeper: Shared) -> int:
    return int(zookeeper.url.rpartition(":")[2])


@contextlib.contextmanager
def open_backend(url: str | None = None, **keywords: Any) -> Iterator[ZooKeeperBackend]:
    request_timeout = keywords.pop("request_timeout", PATIENT)
    config = resolve({"url": url, "ttl": 30.0, **keywords}, election_required=False)
    settings = Settings(ttl=30.0, request_timeout=request_timeout, namespace=config.namespace)
    backend = config.backend.from_url(config.url, settings)
    assert isinstance(backend, ZooKeeperBackend)
    try:
        yield backend
    finally:
        backend.close()


def new_attempt(election: str | None = None) -> Attempt:
    return Attempt(election or uuid.uuid4().hex, uuid.uuid4().hex, b"payload", lambda: None)


def lead(backend: ZooKeeperBackend, election: str | None = None) -> Attempt:
    attempt = new_attempt(election)
    answer = backend.campaign(attempt)
    assert isinstance(answer, Granted), answer
    assert backend.leader(attempt.election).token == answer.token
    return attempt


def must_be_refused(backend: ZooKeeperBackend, match: str, election: str = "x") -> None:
    began = time.monotonic()
    with pytest.raises(BackendRefused, match=match) as caught:
        backend.campaign(new_attempt(election))
    assert time.monotonic() - began < AT_ONCE, "not at once"
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown.replace(__file__, "")


def is_refused(backend: ZooKeeperBackend) -> bool:
    try:
        backend.campaign(new_attempt())
    except BackendRefused:
        return True
    except BackendUnavailable:  # the server has hung up, which kazoo sees a little later
        return False
    raise AssertionError("let in")


# URLs


@pytest.mark.parametrize(
    ("url", "keywords", "match"),
    [
        ("zookeeper://", {}, "names no host"),
        ("zookeeper:///chroot", {}, "names no host"),
        ("zookeeper://h:0", {}, "is not a host"),
        ("zookeeper://h/a//b", {}, "not that of a node"),
        ("zookeeper://h/a/../b", {}, "not that of a node"),
        ("zookeeper://user@h", {}, "both a user name and a password"),
        ("zookeeper://:x@h", {}, "both a user name and a password"),
        ("zookeeper://a%3Ab:x@h", {}, "no ':'"),
        ("zookeeper://h?sasl=digest-md5", {}, "needs a user name"),
        ("zookeeper://u:p@h?sasl=plain", {}, "must be digest-md5"),
        ("zookeeper://h?acl=creator", {}, "needs a login"),
        ("zookeeper://u:p@h?acl=none", {}, "creator or readable"),
        ("zookeeper://h?ca=/etc/hostname", {}, "is not encrypted"),
        ("zookeepers://h?ca=/etc/hostname", {}, "cannot be used"),
        ("zookeeper://h?frobnicate=1", {}, "unknown"),
        ("zookeeper://h", {"namespace": "zookeeper"}, "ZooKeeper's own"),
        (None, {"kazoo_client": object()}, "KazooClient"),
        (None, {"kazoo_client": KazooClient(), "username": "x"}, "says it already"),
    ],
)
def test_what_cannot_be_used_is_told_at_once(
    url: str | None, keywords: Mapping[str, Any], match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        config = resolve({"url": url, **keywords}, election_required=False)
        settings = Settings(ttl=5.0, request_timeout=1.0, namespace=config.namespace)
        config.backend.from_url(config.url, settings)


def test_everything_can_be_given_beside_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADERLOCK_PASSWORD", SECRET)
    config = resolve(
        {"url": "zookeeper://", "hosts": ["a", "[::1]:99"], "username": "app", "acl": "readable"},
        election_required=False,
    )
    target = target_of(config.url)
    assert target.hosts == (("a", 2181), ("::1", 99))
    assert target.auth == {("digest", f"app:{SECRET}")}
    assert [acl.acl_list for acl in target.acl] == [["ALL"], ["READ"]]
    assert SECRET not in f"{target!r} {config!r} {config.url}"


def test_everything_lies_below_the_path_which_is_made(port: int) -> None:
    root = f"/{uuid.uuid4().hex}/b"
    with open_backend(f"zookeeper://127.0.0.1:{port}{root}/") as backend:
        assert backend.leader("x").payload is None
        assert not operate(port, lambda c: c.exists(root)), "reading makes nothing"
        attempt = lead(backend)
        assert operate(port, lambda c: c.get_children(f"{root}/leaderlock/{attempt.election}"))


def test_a_host_that_is_away_is_passed_over(port: int) -> None:
    ports = Ports()
    dead = ports.take()
    hosts = f"127.0.0.1:{dead},127.0.0.1:{port},nowhere.invalid:1"
    for _ in range(3):  # their order is random
        with open_backend(f"zookeeper://{hosts}") as backend:
            lead(backend)
    with (
        open_backend(f"zookeeper://127.0.0.1:{dead}", request_timeout=0.5) as backend,
        pytest.raises(BackendUnavailable, match="Connection refused"),
    ):
        backend.leader("x")
    ports.release()


# Logins


def test_a_name_that_nobody_knows_is_told() -> None:
    with open_backend("zookeeper://nobody.invalid", request_timeout=1.0) as backend:
        until(
            lambda: "no address is known for the name" in silence_of(backend), PATIENT, "not told"
        )


def silence_of(backend: ZooKeeperBackend) -> str:
    with pytest.raises(BackendUnavailable) as raised:
        backend.leader("e")
    return str(raised.value)


def test_no_descriptors_left_is_an_outage_and_leaves_no_threads(port: int) -> None:
    """It ends by itself; meanwhile every try would leave two."""
    with open_backend(f"zookeeper://127.0.0.1:{port}") as backend:
        before = set(threading.enumerate())
        with no_descriptors():
            for _ in range(3):
                assert "can be opened" in silence_of(backend)
        assert set(threading.enumerate()) <= before  # what closes an earlier test's may have ended
        assert backend.leader("e").payload is None


def test_what_one_login_made_is_closed_to_the_others(port: int) -> None:
    root = uuid.uuid4().hex
    url = f"zookeeper://app:{SECRET.replace('@', '%40')}@127.0.0.1:{port}/{root}"
    others = (f"zookeeper://127.0.0.1:{port}/{root}", f"zookeeper://app:no@127.0.0.1:{port}/{root}")
    with open_backend(url) as backend, open_backend(url) as second:
        attempt = lead(backend)
        assert isinstance(second.campaign(new_attempt(attempt.election)), Waiting)
        for other in others:
            with open_backend(other) as foreign:
                must_be_refused(foreign, "no right to these nodes", attempt.election)
                with pytest.raises(BackendRefused):
                    foreign.leader(attempt.election)
        assert backend.renew([attempt]).outcomes[attempt.attempt_id].name == "RENEWED"


def test_readable_nodes_can_be_observed_without_a_login(port: int) -> None:
    root = uuid.uuid4().hex
    url = f"zookeeper://app:{SECRET.replace('@', '%40')}@127.0.0.1:{port}/{root}?acl=readable"
    with open_backend(url) as backend, open_backend(f"zookeeper://127.0.0.1:{port}/{root}") as eye:
        attempt = lead(backend)
        assert eye.leader(attempt.election).payload == b"payload"
        must_be_refused(eye, "no right to these nodes", attempt.election)


def test_open_nodes_are_open_to_another_login(port: int) -> None:
    root = uuid.uuid4().hex
    with open_backend(f"zookeeper://app:x@127.0.0.1:{port}/{root}?acl=open") as backend:
        attempt = lead(backend)
        with open_backend(f"zookeeper://127.0.0.1:{port}/{root}") as other:
            assert isinstance(other.campaign(new_attempt(attempt.election)), Waiting)


def test_sasl_logs_in_and_tells_at_once_when_it_cannot(caplog: pytest.LogCaptureFixture) -> None:
    with ZooKeeperServer(logins={"app": SECRET}) as server:
        host = f"127.0.0.1:{server.port}"
        with caplog.at_level(logging.NOTSET):
            good = {"username": "app", "password": SECRET, "sasl": "digest-md5"}
            with open_backend(f"zookeeper://{host}", **good) as backend:
                lead(backend)
            threads = threading.active_count()
            wrong = [
                ({**good, "password": f"not-{SECRET}"}, "refuses the login"),
                ({"username": "app", "password": SECRET}, "SASL"),
                ({}, "SASL"),
            ]
            for keywords, match in wrong:
                with open_backend(f"zookeeper://{host}", **keywords) as backend:
                    must_be_refused(backend, match)
                    until(lambda: is_refused(backend), AT_ONCE, "not refused a second time")
            until(lambda: threading.active_count() <= threads, 10.0, "kazoo's threads are left")
        assert SECRET not in caplog.text


# TLS


def test_tls_with_client_certificates(
    certificates: Certificates, other_certificates: Certificates
) -> None:
    with ZooKeeperServer(certificates=certificates, client_certificates=True) as server:
        url = f"zookeepers://127.0.0.1:{server.port}"
        files = {
            "ca": str(certificates.ca),
            "cert": str(certificates.client_cert),
            "key": str(certificates.client_key),
        }
        with open_backend(url, **files) as backend:
            lead(backend)
        with open_backend(f"zookeepers://localhost:{server.port}", **files) as backend:
            lead(backend)
        with open_backend(url, **{**files, "ca": str(other_certificates.ca)}) as backend:
            must_be_refused(backend, "CERTIFICATE_VERIFY_FAILED")
        with open_backend(
            url, **{**files, "ca": str(other_certificates.ca), "verify": False}
        ) as backend:
            lead(backend)
        with open_backend(url, ca=files["ca"]) as backend:
            must_be_refused(backend, "alert handshake failure")
        plain = f"zookeepers://127.0.0.1:{server.plain_port}"
        with (
            open_backend(plain, request_timeout=1.0, **files) as backend,
            # The server hangs up, as one does that is being stopped.
            pytest.raises(BackendUnavailable, match="EOF"),
        ):
            backend.campaign(new_attempt())
    gc.collect()  # a socket that was left open is an error here


def test_a_certificate_for_another_name_is_refused(certificates: Certificates) -> None:
    with ZooKeeperServer(certificates=certificates) as server:
        # 127.0.0.2 is the same machine; the certificate knows 127.0.0.1 only.
        server_at = f"zookeepers://127.0.0.2:{server.port}"
        with (
            Forwarder(server.port) as port,
            open_backend(
                server_at.replace(str(server.port), str(port)), ca=str(certificates.ca)
            ) as backend,
        ):
            must_be_refused(backend, "CERTIFICATE_VERIFY_FAILED")


class Forwarder:
    """Listens on 127.0.0.2."""

    def __init__(self, target: int) -> None:
        import socket

        self._target = target
        self._listener = socket.create_server(("127.0.0.2", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        import socket

        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", self._target)) as server:
                client.settimeout(2)
                server.settimeout(2)
                with contextlib.suppress(OSError):
                    server.sendall(client.recv(65536))
                    client.sendall(server.recv(65536))
                    client.recv(65536)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        import socket

        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


# Ready clients


def test_a_ready_client_is_copied_and_left_alone(port: int) -> None:
    root = uuid.uuid4().hex
    operate(port, lambda c: c.ensure_path(f"/{root}"))
    theirs = KazooClient(f"127.0.0.1:{port}/{root}", auth_data=[("digest", f"app:{SECRET}")])
    theirs.start()
    try:
        with connect(kazoo_client=theirs, ttl=5.0) as client, client.elector("x") as elector:
            assert elector.wait_elected(timeout=10)
            (node,) = theirs.get_children("/leaderlock/x")
            acls, stat = theirs.get_acls(f"/leaderlock/x/{node}")
            assert stat.ephemeralOwner != theirs.client_id[0]
            assert [acl.id.scheme for acl in acls] == ["digest"]
            assert SECRET not in f"{client.config!r}"
        assert theirs.connected
        assert not theirs.get_children("/leaderlock/x")
        assert not theirs.state_listeners
    finally:
        theirs.stop()
        theirs.close()


def test_a_ready_client_need_not_be_started_and_brings_its_tls(certificates: Certificates) -> None:
    with ZooKeeperServer(certificates=certificates, client_certificates=True) as server:
        theirs = KazooClient(
            f"127.0.0.1:{server.port}",
            use_ssl=True,
            ca=str(certificates.ca),
            certfile=str(certificates.client_cert),
            keyfile=str(certificates.client_key),
        )
        with open_backend(kazoo_client=theirs) as backend:
            lead(backend)
        assert not theirs.connected


def test_a_ready_client_brings_its_sasl_login() -> None:
    with ZooKeeperServer(logins={"app": SECRET}) as server:
        sasl = {"mechanism": "DIGEST-MD5", "username": "app", "password": SECRET}
        theirs = KazooClient(f"127.0.0.1:{server.port}", sasl_options=sasl)
        with open_backend(kazoo_client=theirs) as backend:
            lead(backend)
        assert "service" not in sasl
