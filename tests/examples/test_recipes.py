"""Cron, APScheduler, Celery beat, Django, pytest: real processes, killed while they lead."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest
from redis import Redis

from examples.recipes.cron_job import CUSTOMERS
from leaderlock import FencingToken, StaleToken, connect
from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import ROOT, eventually
from tests.examples.programs import Programs, led_one_after_the_other, wait_end


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with Programs(tmp_path) as programs:
        yield programs


def test_the_ledger_refuses_a_leader_that_is_late(programs: Programs) -> None:
    from examples.recipes.ledger import Ledger

    early, late = FencingToken(1, 9), FencingToken(1, 10)
    with Ledger(programs.environment["LEDGER"]) as ledger:
        assert ledger.claim("job", "a", early)
        ledger.touch("job", late)
        for refused in (
            lambda: ledger.claim("job", "b", early),
            lambda: ledger.touch("job", early),
        ):
            with pytest.raises(StaleToken):
                refused()
        assert not ledger.claim("job", "a", late)
        assert ledger.claim("other job", "a", early)
        assert [d.item for d in ledger.done("job")] == ["a"]
        assert ledger.last("job") == ledger.done("job")[0]


def test_cron_on_three_hosts_does_the_work_of_a_period_once(programs: Programs) -> None:
    hosts = [programs.start("examples.recipes.cron_job", "monday") for _ in range(3)]
    assert [wait_end(host) for host in hosts] == [0, 0, 0], programs.output()
    late = programs.start("examples.recipes.cron_job", "monday")  # its clock is behind
    assert wait_end(late) == 0
    done = programs.done("charge monday")
    assert sorted(d.item for d in done) == sorted(CUSTOMERS)
    assert len({d.pid for d in done}) == 1
    assert sorted(programs.output().split()) == sorted(["charged"] * 4 + ["0"] * 3 + ["100"])


SLOWLY = """
import sys, threading
from examples.recipes import cron_job, ledger
claim = ledger.Ledger.claim

def slowly(self, *item):
    threading.Event().wait(0.02)
    return claim(self, *item)

ledger.Ledger.claim = slowly
cron_job.main()
"""


def test_a_cron_host_that_is_killed_leaves_the_rest_to_the_next(programs: Programs) -> None:
    (programs.folder / "slow_cron.py").write_text(SLOWLY)
    hosts = {p.pid: p for p in (programs.start("slow_cron", "monday") for _ in range(2))}
    first = programs.wait_done("charge monday", 5)[0].pid
    hosts.pop(first).kill()
    (other,) = hosts.values()
    assert wait_end(other) == 0, programs.output()
    done = programs.done("charge monday")
    assert sorted(d.item for d in done) == sorted(CUSTOMERS)
    assert {d.pid for d in done} == {first, other.pid}
    led_one_after_the_other(done)


def test_a_cron_job_that_is_terminated_says_so_and_hands_over(programs: Programs) -> None:
    (programs.folder / "slow_cron.py").write_text(SLOWLY)
    host = programs.start("slow_cron", "monday")
    programs.wait_done("charge monday", 5)
    host.terminate()
    assert wait_end(host) == 128 + signal.SIGTERM
    assert 5 <= len(programs.done("charge monday")) < len(CUSTOMERS)
    assert wait_end(programs.start("examples.recipes.cron_job", "monday")) == 0
    assert len(programs.done("charge monday")) == len(CUSTOMERS)


def test_apscheduler_runs_a_job_in_one_of_three_processes(programs: Programs) -> None:
    command = "examples.recipes.apscheduler_job"
    processes = {p.pid: p for p in (programs.start(command) for _ in range(3))}
    first = programs.wait_done("report", 2)[0].pid
    processes.pop(first).kill()
    second = programs.wait_done("report", 2)[-1].pid
    assert second != first
    leader = processes.pop(second)
    leader.terminate()
    assert wait_end(leader) == 0, programs.output()
    (last,) = processes
    assert programs.wait_done("report", 1)[-1].pid == last
    led_one_after_the_other(programs.done("report"))


def senders(broker: Redis) -> list[str]:
    """Which process has sent each task, in order. (New ones are put in front.)"""
    messages = reversed(broker.lrange("celery", 0, -1))
    return [json.loads(message)["headers"]["origin"] for message in messages]


@pytest.fixture
def broker(own_redis: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(f"{own_redis.url}/1") as broker:
        yield broker


def test_one_celery_beat_sends_and_another_takes_over(
    tmp_path: Path, own_redis: RedisServer, broker: Redis
) -> None:
    celery = ["celery", "-A", "examples.recipes.celery_beat", "beat", "--pidfile="]
    celery += ["--scheduler", "examples.recipes.celery_beat:LeaderScheduler"]
    options = {"BROKER_URL": f"{own_redis.url}/1", "EVERY": "0.5"}
    with Programs(tmp_path, f"{own_redis.url}?ttl=2&quarantine=false") as beats:
        running = {p.pid: p for p in (beats.start(*celery, **options) for _ in range(3))}

        def wait_sent(more: int) -> None:
            before = len(senders(broker))
            eventually(lambda: len(senders(broker)) >= before + more)

        def leader() -> subprocess.Popen[bytes]:
            wait_sent(3)
            return running[beats.done("beat charge")[-1].pid]

        killed = leader()
        killed.kill()
        paused = leader()
        assert paused is not killed
        paused.send_signal(signal.SIGSTOP)
        terminated = leader()
        assert terminated not in (killed, paused)
        paused.send_signal(signal.SIGCONT)  # it wakes up in the term of another
        wait_sent(3)
        terminated.terminate()
        assert wait_end(terminated) == 0, beats.output()
        assert leader() is paused
        paused.terminate()
        assert wait_end(paused) == 0, beats.output()
        done = beats.done("beat charge")
    led_one_after_the_other(done)
    origins = [origin for origin, _ in groupby(senders(broker))]
    assert len(origins) == 4 and len(set(origins)) == 3, "they have sent one after the other"
    # What is written down and not sent: at most what was under way when a beat was killed, and
    # what was when it was paused.
    assert len(done) - 2 <= len(senders(broker)) <= len(done)


DJANGO = "examples.recipes.django_site.manage"
SLOW_DJANGO = """
import threading
from django.db.models.signals import pre_save
from examples.recipes.django_site.billing import models
pre_save.connect(lambda **_: threading.Event().wait(0.02), models.Customer, weak=False)
"""


@pytest.fixture
def django(programs: Programs) -> Iterator[sqlite3.Connection]:
    """The project's database, with fifty customers."""
    database = programs.folder / "db.sqlite3"
    programs.environment["DATABASE"] = str(database)
    migration = programs.start(DJANGO, "migrate", "--run-syncdb")
    assert wait_end(migration) == 0, programs.output()
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        for number in range(50):
            connection.execute(
                "INSERT INTO billing_customer (name, charged_under) VALUES (?, '')", (str(number),)
            )
        yield connection


