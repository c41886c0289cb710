"""consul://: how it connects, with which credentials, and what it makes of every answer."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import consul
import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    ConfigurationError,
    LeaderElector,
    Timing,
    connect,
)
from leaderlock.backends.base import Renewal
from leaderlock.backends.consul import ConsulBackend
from leaderlock.backends.consul.target import target_of
from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.consul import MASTER_TOKEN, ConsulServer
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.url import StoreURL
from tests.backends.consul_tools import (
    SOON,
    an_attempt,
    backends,
    make_backend,
    must_wait,
    new_election,
    renewal,
    win,
)
from tests.backends.tools import name_has, silent_address
from tests.elector.tools import eventually, lasts_at_most
from tests.servers.external import Shared

ENVIRONMENT = {
    "CONSUL_HTTP_ADDR": "http://192.0.2.1:1",  # nobody's
    "CONSUL_HTTP_TOKEN": "of-the-environment",
    "CONSUL_HTTP_SSL": "true",
    "CONSUL_HTTP_SSL_VERIFY": "false",
    "http_proxy": "http://192.0.2.1:1",
    "https_proxy": "http://192.0.2.1:1",
}


# The URL


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("consul://", {}, "names no host: write consul://host:8500"),
        ("consul://a b", {}, "no spaces"),
        ("consul://h:0", {}, "is not a host"),
        ("consul://user:secret@h", {}, "give its ACL token as token="),
        ("consul://h/some/path", {}, "use namespace="),
        ("consul://h?token=", {}, "token=.* must be a text of visible ASCII"),
        ("consul://h", {"token": "secret\r\nX-Evil: 1"}, "must be a text of visible ASCII"),
        ("consul://h", {"token": "gehe\u00efm"}, "must be a text of visible ASCII"),
        ("consul://h?lock_delay=0", {}, "more than 0 and at most 60 seconds"),
        ("consul://h?lock_delay=61", {}, "more than 0 and at most 60 seconds"),
        ("consul://h?lock_delay=soon", {}, "more than 0 and at most 60 seconds"),
        ("consul://h?lock_delay=5", {}, "lock_delay=5 is too short for ttl=10: .* 6.67 s; raise"),
        ("consul://h?lock_delay=5", {}, r"raise lock_delay, or lower ttl to 7\.5$"),
        ("consul://h?lock_delay=3.33&ttl=5", {}, r" 3\.34 s; .* lower ttl to 4\.99$"),
        ("consul://h?ttl=91", {}, "ttl=91.0 is outside .*: 1 to 90 seconds"),
        ("consul://h?ttl=0.5", {}, "ttl=0.5 is outside .*: 1 to 90 seconds"),
        ("consul://h?ca=/etc/hosts", {}, "not encrypted"),
        ("consuls://h?ca=/etc/hosts", {}, "TLS files"),
        ("consul://h?datacentre=x", {}, "unknown parameter"),
    ],
)
def test_a_wrong_url_is_told_at_once(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        LeaderElector(url, "e", **options)
    assert "secret" not in str(caught.value) and "gehe" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["consul://h?lock_delay=6.67", "consul://h?lock_delay=5&ttl=7.5", "consul://h?ttl=90"],
)
def test_what_the_refusal_of_a_lock_delay_proposes_is_taken(url: str) -> None:
    LeaderElector(url, "e")


def test_a_url_names_hosts_in_turn() -> None:
    address = target_of(StoreURL.parse("consul://a,b:1,[::1]:2"))
    assert address.hosts == (("a", 8500), ("b", 1), ("::1", 2))
    assert address.tls is None and address.token == ""


def test_the_fail_over_bound_counts_the_doubled_ttl_and_the_lock_delay() -> None:
    def bound(url: str, ttl: float) -> Timing:
        return LeaderElector(url, "e", ttl=ttl).timing

    by_default, longer = bound("consul://h", 10), bound("consul://h?lock_delay=45", 10)
    assert by_default.longest_lease == 30.5
    assert longer.longest_lease == 65.5
    assert 30 < by_default.worst_case_failover < 30.5 + 1.25 + 2 * 2.3


def test_a_secret_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    elector = LeaderElector("consul://127.0.0.1:1?token=top-secret", "e")
    backend = make_backend("consul://127.0.0.1:1", token="top-secret")
    with backends(backend), pytest.raises(BackendUnavailable) as caught:
        backend.campaign(an_attempt("e"))
    shown = [repr(elector), repr(backend), repr(caught.value), repr(backend._store._http._target)]
    assert "top-secret" not in "".join([*shown, caplog.text])


# What is sent, and what is made of the answer


class Requests:
    """A server that says what a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[str], tuple[int, str, dict[str, str]]] = lambda path: (200, "", {})
        self.port = 0


