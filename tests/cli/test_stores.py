"""What is seen and done from outside, on every store."""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderlock import FencingToken, LeaderElector, LossReason, connect
from leaderlock.cli.store import Place
from leaderlock.testing.servers.redis import RedisServer
from tests.cli.tools import leaderlock
from tests.elector.tools import PATIENCE, Record, eventually

STORES = ("sqlite", "redis", "etcd", "zookeeper", "consul")
QUEUES = ("etcd", "zookeeper")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if store == "sqlite":
        return f"sqlite://{tmp_path}/election.db"
    found: str = request.getfixturevalue(store).url
    return found


@pytest.fixture
def namespace() -> str:
    return f"shop/{uuid.uuid4().hex}"


class Cli:
    """The command line on one namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self._environment = {"LEADERLOCK_URL": url, "LEADERLOCK_NAMESPACE": namespace}

    def __call__(self, *words: str, code: int = 0) -> str:
        done = leaderlock(*words, given=None, **self._environment)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def cli(url: str, namespace: str) -> Cli:
    return Cli(url, namespace)


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def leader(url: str, namespace: str, record: Record) -> Iterator[LeaderElector]:
    settings: dict[str, Any] = {"quarantine": False} if url.startswith("redis") else {}
    elector = LeaderElector(
        url,
        "größe 1/2",
        namespace=namespace,
        ttl=10,
        candidate_id="web-1",
        metadata={"host": "a"},
        on_elected=record.elected,
        on_lost=record.lost,
        **settings,
    )
    with elector:
        assert elector.wait_elected(timeout=20)
        yield elector


def test_nobody_leads_what_was_never_heard_of(cli: Cli) -> None:
    assert cli("who", "e", code=1) == "leaderlock: nobody leads 'e'\n"
    assert cli.json("who", "e", code=1)["candidate"] is None
    assert cli("list") == ""
    assert cli.json("candidates", "e") == []
    assert cli("evict", "e", "--yes", code=1) == "leaderlock: nobody leads 'e'\n"


def test_who_leads(cli: Cli, leader: LeaderElector, store: str) -> None:
    assert leader.leadership is not None
    told = cli.json("who", "größe 1/2")
    since = told.pop("since")
    assert told == {
        "election": "größe 1/2",
        "candidate": "web-1",
        "token": str(leader.leadership.token),
        "metadata": {"host": "a"},
    }
    assert bool(since) == (store in ("redis", "zookeeper"))
    plain = cli("who", "größe 1/2").rstrip("\n").split("\t")
    assert plain == [
        "größe 1/2", "web-1", str(leader.leadership.token), since or "", '{"host": "a"}'
    ]  # fmt: skip


def test_a_list_of_elections(cli: Cli, leader: LeaderElector, url: str, namespace: str) -> None:
    with connect(url, namespace=f"{namespace}-other", ttl=10).elector("e"):
        assert [row["election"] for row in cli.json("list")] == ["größe 1/2"]
        assert cli.json("list")[0]["candidate"] == "web-1"


def test_candidates(cli: Cli, leader: LeaderElector, url: str, namespace: str, store: str) -> None:
    with LeaderElector(
        url, "größe 1/2", namespace=namespace, ttl=10, candidate_id="web-2", metadata={"n": 2}
    ):
        known = 2 if store in QUEUES else 1
        eventually(lambda: len(cli.json("candidates", "größe 1/2")) == known)
        rows = cli.json("candidates", "größe 1/2")
        assert [row["candidate"] for row in rows] == ["web-1", "web-2"][:known]
        assert [row["place"] for row in rows] == ["leads", 1][:known]
        told = cli("candidates", "größe 1/2")
        assert ("does not know who waits" in told) == (known == 1)


def test_evict_lets_the_next_one_in(
    cli: Cli, leader: LeaderElector, record: Record, url: str, namespace: str
) -> None:
    assert leader.leadership is not None
    token = leader.leadership.token
    with LeaderElector(
        url, "größe 1/2", namespace=namespace, ttl=10, candidate_id="web-2"
    ) as other:
        another = f"{9:010}.{1:019}"
        told = cli("evict", "größe 1/2", "-y", "--token", another, code=1)
        assert told == f"leaderlock: 'größe 1/2' is led under another token, {token}\n"
        assert cli("evict", "größe 1/2", "-y") == "evicted web-1 from 'größe 1/2'\n"
        record.wait("lost")
        assert record.of("lost") == [LossReason.TAKEN]
        eventually(lambda: other.is_leader or record.kinds().count("elected") == 2)
        assert cli.json("who", "größe 1/2")["token"] > str(token)


def test_evict_does_nothing_where_nobody_can_be_asked(cli: Cli, leader: LeaderElector) -> None:
    told = cli("evict", "größe 1/2", code=2)
    assert re.fullmatch(r"leaderlock: web-1 leads 'größe 1/2' under token \S+ Nothing.*\n", told)
    assert leader.is_leader


def test_the_doctor_is_content_with_a_sound_store(cli: Cli, store: str) -> None:
    found = cli.json("doctor", "--elect")
    text = "\n".join(finding["text"] for finding in found["findings"])
    assert found["good"], text
    assert "answers in" in text
    assert "elected in" in text
    assert re.search(r"(SQLite|Redis|etcd|ZooKeeper|Consul) \d", text), text
    assert found["timing"]["worst_case_failover"] > found["timing"]["belief_window"]
    plain = cli("doctor")
    assert "a crashed leader is succeeded within" in plain
    assert plain.splitlines()[0].startswith("ok ")


def test_run_on_every_store_hands_no_connection_on(cli: Cli) -> None:
    code = "import os; print(os.environ['LEADERLOCK_TOKEN'], *os.listdir('/proc/self/fd'))"
    told = cli("run", "-e", "e", "-q", "--", sys.executable, "-IS", "-c", code)
    token, *descriptors = told.split()
    assert FencingToken.parse(token).epoch == 1
    assert sorted(descriptors) == ["0", "1", "2", "3"]  # the last is that of the listing


def test_a_store_that_hangs_holds_up_no_command_at_its_end() -> None:
    """However long a request may take with that ttl."""
    with RedisServer() as server:
        with Place(server.url, ttl=200).client() as client:
            server.freeze()
            runtime = client.runtime()
            runtime.ask_later("leader", runtime.backend.leader, "e")
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE < client.timing.request_timeout
