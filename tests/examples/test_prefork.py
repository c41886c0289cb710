"""gunicorn and uvicorn with real workers: one leads, is killed, terminated; another one leads."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import ROOT, eventually
from tests.examples.programs import Programs, free_port, led_one_after_the_other, wait_end

CONFIG = str(ROOT / "examples/recipes/gunicorn_conf.py")


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with Programs(tmp_path) as programs:
        yield programs


class Web:
    """A web server with several workers."""

    def __init__(self, programs: Programs, *command: str, port: int) -> None:
        self.programs = programs
        self.process = programs.start(*command)
        self._url = f"http://127.0.0.1:{port}/"

    def ask(self) -> dict[str, Any]:
        """Ask whichever worker takes the connection."""
        with urllib.request.urlopen(self._url, timeout=5) as answer:
            return dict(json.load(answer))

    def charge(self) -> tuple[int, object]:
        request = urllib.request.Request(f"{self._url}charge", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)["detail"]["leader"]

    def leaders(self, workers: int) -> list[int]:
        """Who says that it leads, when so many workers have been heard."""
        answers: dict[int, bool] = {}

        def heard_all() -> bool:
            try:
                answer = self.ask()
            except OSError:  # not there yet
                return False
            answers[answer["pid"]] = answer["is_leader"]
            return len(answers) >= workers

        eventually(heard_all, self.programs.output())
        return [pid for pid, is_leader in answers.items() if is_leader]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_one_gunicorn_worker_leads_and_the_next_when_it_is_killed(
    programs: Programs, preload: list[str]
) -> None:
    port = free_port()
    command = ["gunicorn", "-c", CONFIG, *preload, "-b", f"127.0.0.1:{port}"]
    web = Web(programs, *command, "examples.recipes.gunicorn_app:app", port=port)
    killed = programs.wait_done("web")[0].pid
    assert web.leaders(workers=3) == [killed]
    assert killed != web.process.pid, "the master does not lead"

    os.kill(killed, signal.SIGKILL)
    second = programs.wait_done("web")[-1].pid
    assert second != killed
    assert web.leaders(workers=3) == [second], "also with the worker that replaces the first"

    os.kill(second, signal.SIGTERM)  # as max_requests and a reload do
    third = programs.wait_done("web", 3)[-1].pid
    assert third not in (killed, second)

    web.process.terminate()
    assert wait_end(web.process) == 0
    led_one_after_the_other(programs.done("web"))
    assert len({d.token for d in programs.done("web")}) >= 3
    assert "Traceback" not in programs.output()


def test_a_reload_hands_over_to_the_new_workers(tmp_path: Path, own_redis: RedisServer) -> None:
    """On a store that could only wait for the lease to run out."""
    with Programs(tmp_path, f"{own_redis.url}?ttl=60&quarantine=false") as programs:
        reload(programs)


def reload(programs: Programs) -> None:
    port = free_port()
    command = ["gunicorn", "-c", CONFIG, "-b", f"127.0.0.1:{port}"]
    web = Web(programs, *command, "examples.recipes.gunicorn_app:app", port=port)
    old = programs.wait_done("web")[0].pid
    web.leaders(workers=3)
    web.process.send_signal(signal.SIGHUP)

    def is_gone() -> bool:
        try:
            os.kill(old, 0)
        except ProcessLookupError:
            return True
        return False

    eventually(is_gone, "the old leader has ended")
    new = programs.wait_done("web")[-1].pid
    assert new != old
    led_one_after_the_other(programs.done("web"))


def test_a_term_of_the_master_leads_no_worker(programs: Programs) -> None:
    """The pitfall of preload_app: the documentation warns of it, and says what happens."""
    (programs.folder / "wrong.py").write_text(
        "from examples.recipes.gunicorn_app import app, elector\n"
        "elector.start()\n"
        "assert elector.wait_elected(20)\n"
    )
    port = free_port()
    command = ["gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "wrong:app"]
    web = Web(programs, *command, port=port)
    assert web.leaders(workers=2) == []


def test_one_uvicorn_worker_leads_and_the_next_when_it_is_killed(programs: Programs) -> None:
    port = free_port()
    command = ["uvicorn", "--workers", "3", "--port", str(port)]
    web = Web(programs, *command, "examples.recipes.fastapi_app:app", port=port)
    killed = programs.wait_done("api")[0].pid
    assert web.leaders(workers=3) == [killed]

    os.kill(killed, signal.SIGKILL)
    second = programs.wait_done("api")[-1].pid
    assert second != killed
    assert web.leaders(workers=2) == [second]

    web.process.terminate()
    assert wait_end(web.process) == 0
    led_one_after_the_other(programs.done("api"))
    assert "Traceback" not in programs.output()


def test_a_uvicorn_server_that_is_terminated_hands_over(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    """On a store that could only wait for the lease to run out."""
    with Programs(tmp_path, f"{own_redis.url}?ttl=60&quarantine=false") as programs:
        command = ["uvicorn", "examples.recipes.fastapi_app:app", "--port"]
        ports = [free_port(), free_port()]
        webs = [Web(programs, *command, str(port), port=port) for port in ports]
        leader = programs.wait_done("api")[0].pid
        for web in webs:
            web.leaders(workers=1)  # it answers
        first, other = sorted(webs, key=lambda web: web.process.pid != leader)
        status, who = other.charge()
        assert status == 503 and f"-{leader}-" in str(who)
        assert first.charge()[0] == 200
        first.process.terminate()
        assert programs.wait_done("api", by=other.process.pid)
        assert wait_end(first.process) in (0, -signal.SIGTERM)
        assert other.charge()[0] == 200
        led_one_after_the_other(programs.done("api"))
        assert "Traceback" not in programs.output()