@contextmanager
def fake_server() -> Iterator[Requests]:
    told = Requests()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.seen.append((f"{self.command} {self.path}", dict(self.headers)))
            status, body, headers = told.answer(self.path)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_consul(path: str) -> tuple[int, str, dict[str, str]]:
    """A Consul in which every election is free."""
    if path.startswith("/v1/kv/"):
        return 404, "", {"X-Consul-Index": "1"}
    if path.startswith("/v1/session/create"):
        return 200, json.dumps({"ID": "s"}), {}
    if path.startswith("/v1/session/renew"):
        return 200, json.dumps([{"ID": "s"}]), {}
    if path.startswith("/v1/txn?consistent"):
        error = {"OpIndex": 0, "What": 'key "leaderlock/e/leader" doesn\'t exist'}
        return 409, json.dumps({"Results": None, "Errors": [error]}), {}
    if path.startswith("/v1/txn"):
        source = {"Key": "leaderlock/source", "Value": "YQ==", "ModifyIndex": 3, "Flags": 0}
        results = [{"KV": source}, {"KV": {"ModifyIndex": 7}}]
        return 200, json.dumps({"Results": results, "Errors": None}), {}
    return 200, "true", {}


def test_the_token_goes_by_header_and_the_environment_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with fake_server() as server:
        server.answer = as_consul
        backend = make_backend(
            f"consul://127.0.0.1:{server.port}", token="top-secret", datacenter="dc7"
        )
        attempt = an_attempt("e")
        with backends(backend):
            assert win(backend, attempt).token == 7
            backend.renew([attempt])
            backend.release(attempt)
            backend.leader("e")
        paths = {request.split("?")[0].rpartition("/")[0] for request, _ in server.seen}
        assert paths == {
            "GET /v1/kv/leaderlock", "GET /v1/kv/leaderlock/e", "PUT /v1/session", "PUT /v1",
            "PUT /v1/session/renew", "PUT /v1/session/destroy",
        }  # fmt: skip
        for request, headers in server.seen:
            assert headers["X-Consul-Token"] == "top-secret"
            assert "secret" not in request and "dc=dc7" in request
        requests = [request for request, _ in server.seen]
        assert all("consistent=1" in request for request in requests if "GET" in request)
        assert "consistent=1" in next(r for r in reversed(requests) if "txn" in r), "of leader()"