def charged(django: sqlite3.Connection) -> list[str]:
    """The tokens under which customers have been charged."""
    rows = django.execute(
        "SELECT charged_under FROM billing_customer WHERE charged_on = '2030-01-01' ORDER BY id"
    )
    return [token for (token,) in rows]


def charge_due(programs: Programs, *, slow: bool = False) -> subprocess.Popen[bytes]:
    arguments = ["charge_due", "--day=2030-01-01", "--wait=30"]
    if slow:
        (programs.folder / "slow_settings.py").write_text(
            "from examples.recipes.django_site.settings import *\n"
            "INSTALLED_APPS = [*INSTALLED_APPS, 'slow_app']\n"
        )
        app = programs.folder / "slow_app"
        app.mkdir(exist_ok=True)
        (app / "__init__.py").touch()
        (app / "models.py").write_text(SLOW_DJANGO)
        return programs.start(DJANGO, *arguments, DJANGO_SETTINGS_MODULE="slow_settings")
    return programs.start(DJANGO, *arguments)


def test_a_django_command_that_is_killed_is_finished_by_another(
    programs: Programs, django: sqlite3.Connection
) -> None:
    hosts = [charge_due(programs, slow=True) for _ in range(2)]
    eventually(lambda: len(charged(django)) >= 3, "customers are charged")
    with connect(programs.url) as client:
        info = client.elector("charge_due").leader()
    assert info is not None
    leader = next(host for host in hosts if f"-{host.pid}-" in info.candidate_id)
    leader.kill()
    hosts.remove(leader)
    assert wait_end(hosts[0]) == 0, programs.output()
    tokens = charged(django)
    assert len(tokens) == 50
    assert tokens == sorted(tokens) and len(set(tokens)) == 2


def test_a_django_command_ends_of_a_sigterm_and_hands_over(
    programs: Programs, django: sqlite3.Connection
) -> None:
    host = charge_due(programs, slow=True)
    eventually(lambda: len(charged(django)) >= 3, "customers are charged")
    host.terminate()
    assert wait_end(host) == 128 + signal.SIGTERM, programs.output()
    assert len(charged(django)) < 50
    assert wait_end(charge_due(programs)) == 0, programs.output()
    assert len(charged(django)) == 50


def test_the_recipe_for_pytest_passes(tmp_path: Path) -> None:
    recipe = ROOT / "examples/recipes/test_service.py"
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "leaderlock.testing.plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-q", "--rootdir", str(tmp_path), str(recipe)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
