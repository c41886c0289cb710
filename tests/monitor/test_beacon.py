"""What nodes report to a monitor, and what they do without one."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from leaderlock import ConfigurationError, connect
from leaderlock.telemetry import beacon
from leaderlock.telemetry.beacon import Beacon
from leaderlock.telemetry.events import Event, TermEnded
from leaderlock.telemetry.post import Endpoint, NoAnswer
from tests.elector.tools import PATIENCE, eventually, in_child
from tests.monitor.tools import Hook, Monitors


def test_a_monitor_that_is_not_there_holds_up_nothing(
    sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(sqlite, ttl=5) as client:
        reporting = beacon.start(client, "http://127.0.0.1:1/?token=s3cret", interval=0.1)
        with client.elector("e").lead(timeout=PATIENCE):
            eventually(lambda: "leaderlock.beacon_failing" in caplog.text)
        reporting.close()
    assert caplog.text.count("beacon_failing") == 1
    assert "s3cret" not in caplog.text + repr(reporting)


def test_a_monitor_of_another_namespace_says_so(
    monitors: Monitors, sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = monitors(sqlite)
    with connect(sqlite, namespace="another") as client:
        reporting = beacon.start(client, monitor.url, interval=0.1)
        eventually(lambda: "this monitor watches the namespace 'leaderlock'" in caplog.text)
        reporting.close()


def test_a_forked_child_is_a_node_of_its_own(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite)
    client = connect(sqlite, ttl=5)
    reporting = beacon.start(client, monitor.url, interval=0.1)
    elector = client.elector("e", candidate_id="web-1")

    def lead_in_the_child() -> None:
        with elector.lead(timeout=PATIENCE):
            eventually(lambda: (monitor.election("e") or {}).get("beliefs"))

    assert in_child(lead_in_the_child) == ""
    eventually(lambda: monitor.state()["nodes"] == 2)
    reporting.close()
    client.close()


def test_a_beacon_that_was_closed_does_not_come_back_in_a_forked_child(
    monitors: Monitors, sqlite: str
) -> None:
    monitor = monitors(sqlite)
    client = connect(sqlite, ttl=5)
    reporting = beacon.start(client, monitor.url, interval=0.1)
    elector = client.elector("e", candidate_id="web-1")
    reporting.close(PATIENCE)

    def lead_in_the_child() -> None:
        with elector.lead(timeout=PATIENCE):
            pass
        client.close()  # the listeners have heard of it then
        names = [thread.name for thread in threading.enumerate()]
        assert "leaderlock-beacon" not in names, names

    assert in_child(lead_in_the_child) == ""
    client.close()


@pytest.mark.parametrize(
    "answer", [b"[" * 60_000, b'{"monitor": "m", "stamp": 1%s}' % (b"0" * 400), b'"', b"{}",
               b'{"monitor": "m", "stamp": NaN}']
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 400])
def test_what_is_no_monitor_does_not_end_a_beacon(
    status: int, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook(answer=(status, answer))
    with hook.serve() as where, connect("memory://") as client:
        reporting = beacon.start(client, where, interval=0.1)
        eventually(lambda: len(hook.told) >= 3)
        reporting.close(PATIENCE)
    assert caplog.text.count("beacon_failing") == 1
    assert ("is no monitor" if status == 200 else "refuses reports: 400") in caplog.text


def test_a_node_with_many_candidates_says_how_long_a_round_takes(sqlite: str) -> None:
    """Otherwise those that the last report has left out would be taken for silent."""
    hook = Hook()
    with connect(sqlite) as client, hook.serve() as where:
        kept = [client.elector(f"e-{number}") for number in range(1_200)]
        reporting = beacon.start(client, where, interval=0.2)
        eventually(lambda: len(hook.told) > 0)
        reporting.close()
    assert len(kept) == 1_200
    assert hook.told[0]["interval"] == pytest.approx(0.6)


def test_why_a_term_has_ended_is_told_also_when_its_end_was_seen_first(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, held = Hook(answer=(200, b'{"monitor": "m", "stamp": 1}')), list[Event]()
    hear = Beacon._hear

    def hold(self: Beacon, event: Event) -> None:
        if isinstance(event, TermEnded):
            held.append(event)
        else:
            hear(self, event)

    def told() -> list[str | None]:
        return [row["over"] for report in list(hook.told) for row in report["beliefs"]]

    monkeypatch.setattr(Beacon, "_hear", hold)
    with connect(sqlite) as client, hook.serve() as where:
        reporting = beacon.start(client, where, interval=0.1)
        with client.elector("e").lead(timeout=PATIENCE):
            eventually(lambda: None in told())
        eventually(lambda: "ended" in told() and held)
        hear(reporting, held[0])
        eventually(lambda: told()[-1] == "resigned")
        reporting.close()


def test_a_beacon_ends_with_its_client(monitors: Monitors, sqlite: str) -> None:
    monitor = monitors(sqlite)
    client = connect(sqlite)
    reporting = beacon.start(client, monitor.url, interval=0.1)
    del client
    reporting._thread.join(PATIENCE)
    assert not reporting._thread.is_alive()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "nonsense"}, "the monitor must be a URL like"),
        ({"url": "ftp://a"}, "the monitor must be a URL like"),
        ({"url": "http://a:99999999"}, "the monitor must be a URL like"),
        ({"url": "http://a b"}, "the monitor must be a URL like"),
        ({"url": None}, "no monitor given"),
        ({"interval": 0}, "interval=0 must be 0.1 to 60 seconds"),
        ({"interval": float("nan")}, "interval=nan"),
        ({"interval": True}, "interval=True"),
        ({"token": "ü"}, "printable ASCII"),
        ({"url": "http://me:pw@127.0.0.1:1", "token": "t" * 16}, "either the login in its URL or"),
    ],
)
def test_a_beacon_that_cannot_be(
    wrong: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEADERLOCK_MONITOR", raising=False)
    with pytest.raises(ConfigurationError, match=said):
        beacon.start(connect("memory://"), **({"url": "http://127.0.0.1:1"} | wrong))


def test_an_endpoint_says_nothing_of_its_secrets() -> None:
    endpoint = Endpoint("it", "http://me:s3cret@127.0.0.1:1/s3cret?k=s3cret", timeout=1)
    with pytest.raises(NoAnswer) as failure:
        endpoint.post(b"{}")
    assert "s3cret" not in f"{endpoint} {endpoint!r} {failure.value}"
    with pytest.raises(ConfigurationError) as refusal:
        Endpoint("it", "http://me:s3cret@[/", timeout=1)
    assert "s3cret" not in str(refusal.value)