def test_the_token_can_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LEADERLOCK_TOKEN is a fencing token, so the environment needs another way."""
    file = tmp_path / "token"
    file.write_text("top-secret\n", "ascii")
    monkeypatch.setenv("LEADERLOCK_TOKEN_FILE", str(file))
    elector = LeaderElector("consul://h", "e")
    assert target_of(elector._client.config.url).token == "top-secret"
    file.write_text("two\nlines", "ascii")
    for wrong in (file, tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigurationError, match="nothing but a token"):
            LeaderElector("consul://h", "e", token_file=wrong)


def test_without_a_token_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
    with fake_server() as server:
        server.answer = as_consul
        backend = make_backend(f"consul://127.0.0.1:{server.port}")
        with backends(backend):
            win(backend, an_attempt("e"))
        assert not [headers for _, headers in server.seen if "X-Consul-Token" in headers]


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (500, "No cluster leader", BackendUnavailable, "No cluster leader"),
        (500, "rpc error making call: EOF", BackendUnavailable, "EOF"),
        (503, "", BackendUnavailable, "503"),
        (429, "Your IP is issuing too many concurrent connections", BackendUnavailable, "429"),
        (403, "Permission denied", BackendRefused, "refuses requests without a token"),
        (403, "ACL not found", BackendRefused, "ACL not found"),
        (401, "ACL support disabled", BackendRefused, "ACL support disabled"),
        (500, "rpc error making call: Permission denied", BackendRefused, "Permission denied"),
        (500, "rpc error making call: ACL not found", BackendRefused, "ACL not found"),
        (500, "No path to datacenter", BackendRefused, "knows no datacenter"),
        (400, "Client sent an HTTP request to an HTTPS server.", BackendRefused, "HTTPS server"),
        (301, "", BackendRefused, "301"),
        (200, "<html>It works!</html>", BackendUnavailable, "not an answer of Consul"),
        (200, "[]", BackendUnavailable, "not an answer of Consul"),
        (404, "", BackendUnavailable, "not an answer of Consul"),
        (0, "", BackendUnavailable, "no answer"),
    ],
)
def test_every_answer_has_a_meaning_and_every_request_is_sent_once(
    status: int, body: str, error: type[Exception], message: str
) -> None:
    with fake_server() as server:
        server.answer = lambda path: (status, body, {"Location": "http://192.0.2.1/"})
        backend = make_backend(f"consul://127.0.0.1:{server.port}")
        with backends(backend):
            with pytest.raises(error, match=message):
                backend.leader("e")
            assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [("Permission denied", BackendRefused), ("something new", BackendUnavailable)],
)
def test_a_transaction_that_was_not_carried_out_has_a_reason(
    said: str, error: type[Exception]
) -> None:
    def answer(path: str) -> tuple[int, str, dict[str, str]]:
        if path.startswith("/v1/txn"):
            failed = {"Results": None, "Errors": [{"OpIndex": 2, "What": said}]}
            return 409, json.dumps(failed), {}
        return as_consul(path)

    with fake_server() as server:
        server.answer = answer
        backend = make_backend(f"consul://127.0.0.1:{server.port}")
        with backends(backend), pytest.raises(error, match=said):
            backend.campaign(an_attempt("e"))


INDEX = {"X-Consul-Index": "5"}
READ, CREATE, WRITE = "/v1/kv/", "/v1/session/create", "/v1/txn"


@pytest.mark.parametrize(
    ("what", "body", "headers"),
    [
        (READ, "{}", INDEX),
        (READ, '{"Key": "k"}', INDEX),
        (READ, "[{}]", INDEX),
        (READ, '[{"Key": "k", "Value": null}]', INDEX),
        (READ, '["text"]', INDEX),
        (READ, "[7]", INDEX),
        (READ, '"text"', INDEX),
        (READ, "7", INDEX),
        (READ, "[]", {"X-Consul-Index": "soon"}),
        (READ, "[]", {"X-Consul-Index": ""}),
        (CREATE, "{}", {}),
        (CREATE, "[]", {}),
        (CREATE, "null", {}),
        (CREATE, '"text"', {}),
        (WRITE, "{}", {}),
        (WRITE, "[]", {}),
        (WRITE, "null", {}),
        (WRITE, '{"Errors": 7}', {}),
        (WRITE, '{"Errors": [{}]}', {}),
        (WRITE, '{"Errors": ["text"]}', {}),
        (WRITE, '{"Errors": null}', {}),
        (WRITE, '{"Errors": null, "Results": []}', {}),
        (WRITE, '{"Errors": null, "Results": [{}]}', {}),
        (WRITE, '{"Errors": null, "Results": [{"KV": {"ModifyIndex": 7}}]}', {}),
        (WRITE, '{"Errors": null, "Results": [{"KV": {}}, {"KV": {"ModifyIndex": 7}}]}', {}),
    ],
)
def test_json_that_is_not_consuls_is_no_answer(
    what: str, body: str, headers: dict[str, str]
) -> None:
    def answer(path: str) -> tuple[int, str, dict[str, str]]:
        return (200, body, headers) if path.startswith(what) else as_consul(path)

    with fake_server() as server:
        backend = make_backend(f"consul://127.0.0.1:{server.port}")
        with backends(backend):
            leading = an_attempt("leading")
            server.answer = as_consul
            win(backend, leading)
            server.answer = answer
            backend._session.id = backend._session.id if what == READ else ""
            with pytest.raises(BackendUnavailable, match="not an answer of Consul"):
                backend.campaign(an_attempt("e"))
            if what == READ:
                with pytest.raises(BackendUnavailable, match="not an answer of Consul"):
                    backend.leader("e")
                with pytest.raises(BackendUnavailable, match="not an answer of Consul"):
                    backend.renew([leading])


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        ("Session id 's' not found", True),
        ("404 page not found\n", False),
        ('{"message": "no Route matched with those values"}', False),
        ("Cannot PUT /v1/session/renew/s", False),
    ],
    ids=["Consul", "Traefik", "Kong", "Express"],
)
def test_a_gateway_that_finds_nothing_ends_no_term(body: str, lost: bool) -> None:
    def answer(path: str) -> tuple[int, str, dict[str, str]]:
        return (404, body, {}) if path.startswith("/v1/session/renew") else as_consul(path)

    with fake_server() as server:
        server.answer = as_consul
        backend, attempt = make_backend(f"consul://127.0.0.1:{server.port}"), an_attempt("e")
        with backends(backend):
            win(backend, attempt)
            server.answer = answer
            if lost:
                assert renewal(backend, attempt) is Renewal.SESSION_LOST
            else:
                with pytest.raises(BackendUnavailable, match="not an answer of Consul"):
                    backend.renew([attempt])


@contextmanager
def tcp_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """One thread that serves each connection in its turn, and ends it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_answer_in_drips_ends_with_the_timeout(part: str) -> None:
    """Each byte comes well within the timeout of a socket."""
    head, body = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nContent-Length: 30\r\n\r\n", 30 * b" "
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        at_once = b"" if part == "head" else head
        connection.sendall(at_once)
        for byte in (head + body)[len(at_once) :]:
            if over.wait(0.2):
                return
            connection.sendall(bytes([byte]))

    with tcp_server(drip) as port:
        backend = make_backend(f"consul://127.0.0.1:{port}", request_timeout=0.7)
        with backends(backend):
            try:
                with lasts_at_most(0.7), pytest.raises(BackendUnavailable):
                    backend.leader("e")
            finally:
                over.set()


