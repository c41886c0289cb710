"""What the URLs of all stores behind a network have in common."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from leaderlock.backends.base import Attempt
from leaderlock.backends.layout import key_part, pack, unpack
from leaderlock.backends.network import (
    HOSTS,
    LOGIN,
    TLS,
    Login,
    connect,
    hosts_of,
    join_host,
    login_of,
    tls_of,
)
from leaderlock.backends.wakes import Wakes
from leaderlock.errors import ConfigurationError
from leaderlock.testing.servers.certificates import Certificates
from leaderlock.url import StoreURL
from tests.backends.tools import Address, name_has, silent_address
from tests.elector.tools import lasts_at_most


def url(text: str, **options: object) -> StoreURL:
    parsed = StoreURL.parse(text)
    return StoreURL(
        scheme=parsed.scheme,
        authority=parsed.authority,
        username=parsed.username,
        password=parsed.password,
        options=options,
    )


def test_hosts_keep_their_order_and_get_the_default_port() -> None:
    assert hosts_of(url("x://b,a:5,[::1]:7,[fe80::2]"), 9) == (
        ("b", 9),
        ("a", 5),
        ("::1", 7),
        ("fe80::2", 9),
    )


def test_hosts_beside_the_url_go_before_those_in_it() -> None:
    hosts = HOSTS["hosts"].parse(["a:1", "b"])
    assert hosts_of(url("x://c", hosts=hosts), 9) == (("a", 1), ("b", 9))


@pytest.mark.parametrize(
    "text",
    [
        "x://",
        "x://a,,b",
        "x://a:0",
        "x://a:99999",
        "x://a:b",
        "x://a:1,",
        "x://a..b",
        f"x://{64 * 'a'}",
    ],
)
def test_what_is_no_host_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="host"):
        hosts_of(url(text), 9)


@pytest.mark.parametrize("value", ["", [], "a b", "a:x", 7, ["a", 7]])
def test_wrong_hosts_beside_the_url_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="host:port"):
        HOSTS["hosts"].parse(value)


def test_an_ipv6_address_is_joined_with_brackets() -> None:
    assert join_host(("::1", 7)) == "[::1]:7"
    assert join_host(("a", 7)) == "a:7"


def test_a_login_comes_from_the_url_or_from_beside_it_and_hides_its_password() -> None:
    assert login_of(url("x://u:p@h")) == Login("u", "p")
    assert login_of(url("x://u:p@h", password="q")) == Login("u", "q")
    assert not login_of(url("x://h"))
    assert "p4ss" not in repr(login_of(url("x://u:p4ss@h")))
    with pytest.raises(ValueError, match="not empty"):
        LOGIN["password"].parse("")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def refusing_address() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: Address = listener.getsockname()
    return address


@pytest.mark.parametrize(
    ("last", "error"), [("refuses", ConnectionRefusedError), ("is silent", TimeoutError)]
)
def test_when_no_address_can_be_connected_to_the_last_error_is_told_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, last: str, error: type[OSError]
) -> None:
    with silent_address() as silent:
        addresses = [silent, refusing_address()]
        if last == "is silent":
            addresses.reverse()
        name_has(monkeypatch, *addresses)
        before = open_files()
        with lasts_at_most(0.4), pytest.raises(error) as caught:
            connect(("name.test", 1), 0.4)
        # The error still has the frame with the sockets: nobody else has closed them.
        assert caught.tb and open_files() == before


def test_each_address_has_its_turn_in_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_address() as silent, socket.create_server(("127.0.0.1", 0)) as listener:
        name_has(monkeypatch, silent, listener.getsockname(), silent)
        before, begin = open_files(), time.monotonic()
        connection = connect(("name.test", 1), 2.0)
        took = time.monotonic() - begin
        with connection:
            assert connection.getpeername() == listener.getsockname()
            assert open_files() == before + 1
            assert 0.9 < took < 1.9, "half of the time for the first"
            # TLS, which comes next, has all that is left, and no more.
            assert connection.gettimeout() == pytest.approx(2.0 - took, abs=0.2)


def test_an_address_of_a_family_that_this_machine_has_not_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """IPv6 may be switched off, and the name have such an address all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())
        no_family = (255, socket.SOCK_STREAM, 6, "", ("::1", 1))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [no_family, there])
        with connect(("name.test", 1), 2.0) as connection:
            assert connection.getpeername() == listener.getsockname()


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("NO", False), (True, True), ("0", False)]
)
def test_verify_is_true_or_false(value: object, expected: bool) -> None:
    assert TLS["verify"].parse(value) is expected


@pytest.mark.parametrize("value", ["perhaps", 1, None])
def test_nothing_else_is_true_or_false(value: object) -> None:
    with pytest.raises(ValueError, match="true or false"):
        TLS["verify"].parse(value)


def test_tls_files_have_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can be read"):
        TLS["ca"].parse(str(tmp_path / "missing.pem"))


def test_a_relative_tls_file_stays_the_same_after_a_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir(tmp_path)
    assert TLS["ca"].parse("ca.pem") == str(tmp_path / "ca.pem")


def test_tls_options_need_a_scheme_with_tls() -> None:
    with pytest.raises(ConfigurationError, match="not encrypted"):
        tls_of(url("x://h", ca="/a.pem"), wanted=False)
    assert tls_of(url("x://h"), wanted=False) is None


def test_tls_files_are_looked_into(tmp_path: Path, certificates: Certificates) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        tls_of(url("xs://h", ca=str(wrong)), wanted=True)
    with pytest.raises(ConfigurationError, match="without cert"):
        tls_of(url("xs://h", key=str(wrong)), wanted=True)
    files = tls_of(url("xs://h", ca=str(certificates.ca)), wanted=True)
    assert files is not None
    assert files.context().check_hostname


def test_different_names_have_different_keys_that_fit_into_every_store() -> None:
    names = [
        "a",
        "A",
        "a/b",
        "a%2Fb",
        ".",
        "..",
        "...",
        "a b",
        "ü",
        "~",
        "x" * 255,
        "x" * 254,
        "🦊" * 255,
    ]
    names += [f"{'y' * 200}{n}" for n in range(9)]
    keys = [key_part(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(key.isascii() and 0 < len(key) <= 150 and "/" not in key for key in keys)
    assert key_part("billing.eu-1") == "billing.eu-1"
    assert not {".", ".."} & set(keys)


def test_a_record_is_read_back_and_a_foreign_one_is_not() -> None:
    attempt = Attempt("billing", "0a-1", b"any \n bytes \xff", lambda: None)
    assert unpack(pack(attempt)) == ("0a-1", b"any \n bytes \xff")
    for foreign in (None, b"", b"hello", b'{"id": 1}'):
        assert unpack(foreign) is None


def test_wakes_reach_those_who_wait_for_the_name_until_they_leave() -> None:
    rung: list[str] = []
    wakes = Wakes()
    leave = wakes.add("a", lambda: rung.append("first"))
    wakes.add("a", lambda: rung.append("second"))
    wakes.add("b", lambda: rung.append("other"))
    wakes.ring("a")
    assert rung == ["first", "second"]
    leave()
    leave()
    wakes.ring_all()
    assert sorted(rung[2:]) == ["other", "second"]
    wakes.ring("nobody waits for this")
    assert wakes.names() == {"a", "b"}
