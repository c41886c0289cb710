"""Who may not ask, and would keep others from asking."""

from __future__ import annotations

import logging
import signal
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from leaderlock.cli.exits import _Said
from leaderlock.monitor import server
from tests.elector.tools import PATIENCE
from tests.monitor.tools import TOKEN, MonitorProcess, Monitors


def opened(monitor: MonitorProcess, sent: str = "") -> socket.socket:
    """A connection on which so much has been sent."""
    address = urlsplit(monitor.url)
    assert address.hostname is not None
    connection = socket.create_connection((address.hostname, address.port or 80), PATIENCE)
    connection.sendall(sent.encode())
    return connection


def received(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("host", ["x/healthz?", "x/login#", "x/static/?", "[", "a:b:c", "ü"])
def test_no_name_of_a_host_opens_the_door(host: str, monitors: Monitors, sqlite: str) -> None:
    """Starlette before 1.0 made the path of `request.url` from it: /healthz is open to all."""
    monitor = monitors(sqlite, LEADERLOCK_MONITOR_TOKEN=TOKEN)
    for path in ("/api/state", "/metrics", "/api/events"):
        with opened(monitor, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n") as connection:
            status = connection.recv(65536).split()[1]
        assert status in (b"400", b"401"), (path, status)


def test_who_asks_for_nothing_keeps_nobody_out(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite, LEADERLOCK_MONITOR_TOKEN=TOKEN)
    slow = {
        "nothing": "",
        "half a line": "GET /heal",
        "half a head": "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A",
        "half of a second one": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz",
        "half a login": "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\ntok",
        "half a report": "POST /api/beliefs HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n\r\n{{",
    }
    with ExitStack() as stack:
        opened_ones = {
            name: stack.enter_context(opened(monitor, sent)) for name, sent in slow.items()
        }
        for _ in range(server._MOST_CONNECTIONS - len(slow)):
            stack.enter_context(opened(monitor))
        assert received(stack.enter_context(opened(monitor))) == b""  # at once: one too many
        answers = {name: received(each) for name, each in opened_ones.items()}
        assert monitor.ask("/healthz").status == 200  # while they all hold their ends open
    assert b" 408 " in answers["half a login"]
    assert b" 408 " in answers["half a report"]
    assert answers["half of a second one"].count(b" 200 ") == 1
    assert answers["nothing"] == answers["half a line"] == answers["half a head"] == b""


def test_who_leaves_in_the_middle_of_a_request_leaves_no_trace(
    monitors: Monitors, sqlite: str
) -> None:
    monitor = monitors(sqlite, LEADERLOCK_MONITOR_TOKEN=TOKEN)
    for path in ("/login", "/api/beliefs"):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
            f"Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        with opened(monitor, head) as connection:
            assert b" 100 " in connection.recv(65536)  # it waits for the rest
    assert monitor.ask("/healthz").status == 200
    assert monitor.end() == 128 + signal.SIGTERM
    assert "Traceback" not in monitor.said()


def test_a_cookie_behind_a_proxy_with_tls_never_leaves_by_another_way(
    monitors: Monitors, sqlite: str
) -> None:
    monitor = monitors(sqlite, LEADERLOCK_MONITOR_TOKEN=f" {TOKEN}\n")
    monitor.token = TOKEN
    login = {"method": "POST", "body": f"token={TOKEN}"}
    assert "Secure" not in monitor.ask("/login", **login).headers["set-cookie"]
    behind = monitor.ask("/login", **login, X_Forwarded_Proto="https")
    assert "Secure" in behind.headers["set-cookie"]


def test_nothing_that_is_told_hides_the_line_that_tells_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line, *told in (
        ("leaderlock.alarm_raised raised=%s why=%s", "split_brain", "'a': ? error=all is well"),
        ("leaderlock.webhook_failing error=%s", "no answer"),
        ("leaderlock.alone",),
    ):
        record = {"msg": line, "args": tuple(told), "levelno": logging.WARNING}
        _Said(("",), logging.INFO).emit(logging.makeLogRecord(record))
    assert capsys.readouterr().err.splitlines() == [
        "leaderlock: raised=split_brain why='a': ? error=all is well",
        "leaderlock: no answer",
        "leaderlock: leaderlock.alone",
    ]