def test_requests_of_one_call_share_one_timeout() -> None:
    def slow(path: str) -> tuple[int, str, dict[str, str]]:
        time.sleep(0.3)
        return as_consul(path)

    with fake_server() as server:
        server.answer = slow
        backend = make_backend(f"consul://127.0.0.1:{server.port}", request_timeout=0.7)
        begin = time.monotonic()
        with pytest.raises(BackendUnavailable):
            backend.campaign(an_attempt("e"))
        assert time.monotonic() - begin < 1.2
        backend.close()


# A real server


def test_a_ready_client_is_copied_and_left_alone(
    consul: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    import consul as library

    host, _, port = consul.url.partition("://")[2].partition(":")
    ready = library.Consul(host=host, port=int(port))
    election = new_election()
    with connect(consul_client=ready, ttl=10) as client:
        elector = client.elector(election)
        with elector.lead(timeout=SOON) as leadership:
            assert leadership.token.source.startswith("consul:")
    assert ready.kv.get(f"leaderlock/{election}/leader")[1] is not None
    ready.http.session.close()


def test_a_ready_client_brings_its_token_and_its_tls(certificates: Certificates) -> None:
    ready = consul.Consul(
        host="h", port=8501, scheme="https", token="t", dc="d", verify=str(certificates.ca),
        cert=(str(certificates.client_cert), str(certificates.client_key)),
    )  # fmt: skip
    url = StoreURL(scheme="consul", options={"consul_client": ready})
    address = target_of(url)
    assert (address.hosts, address.token, address.datacenter) == ((("h", 8501),), "t", "d")
    assert address.tls is not None and address.tls.check_hostname
    ready.http.verify = False
    address = target_of(url)
    assert address.tls is not None and not address.tls.check_hostname
    ready.http.verify = "/nowhere.pem"
    with pytest.raises(ConfigurationError, match="TLS files of consul_client"):
        target_of(url)
    ready.http.session.close()


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"must be a consul\.Consul"):
        connect(consul_client="consul://h")


