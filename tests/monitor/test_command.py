"""`leaderlock monitor` on real stores, with real nodes, from outside."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from leaderlock import LeaderElector, connect
from leaderlock.backends.admin import admin_of
from leaderlock.monitor.server import Monitor, Wish, listen
from leaderlock.monitor.web import Door, Web
from leaderlock.telemetry import beacon
from leaderlock.telemetry.events import Renewed
from leaderlock.testing.servers.programs import program
from leaderlock.testing.servers.redis import RedisServer
from tests.cli.test_errors import fails
from tests.cli.tools import environment, leaderlock
from tests.elector.tools import PATIENCE, eventually
from tests.monitor.tools import TOKEN, Hook, Monitors


@pytest.mark.parametrize("store", ["sqlite", "redis", "etcd", "zookeeper", "consul"])
def test_who_leads_on_every_store(
    store: str, monitors: Monitors, request: pytest.FixtureRequest
) -> None:
    url: str = (
        request.getfixturevalue("sqlite")
        if store == "sqlite"
        else request.getfixturevalue(store).url
    )
    namespace = f"shop/{uuid.uuid4().hex}"
    settings: dict[str, Any] = {"quarantine": False} if store == "redis" else {}
    monitor = monitors(url, "--namespace", namespace)
    with connect(url, namespace=namespace, ttl=10, **settings) as client:
        first = client.elector("größe 1/2", candidate_id="web-1", metadata={"host": "a"})
        with first.lead(timeout=PATIENCE) as leadership:
            monitor.wait_led("größe 1/2", "web-1")  # found by itself
            leader = monitor.election("größe 1/2")["leader"]
            assert leader["token"] == str(leadership.token)
            assert leader["metadata"] == {"host": "a"}
            assert monitor.metric("leader", election="größe 1/2", candidate="web-1") == 1
            assert monitor.metric("token", election="größe 1/2") == leadership.token.value
        monitor.wait_led("größe 1/2", None)
        with client.elector("größe 1/2", candidate_id="web-2").lead(timeout=PATIENCE):
            monitor.wait_led("größe 1/2", "web-2")
        names = [term["candidate"] for term in monitor.election("größe 1/2")["terms"]]
        assert names == ["web-1", "web-2"]
    assert monitor.metric("has_leader", election="größe 1/2") in (0, 1)
    assert monitor.metric("store_up", store=url.partition(":")[0]) == 1
    assert monitor.alarms() == set()
    assert monitor.end() == 128 + signal.SIGTERM


def test_a_name_that_the_store_has_in_part_is_no_election(
    monitors: Monitors, request: pytest.FixtureRequest
) -> None:
    url, namespace, long = request.getfixturevalue("redis").url, uuid.uuid4().hex, "ß" * 100
    monitor = monitors(url, "--namespace", namespace)
    with connect(url, namespace=namespace, ttl=10, quarantine=False) as client:
        first, second = client.elector(long), client.elector("e", candidate_id="web-1")
        with first.lead(timeout=PATIENCE), second.lead(timeout=PATIENCE):
            monitor.wait_led("e", "web-1")
            assert [election["name"] for election in monitor.state()["elections"]] == ["e"]
            beacon.start(client, monitor.url, interval=0.1)
            eventually(lambda: (monitor.election(long) or {}).get("leader"))


def test_two_stores_where_there_should_be_one_are_a_split_brain(
    monitors: Monitors, sqlite: str, tmp_path: Path
) -> None:
    """A file of its own for each node: nothing but their reports can show it."""
    hook = Hook(failures=2)
    with hook.serve() as where:
        secret = f"{where}/hooks/s3cret?key=s3cret"
        monitor = monitors(sqlite, LEADERLOCK_MONITOR_WEBHOOK=secret)
        with (
            connect(sqlite, ttl=5) as one,
            connect(f"sqlite://{tmp_path}/other.db", ttl=5) as other,
        ):
            beacons = [beacon.start(each, monitor.url, interval=0.2) for each in (one, other)]
            with (
                one.elector("billing", candidate_id="web-1").lead(timeout=PATIENCE),
                other.elector("billing", candidate_id="web-2").lead(timeout=PATIENCE),
            ):
                monitor.wait_alarm("split_brain")
                assert monitor.metric("alarm", kind="split_brain", election="billing") == 1
                assert monitor.metric("believers", election="billing") == 2
            over = {"web-1": "resigned", "web-2": "resigned"}
            eventually(lambda: monitor.over("billing") == over)
            for each in beacons:
                each.close()
        eventually(lambda: hook.changes("raised") == ["split_brain"], "the webhook")
        assert hook.paths[0] == "/hooks/s3cret?key=s3cret"
        assert "web-1" in hook.told[0]["text"]
        assert hook.told[0]["namespace"] == "leaderlock"
    assert "raised=split_brain election='billing'" in monitor.said()
    assert "answers 503" in monitor.said()
    assert "s3cret" not in monitor.said()


def test_a_term_that_is_taken_away_overlaps_with_the_next_for_a_moment_and_is_seen(
    monitors: Monitors, sqlite: str
) -> None:
    monitor, renewed = monitors(sqlite), threading.Event()
    with connect(sqlite, ttl=18) as one, connect(sqlite, ttl=18) as other:
        for client in one, other:
            beacon.start(client, monitor.url, interval=0.1)
        one.subscribe(lambda event: renewed.set(), Renewed)
        first, second = one.elector("e"), other.elector("e")
        first.start()
        assert first.wait_elected(PATIENCE)
        second.start()
        eventually(lambda: monitor.state()["nodes"] == 2)
        admin = admin_of(other.runtime().backend)
        # Just after a heartbeat: the first one learns of it with the next, in four seconds.
        renewed.clear()
        assert renewed.wait(PATIENCE)
        assert admin.evict("e", admin.candidates("e")[0])
        assert second.wait_elected(PATIENCE)
        monitor.wait_alarm("split_brain")


def test_hand_overs_raise_no_alarm(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite, "e")
    with connect(sqlite, ttl=5) as one, connect(sqlite, ttl=5) as other:
        for client in one, other:
            beacon.start(client, monitor.url, interval=0.1)
        for number in range(20):
            client = (one, other)[number % 2]
            with client.elector("e", candidate_id=f"web-{number}").lead(timeout=PATIENCE):
                if number % 5 < 2:
                    monitor.wait_led("e", f"web-{number}")
                    monitor.wait_belief("e", f"web-{number}")
    assert monitor.state()["alarms"] == monitor.state()["past_alarms"] == []


def test_a_store_that_stops_is_an_alarm_and_nobody_is_called_leaderless(
    monitors: Monitors,
) -> None:
    hook = Hook()
    with RedisServer() as server, hook.serve() as where:
        options = ("e", "--leaderless", "1", "--ttl", "3", "--webhook", where)
        monitor = monitors(server.url, *options)
        monitor.wait_alarm("leaderless")
        with LeaderElector(server.url, "e", ttl=3, quarantine=False) as elector:
            assert elector.wait_elected(PATIENCE)
            monitor.wait_alarm("leaderless", raised=False)
            server.freeze()
            monitor.wait_alarm("store_unreachable")
            assert monitor.metric("store_up") == 0
            assert monitor.metric("has_leader", election="e") is None
            assert json.loads(monitor.ask("/healthz").body) == {
                "status": "ok",
                "store": "unreachable",
            }
            assert monitor.alarms() == {("store_unreachable", None)}
            server.thaw()
            monitor.wait_alarm("store_unreachable", raised=False)
            assert monitor.metric("store_up") == 1
        eventually(lambda: hook.changes("resolved") == ["leaderless", "store_unreachable"])


def test_a_store_that_hangs_is_one_alarm_however_many_elections_are_read(
    monitors: Monitors,
) -> None:
    hook = Hook()
    with RedisServer() as server, hook.serve() as where:
        with connect(server.url, ttl=1.5, quarantine=False) as client:
            electors = [client.elector(f"job-{number}") for number in range(300)]
            for elector in electors:
                elector.start()
            for elector in electors:
                assert elector.wait_elected(PATIENCE)
            monitor = monitors(server.url, "--ttl", "30", "--webhook", where)
            eventually(lambda: sum(bool(e["leader"]) for e in monitor.state()["elections"]) == 300)
            # All are read again in a ttl: before it is asked next whether the store answers.
            before = monitor.state()["store"]["answered_at"]
            eventually(lambda: monitor.state()["store"]["answered_at"] != before)
            server.freeze()
            monitor.wait_alarm("store_unreachable")
            assert monitor.alarms() == {("store_unreachable", None)}
            server.thaw()
        monitor.wait_alarm("store_unreachable", raised=False)
    assert hook.changes("raised") == ["store_unreachable"]


def test_a_leader_that_cannot_renew_is_an_alarm(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite)
    with RedisServer() as server, connect(server.url, ttl=30, quarantine=False) as client:
        beacon.start(client, monitor.url, interval=0.2)
        with client.elector("e", candidate_id="web-1").lead(timeout=PATIENCE):
            server.freeze()
            monitor.wait_alarm("leader_failing")
            assert "'web-1'" in monitor.state()["alarms"][0]["why"]
            server.thaw()
            monitor.wait_alarm("leader_failing", raised=False)


def test_a_store_that_is_not_there_yet_is_watched_for(monitors: Monitors) -> None:
    monitor = monitors("redis://127.0.0.1:1")
    monitor.wait_alarm("store_unreachable")
    assert "watching redis://127.0.0.1:1" in monitor.said()
    assert monitor.end(signal.SIGINT) == 128 + signal.SIGINT


def test_run_reports_to_a_monitor(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite, LEADERLOCK_MONITOR_TOKEN=TOKEN)
    wait = (
        "import json, os, urllib.request as u, time\n"
        f"shown = {{'Authorization': 'Bearer {TOKEN}'}}\n"
        f"ask = u.Request({monitor.url!r} + 'api/state', headers=shown)\n"
        "while not any(e['beliefs'] for e in json.load(u.urlopen(ask))['elections']):\n"
        "    time.sleep(0.05)\n"
    )
    done = leaderlock(
        "run", "-e", "e", "--id", "web-1", "--monitor", monitor.url,
        "--", sys.executable, "-c", wait,
        LEADERLOCK_URL=sqlite, LEADERLOCK_MONITOR_TOKEN=TOKEN,
    )  # fmt: skip
    assert done.returncode == 0, done
    (belief,) = monitor.election("e")["beliefs"]
    assert belief["candidate"] == "web-1"
    assert belief["over"] in ("stopped", "ended")  # its last report may be before the event


def test_a_monitor_that_has_met_a_fault_ends_instead_of_raising_no_alarms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(now: float) -> None:
        raise ValueError("a fault")

    async def run(monitor: Monitor) -> None:
        monkeypatch.setattr(monitor.state, "tick", fault)
        config = uvicorn.Config(Web(monitor, Door(None, ())).app, lifespan="off", log_config=None)
        with listen("127.0.0.1:0") as place:
            await asyncio.wait_for(monitor.run(uvicorn.Server(config), place), PATIENCE)

    with connect("memory://") as client, pytest.raises(ExceptionGroup) as ended:
        asyncio.run(run(Monitor(client, Wish(elections=["e"]), None)))
    assert "a fault" in str(ended.value.exceptions)


# Who may ask


def test_a_token_opens_and_nothing_else_does(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite, LEADERLOCK_MONITOR_TOKEN=TOKEN)
    monitor.token = None
    for path in ("/metrics", "/api/state", "/api/events", "/api/beliefs", "/nothing"):
        for shown in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            assert monitor.ask(path, Authorization=shown).status == 401, path
    assert monitor.ask("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert monitor.ask("/api/state", Cookie=f"leaderlock-monitor={TOKEN}").status == 401
    # What is asked for does not depend on what the asker calls the host.
    for host in ("x/static/?", "x/login?", "x/healthz#"):
        assert monitor.ask("/api/state", Host=host).status == 401, host
    assert monitor.ask("/healthz").status == 200
    front = monitor.ask("/")
    assert (front.status, front.headers["location"]) == (303, "login")
    assert monitor.ask("/login", method="POST", body="token=wrong").status == 403
    assert monitor.ask("/login", method="POST", body="x" * 10_000).status == 403
    welcome = monitor.ask("/login", method="POST", body=f"token={TOKEN}")
    cookie = welcome.headers["set-cookie"]
    assert welcome.status == 303
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert monitor.ask("/api/state", Cookie=cookie.partition(";")[0]).status == 200
    # Behind a proxy it has another name.
    assert monitor.ask("/metrics", Host="x.example", Authorization=f"Bearer {TOKEN}").status == 200


def test_without_a_token_only_this_machine_is_answered_by_its_names(
    monitors: Monitors, sqlite: str
) -> None:
    monitor = monitors(sqlite, "--allow-host", "monitor.example")
    port = urlsplit(monitor.url).port
    for host in (f"127.0.0.1:{port}", "localhost", "[::1]:1", "MONITOR.example:80"):
        assert monitor.ask("/api/state", Host=host).status == 200, host
    for host in ("evil.example", f"evil.example:{port}", "", "[", "127.0.0.1.evil.example"):
        assert monitor.ask("/api/state", Host=host).status in (400, 421), host


def test_a_page_of_another_site_cannot_report(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite)
    report = json.dumps(
        {"node": "a", "store": "s", "namespace": "leaderlock", "interval": 1, "beliefs": []}
    )
    asked = {"method": "POST", "body": report}
    assert monitor.ask("/api/beliefs", **asked, Content_Type="text/plain").status == 415
    assert monitor.ask("/api/beliefs", **asked).status == 415
    good = monitor.ask("/api/beliefs", **asked, Content_Type="application/json; charset=utf-8")
    assert good.status == 200
    before_flight = monitor.ask("/api/beliefs", method="OPTIONS", Origin="http://evil.example")
    assert before_flight.headers.get("access-control-allow-origin") is None


def test_reports_that_are_none_change_nothing(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite)
    for body, status in (("{", 400), ("[]", 400), ("x" * (4 * 1024 * 1024 + 1), 413)):
        try:
            reply = monitor.ask(
                "/api/beliefs", method="POST", body=body, Content_Type="application/json"
            )
        except (BrokenPipeError, ConnectionResetError):
            assert status == 413
        else:
            assert reply.status == status
    with socket.create_connection(("127.0.0.1", urlsplit(monitor.url).port or 0)) as given_up:
        given_up.sendall(
            b"POST /api/beliefs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
    assert monitor.state()["nodes"] == 0
    assert monitor.ask("/static/../server.py").status == 404
    assert monitor.ask("/static/%2e%2e%2fserver.py").status == 404
    assert monitor.end() == 128 + signal.SIGTERM
    assert "Traceback" not in monitor.said()


def test_what_is_served_carries_the_headers_of_a_safe_page(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite)
    for path in ("/", "/static/monitor.js", "/api/state", "/nothing"):
        headers = monitor.ask(path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers.get("server") is None


def test_prometheus_finds_no_fault_with_the_metrics(monitors: Monitors, sqlite: str) -> None:
    with LeaderElector(sqlite, 'quo"te\n\\', candidate_id='x"\n\\') as elector:
        assert elector.wait_elected(PATIENCE)
        monitor = monitors(sqlite)
        monitor.wait_led('quo"te\n\\', 'x"\n\\')
        page = monitor.ask("/metrics").body
        done = subprocess.run(
            [program("promtool"), "check", "metrics"],
            input=page, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


# Wrong usage


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "9464"], "must be a host and a port"),
        (["--listen", "127.0.0.1:http"], "must be a host and a port"),
        (["--listen", "127.0.0.1:65536"], "must be a host and a port"),
        (["--listen", "no.such.host.invalid:1"], "cannot listen on no.such.host.invalid:1"),
        (["--listen", "0.0.0.0:0"], "other machines would reach this monitor"),
        (["--listen", "[::]:0"], "other machines would reach this monitor"),
        (["--listen", "203.0.113.1:0"], "cannot listen on 203.0.113.1:0"),
        (["--webhook", "ftp://a/s3cret"], "the webhook must be a URL like"),
        (["--token-file", "/no/such/file"], "cannot read the token file"),
        (["--leaderless", "-1"], "Invalid value for '--leaderless'"),
        (["--leaderless", "inf"], "--leaderless inf must be a number of seconds; 0: never"),
        (["--allow-host", "monitor.example:80"], "must be a name alone, without a port"),
        (["--allow-host", "http://monitor.example"], "must be a name alone"),
        (["--allow-host", "["], "must be a name alone"),
        (["--max-elections", "0"], "Invalid value for '--max-elections'"),
        (["a", "b", "--max-elections", "1"], "2 elections are named"),
        (["x" * 256], "must be a text of 1 to 255 characters"),
        ([""], "must be a text of 1 to 255 characters"),
        (["\udcff"], "without lone surrogates"),
        (["--url", "memory://"], "memory:// lives within one process"),
        (["--url", "mysql://a"], "no backend for mysql://"),
    ],
)
def test_wrong_usage(words: list[str], said: str, sqlite: str) -> None:
    told = fails("monitor", "--listen", "127.0.0.1:0", *words, code=2, LEADERLOCK_URL=sqlite)
    assert said in told
    assert "s3cret" not in told


def test_a_port_in_use_a_short_token_and_a_wrong_password_are_told(
    sqlite: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        told = fails("monitor", "--listen", where, code=2, LEADERLOCK_URL=sqlite)
        assert f"cannot listen on {where}: Address already in use" in told
    for token in ("short", "ü" * 20):
        told = fails(
            "monitor", "--listen", "127.0.0.1:0", code=2,
            LEADERLOCK_URL=sqlite, LEADERLOCK_MONITOR_TOKEN=token,
        )  # fmt: skip
        assert "must have 16 or more printable" in told and token not in told
    (tmp_path / "token").write_text("")
    told = fails(
        "monitor", "--listen", "127.0.0.1:0", "--token-file", str(tmp_path / "token"), code=2,
        LEADERLOCK_URL=sqlite,
    )  # fmt: skip
    assert "must have 16 or more" in told
    with RedisServer(password="right") as server:
        url = server.url.replace("right", "wr0ng")
        told = fails("monitor", "--listen", "127.0.0.1:0", code=77, LEADERLOCK_URL=url)
        assert "wr0ng" not in told


def test_a_missing_extra_names_it(sqlite: str) -> None:
    code = (
        "import sys\n"
        "sys.modules['uvicorn'] = None\n"
        "from leaderlock.cli.app import main\n"
        f"sys.exit(main(['monitor', '--url', {sqlite!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'leaderlock[monitor]'\n")
    assert done.stderr.count("\n") == 1


# The stream


def test_a_stream_begins_with_everything_and_goes_on_with_what_changes(
    monitors: Monitors, sqlite: str
) -> None:
    monitor = monitors(sqlite, "e", "f")
    for _ in range(2):  # the second time as a page that comes back
        connection = http.client.HTTPConnection(urlsplit(monitor.url).netloc, timeout=PATIENCE)
        connection.request("GET", "/api/events", headers={"Last-Event-ID": "99999"})
        reply = connection.getresponse()
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-accel-buffering"] == "no"  # or nginx keeps it to itself

        def message(reply: http.client.HTTPResponse = reply) -> Any:
            while not (line := reply.readline()).startswith(b"data: "):
                assert line
            return json.loads(line[6:])

        first = message()
        assert first["whole"]
        assert [election["name"] for election in first["elections"]] == ["e", "f"]
        with LeaderElector(sqlite, "f", candidate_id="web-1").lead(timeout=PATIENCE):
            while True:
                changed = message()
                if any(election["leader"] for election in changed["elections"]):
                    break
            assert [election["name"] for election in changed["elections"]] == ["f"]
            assert not changed["whole"]
        connection.close()
    assert monitor.end() == 128 + signal.SIGTERM
