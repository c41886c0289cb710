"""Runs `leaderlock monitor` as its users do, and asks it as they do."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.cli.tools import LEADERLOCK, environment
from tests.elector.tools import PATIENCE, eventually

TOKEN = "0123456789abcdef0123456789abcdef"


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: str


class MonitorProcess:
    """A running monitor. Nothing is left of it."""

    def __init__(self, url: str, folder: Path, *options: str, **more: str) -> None:
        self._log = folder / "monitor.log"
        words = ["monitor", "--listen", "127.0.0.1:0", "--json", *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*LEADERLOCK, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(LEADERLOCK_URL=url, **more),
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        self.url: str = json.loads(line)["url"]
        self.token = more.get("LEADERLOCK_MONITOR_TOKEN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(
        self, path: str, *, method: str = "GET", body: str | bytes | None = None, **headers: str
    ) -> Reply:
        """Names of headers with "_" for "-"."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            given.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.request(method, path, body, given)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read().decode())
        finally:
            connection.close()

    def state(self) -> Any:
        return json.loads(self.ask("/api/state").body)

    def election(self, name: str) -> Any:
        return next((e for e in self.state()["elections"] if e["name"] == name), None)

    def alarms(self) -> set[tuple[str, str | None]]:
        return {(alarm["kind"], alarm["election"]) for alarm in self.state()["alarms"]}

    def wait_led(self, election: str, candidate: str | None) -> None:
        def is_led() -> bool:
            found = self.election(election)
            leader = found and found["leader"]
            return bool(found) and (leader and leader["candidate"]) == candidate

        eventually(is_led, f"{election} led by {candidate}: {self.said()}")

    def wait_belief(self, election: str, candidate: str) -> None:
        def is_told() -> bool:
            beliefs = self.election(election)["beliefs"]
            return any(belief["candidate"] == candidate for belief in beliefs)

        eventually(is_told, f"{candidate} believes to lead {election}")

    def over(self, election: str) -> dict[str, str | None]:
        """Why each belief is over, by candidate."""
        beliefs = (self.election(election) or {"beliefs": []})["beliefs"]
        return {belief["candidate"]: belief["over"] for belief in beliefs}

    def wait_alarm(self, kind: str, *, raised: bool = True) -> None:
        eventually(
            lambda: (kind in {name for name, _ in self.alarms()}) is raised,
            f"{kind} {'raised' if raised else 'resolved'}",
            timeout=90.0,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        from prometheus_client.parser import text_string_to_metric_families

        found = [
            sample.value
            for family in text_string_to_metric_families(self.ask("/metrics").body)
            for sample in family.samples
            if sample.name == f"leaderlock_monitor_{name}"
            and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        return self._log.read_text()


Monitors = Callable[..., MonitorProcess]
"""Starts one on a store, with options and environment. It is ended with the test."""


class Hook:
    """A webhook that remembers what it was told, and fails as often as it is asked to.

    Args:
        answer: its code of HTTP, and the body.
    """

    def __init__(self, failures: int = 0, answer: tuple[int, bytes] = (204, b"")) -> None:
        self.answer = answer
        self.told: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.failures = failures

    def changes(self, state: str) -> list[str]:
        changes = [change for body in list(self.told) for change in body["changes"]]
        return [change["kind"] for change in changes if change["state"] == state]

    @contextmanager
    def serve(self) -> Iterator[str]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.paths.append(self.path)
                status, reply = hook.answer
                if hook.failures:
                    hook.failures -= 1
                    status, reply = 503, b""
                else:
                    hook.told.append(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join(PATIENCE)