@pytest.fixture(scope="module")
def acl_server() -> Iterator[ConsulServer]:
    with ConsulServer(acl=True) as server:
        yield server


RIGHTS = 'key_prefix "leaderlock/" { policy = "write" } session_prefix "" { policy = "write" }'


def test_a_token_with_the_documented_rights_is_enough(acl_server: ConsulServer) -> None:
    page = (Path(__file__).parents[2] / "docs/stores/consul.md").read_text("utf-8")
    for line in RIGHTS.replace("} s", "}\ns").splitlines():
        assert " ".join(line.split()) in " ".join(page.split())
    url, election = f"{acl_server.url}?token={acl_server.make_token(RIGHTS)}", new_election()
    seen: list[object] = []
    observer = LeaderElector(url, election, on_leader_change=seen.append)
    with LeaderElector(url, election, ttl=10).lead(timeout=SOON) as leadership:
        leadership.check()
        info = observer.leader()
        assert info is not None and info.token.value == leadership.token.value
    assert observer.leader() is None
    observer.stop()


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ("", "Permission denied"),
        ('key_prefix "leaderlock/" { policy = "write" }', "Permission denied"),
        ('key_prefix "leaderlock/" { policy = "read" }', "Permission denied"),
        ('session_prefix "" { policy = "write" }', "Permission denied"),
        (None, "ACL not found"),
    ],
)
def test_a_token_without_the_rights_is_refused_at_once(
    acl_server: ConsulServer, rules: str | None, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = "0000aaaa-no-such-token" if rules is None else MASTER_TOKEN
    if rules:
        token = acl_server.make_token(rules)
    elif rules == "":
        token = "anonymous"
    url = f"{acl_server.url}?token={token}"
    begin = time.monotonic()
    with (
        pytest.raises(BackendRefused, match=what if rules != "" else "ACL|Permission") as caught,
        LeaderElector(url, new_election()).lead(timeout=SOON),
    ):
        pass
    assert time.monotonic() - begin < SOON / 4
    assert token not in str(caught.value) + caplog.text


def test_a_token_that_loses_its_rights_ends_no_term_by_silence(acl_server: ConsulServer) -> None:
    """A refusal is no proof that somebody else leads."""
    backend = make_backend(acl_server.url, token=acl_server.make_token(RIGHTS))
    attempt = an_attempt(new_election())
    with backends(backend):
        win(backend, attempt)
        (token,) = [
            found["AccessorID"]
            for found in acl_server.call("GET", "/v1/acl/tokens")
            if (secret := acl_server.call("GET", f"/v1/acl/token/{found['AccessorID']}"))
            and secret["SecretID"] == backend._store._http._target.token
        ]
        acl_server.call("DELETE", f"/v1/acl/token/{token}")
        deadline = time.monotonic() + SOON
        while True:  # the server keeps what it knows of a token for a moment
            try:
                assert renewal(backend, attempt) is Renewal.RENEWED
            except BackendRefused as error:
                assert "ACL not found" in str(error)
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[ConsulServer]:
    with ConsulServer(certificates=certificates, client_certificates=True) as server:
        yield server


def test_https_with_a_client_certificate(
    tls_server: ConsulServer, certificates: Certificates
) -> None:
    url = (
        f"{tls_server.url}?ca={certificates.ca}&cert={certificates.client_cert}"
        f"&key={certificates.client_key}"
    )
    election = new_election()
    with LeaderElector(url, election, ttl=10).lead(timeout=SOON) as leadership:
        waiter = make_tls_backend(tls_server, certificates)
        with backends(waiter):
            woken = threading.Event()
            must_wait(waiter, an_attempt(election, woken.set))
            leadership.check()
            time.sleep(0.3)  # the long poll is under way, and is cut by close()


def make_tls_backend(
    server: ConsulServer, certificates: Certificates, url: str = ""
) -> ConsulBackend:
    return make_backend(
        url or server.url,
        ca=str(certificates.ca),
        cert=str(certificates.client_cert),
        key=str(certificates.client_key),
    )


def test_tls_that_cannot_work_is_refused_at_once(
    tls_server: ConsulServer, certificates: Certificates, other_certificates: Certificates
) -> None:
    files: dict[str, Any] = {
        "cert": str(certificates.client_cert),
        "key": str(certificates.client_key),
    }
    cases: list[tuple[str, dict[str, Any]]] = [
        (tls_server.url, {"ca": str(other_certificates.ca), **files}),  # not who it says
        (tls_server.url, {"ca": str(certificates.ca)}),  # no certificate of ours
        (tls_server.url.replace("consuls", "consul"), {}),  # no TLS where there has to be
    ]
    with ConsulServer() as plain:
        cases.append((plain.url.replace("consul", "consuls"), {"verify": False}))
        for url, options in cases:
            backend = make_backend(url, **options)
            with backends(backend), pytest.raises(BackendRefused):
                # The server may reset the connection before its reason is read.
                eventually(lambda: silent(backend), "refused")  # noqa: B023
    unverified = make_backend(tls_server.url, verify=False, **files)
    with backends(unverified):
        win(unverified, an_attempt(new_election()))


def silent(backend: ConsulBackend) -> bool:
    """Returns False for every request without an answer."""
    try:
        backend.leader("e")
    except BackendUnavailable:
        return False
    raise AssertionError("it answered")


# Several hosts


def test_a_dead_host_is_passed_over(consul: Shared) -> None:
    host = consul.url.partition("://")[2]
    backend = make_backend(f"consul://127.0.0.1:1,{host}")
    attempt = an_attempt(new_election())
    with backends(backend):
        win(backend, attempt)
        assert renewal(backend, attempt) is Renewal.RENEWED


def test_a_host_that_does_not_answer_is_left_for_the_next(consul: Shared) -> None:
    host = consul.url.partition("://")[2]
    with Proxy(int(host.rpartition(":")[2])) as proxy:
        backend = make_backend(f"consul://127.0.0.1:{proxy.port},{host}", request_timeout=0.5)
        attempt = an_attempt(new_election())
        with backends(backend):
            win(backend, attempt)
            proxy.hold()
            with pytest.raises(BackendUnavailable):
                backend.renew([attempt])
            assert renewal(backend, attempt) is Renewal.RENEWED


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "No cluster leader"),  # it says so for as long as it is cut off from the others
        (429, "rate limit exceeded, try again later or against a different server"),
    ],
)
def test_a_host_that_cannot_answer_is_left_for_the_next(
    consul: Shared, status: int, body: str
) -> None:
    host = consul.url.partition("://")[2]
    with fake_server() as server:
        server.answer = lambda path: (status, body, {})
        backend = make_backend(f"consul://127.0.0.1:{server.port},{host}")
        with backends(backend):
            with pytest.raises(BackendUnavailable):
                backend.leader("e")
            win(backend, an_attempt(new_election()))


def test_a_host_that_ends_tls_in_its_middle_is_passed_over(
    tls_server: ConsulServer, certificates: Certificates
) -> None:
    """A load balancer that has nobody behind it."""
    asked = []

    def hang_up(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))

    with tcp_server(hang_up) as port:
        backend = make_tls_backend(
            tls_server, certificates, f"consuls://127.0.0.1:{port},127.0.0.1:{tls_server.port}"
        )
        with backends(backend):
            win(backend, an_attempt(new_election()))
    assert len(asked) == 1, "the first is asked once, and left for good"


def test_a_name_with_a_silent_address_works_by_the_other_one(
    consul: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one timeout: the next request would begin with the silent one again."""
    port = int(consul.url.rpartition(":")[2])
    with silent_address() as silent:
        name_has(monkeypatch, silent, ("127.0.0.1", port))
        backend = make_backend(f"consul://consul.test:{port}", request_timeout=2.0)
        with backends(backend), lasts_at_most(2.0):
            win(backend, an_attempt(new_election()))


def test_nobody_there_is_no_answer() -> None:
    backend = make_backend("consul://127.0.0.1:1,127.0.0.1:2")
    with backends(backend), pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1, 127"):
        backend.campaign(an_attempt("e"))
