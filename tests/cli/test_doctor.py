"""`leaderlock doctor` finds what endangers elections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leaderlock.backends.admin import is_older
from leaderlock.backends.consul.admin import _seconds
from leaderlock.backends.etcd.admin import _judge_version
from leaderlock.testing.servers.redis import RedisServer
from leaderlock.testing.servers.zookeeper import ZooKeeperServer
from tests.cli.tools import leaderlock


def examine(url: str, *words: str, code: int = 0) -> dict[str, str]:
    """The findings: text and grade."""
    done = leaderlock("doctor", "--json", *words, given=None, LEADERLOCK_URL=url)
    assert done.returncode == code, (done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["good"] == (code == 0)
    return {finding["text"]: finding["grade"] for finding in found["findings"]}


def grade_of(findings: dict[str, str], part: str) -> str:
    (grade,) = [grade for text, grade in findings.items() if part in text]
    return grade


def test_a_redis_that_may_evict_a_leader(own_redis: RedisServer) -> None:
    own_redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    own_redis.call("CONFIG", "SET", "appendonly", "no")
    findings = examine(own_redis.url, code=1)
    assert grade_of(findings, "maxmemory-policy noeviction (it is allkeys-lru)") == "bad"
    assert grade_of(findings, "appendonly yes") == "note"
    assert grade_of(findings, "may let two believe") == "note"
    findings = examine(f"{own_redis.url}?quarantine=false", code=1)
    assert grade_of(findings, "set appendonly yes") == "bad"


def test_a_redis_that_writes_down_later_what_it_has_said(own_redis: RedisServer) -> None:
    own_redis.call("CONFIG", "SET", "appendfsync", "everysec")
    assert grade_of(examine(own_redis.url), "appendfsync everysec") == "note"
    findings = examine(f"{own_redis.url}?quarantine=false", code=1)
    assert grade_of(findings, "appendfsync everysec") == "bad"


def test_a_user_who_may_hold_elections_and_no_more() -> None:
    rights = "+hget +hset +hmget +exists +pttl +get +set +eval +evalsha +del +hdel +pexpire"
    with RedisServer(users=[f"app on >pass ~* &* -@all {rights} +select +ping"]) as server:
        url = server.url.replace("redis://", "redis://app:pass@")
        assert grade_of(examine(url), "settings unknown: ") == "note"


def test_a_redis_with_replicas_that_it_does_not_wait_for(own_redis: RedisServer) -> None:
    with RedisServer() as replica:
        replica.call("REPLICAOF", "127.0.0.1", str(own_redis.port))
        own_redis.call("WAIT", "1", "20000")
        findings = examine(own_redis.url, code=1)
        assert grade_of(findings, "min-replicas-to-write 1") == "bad"
        assert not any("fail-over may" in t for t in examine(f"{own_redis.url}?wait_replicas=1"))
        own_redis.call("CONFIG", "SET", "min-replicas-to-write", "1")
        assert not any("min-replicas" in text for text in examine(own_redis.url))
        told = leaderlock("doctor", LEADERLOCK_URL=replica.url)
        assert told.returncode == 77
        assert "is a replica: name the primary" in told.stderr


def test_a_ttl_that_zookeeper_prolongs_or_cuts_short() -> None:
    with ZooKeeperServer(tick=3000) as server:
        findings = examine(server.url, "--ttl", "4")
        assert grade_of(findings, "grants sessions of 6 s instead of 4 s") == "note"
        assert grade_of(findings, "a single server") == "note"
        told = leaderlock("doctor", "--ttl", "100", LEADERLOCK_URL=server.url)
        assert told.returncode == 77
        assert "grants sessions of at most 60 s" in told.stderr


def test_a_ttl_that_consul_refuses(request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("consul").url
    findings = examine(url, "--ttl", "1", code=0)
    assert grade_of(findings, "Consul 1.") == "good"
    assert [_seconds(text) for text in ("10s", "1m30s", "500ms", "1h0m0s", "?")] == [
        10, 90, 0.5, 3600, 0,
    ]  # fmt: skip


def test_an_sqlite_file_without_a_directory(tmp_path: Path) -> None:
    done = leaderlock("doctor", LEADERLOCK_URL=f"sqlite://{tmp_path}/missing/e.db")
    assert done.returncode in (1, 77)


@pytest.mark.parametrize(
    ("version", "bugs"),
    [("3.4.30", 2), ("3.5.12", 2), ("3.5.16", 1), ("3.5.23", 0), ("3.6.4", 1), ("3.6.5", 0)],
)
def test_known_bugs_of_etcd(version: str, bugs: int) -> None:
    good, *notes = _judge_version("h:1", version)
    assert len(notes) == bugs


def test_versions_are_compared_as_numbers() -> None:
    assert is_older("3.5.9", "3.5.13")
    assert not is_older("1.8.7+dfsg1", "1.8")
    assert not is_older("v3.10.0-rc1", "3.9")
