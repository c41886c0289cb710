"""The profile `demo` of docker/compose.yml, its commands started as processes on a real Redis."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Any

import pytest

from leaderlock.testing.servers.programs import Ports
from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import eventually
from tests.packaging.containers import PATIENCE, Container, Image, run
from tests.servers.test_compose import compose_config


class Demo:
    """The services, in place of Docker's networks on ports of this machine."""

    def __init__(self, image: Image, redis: str, port: int, stack: ExitStack) -> None:
        self.image = image
        self.containers: dict[str, Container] = {}
        self._services = compose_config("--profile", "demo")
        self._stack = stack
        self._here = {
            "redis://redis:6379": redis,
            "http://payments:8080": f"http://127.0.0.1:{port}",
            "0.0.0.0:8080": f"127.0.0.1:{port}",
            "8080": str(port),
        }

    def _local(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here) if there in text else text
        return text

    def _settings(self, name: str) -> dict[str, str]:
        environment: dict[str, str] = self._services[name].get("environment", {})
        return {key: self._local(value) for key, value in environment.items()}

    def start(self, name: str, *more: str) -> Container:
        service: dict[str, Any] = self._services[name]
        words = [*self.image.last("ENTRYPOINT"), *map(self._local, service["command"]), *more]
        log = self.image.root / f"{name}.log"
        container = Container(self.image, words, log, **self._settings(name))
        self.containers[name] = self._stack.enter_context(container)
        return container

    def is_healthy(self, name: str) -> bool:
        check: list[str] = self._services[name].get("healthcheck", {}).get("test", [])
        words = [self._local(word) for word in check] or self.image.last("HEALTHCHECK")
        assert words[0] == "CMD"
        return run(self.image, words[1:], **self._settings(name)).returncode == 0

    def audit(self) -> str:
        """What it prints. Its status says whether all is done and right, and nothing else is."""
        words = [*self.image.last("ENTRYPOINT"), *self.image.last("CMD")]
        done = run(self.image, words)
        assert done.stderr == ""
        return f"{done.returncode}: {done.stdout}"


@pytest.mark.timeout(300)  # the image may have to be made first
def test_four_servers_charge_everybody_once_though_their_leader_is_killed(
    billing_image: Image, own_redis: RedisServer
) -> None:
    ports = Ports()
    with ExitStack() as stack:
        stack.callback(ports.release)
        demo = Demo(billing_image, own_redis.url, ports.take(), stack)
        assert demo.start("customers", "--subscriptions", "500").wait() == 0
        demo.start("payments")
        eventually(lambda: demo.is_healthy("payments"), "the payment service is up", PATIENCE)
        servers = [f"server-{n}" for n in (1, 2, 3, 4)]
        for name in servers:
            demo.start(name)

        def leader() -> str:
            logs = {name: demo.containers[name].output for name in servers}
            return next((name for name in servers if '"charged"' in logs[name]), "")

        eventually(leader, "somebody charges", PATIENCE)
        killed = leader()
        demo.containers[killed].signal(signal.SIGKILL)
        servers.remove(killed)
        assert demo.audit().startswith("1: 200 are due"), "it is killed in the middle"
        assert demo.is_healthy(servers[0])
        done = "0: 200 are due: 200 charged once, 0 more often, 0 not at all; 0 others charged\n"
        eventually(lambda: demo.audit() == done, "everybody is charged once", PATIENCE)
        for name in servers:  # like `docker compose stop`
            demo.containers[name].signal(signal.SIGTERM)
        assert [demo.containers[name].wait() for name in servers] == [0, 0, 0]
        demo.containers["payments"].signal(signal.SIGTERM)
        assert demo.containers["payments"].wait() == 0
        assert demo.audit() == done
