"""The profile `demo` of docker/compose.yml, its commands started as processes on a real Redis."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from functools import partial
from urllib.request import Request, urlopen

import pytest

from leaderlock.testing.servers.programs import Ports
from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import eventually
from tests.packaging.containers import PATIENCE, Container, Image, run
from tests.servers.test_compose import compose_config


class Demo:
    """The services, in place of Docker's networks on ports of this machine.

    Attributes:
        monitor: its URL.
    """

    def __init__(self, image: Image, redis: str, ports: Ports, stack: ExitStack) -> None:
        self.containers: dict[str, Container] = {}
        self._services = compose_config("--profile", "demo")
        self._images = {
            None: Image("cli", image.root),  # without a target it is the last one
            "billing": image,
        }
        self._stack = stack
        payments, monitor = str(ports.take()), str(ports.take())
        self.monitor = f"http://127.0.0.1:{monitor}"
        self._here = {
            "redis://redis:6379": redis,
            "//payments:": "//127.0.0.1:",
            "//monitor:": "//127.0.0.1:",
            "0.0.0.0": "127.0.0.1",
            "8080": payments,
            "9464": monitor,
        }

    def _local(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    def _image(self, name: str) -> Image:
        return self._images[self._services[name]["build"].get("target")]

    def settings(self, name: str) -> dict[str, str]:
        environment: dict[str, str] = self._services[name].get("environment", {})
        return {key: self._local(value) for key, value in environment.items()}

    def start(self, name: str, *more: str) -> Container:
        command = map(self._local, self._services[name]["command"])
        image = self._image(name)
        words = [*image.last("ENTRYPOINT"), *command, *more]
        container = Container(image, words, image.root / f"{name}.log", **self.settings(name))
        self.containers[name] = self._stack.enter_context(container)
        return container

    def is_healthy(self, name: str) -> bool:
        check: list[str] = self._services[name].get("healthcheck", {}).get("test", [])
        image = self._image(name)
        kind, *words = [self._local(word) for word in check] or image.last("HEALTHCHECK")
        assert kind == "CMD"
        return run(image, words, **self.settings(name)).returncode == 0

    def monitor_shows(self, metric: str) -> bool:
        """Whether it is 1."""
        token = self.settings("monitor")["LEADERLOCK_MONITOR_TOKEN"]
        ask = Request(f"{self.monitor}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urlopen(ask, timeout=30) as answer:
            text = answer.read().decode()
        return bool(re.search(rf"(?m)^leaderlock_monitor_{metric} 1\.0$", text))

    def told(self, kind: str) -> set[str]:
        """Which servers have told of such an event."""
        servers = {k: v.output for k, v in self.containers.items() if k.startswith("server-")}
        return {name for name, log in servers.items() if f'"kind":"{kind}"' in log}

    def audit(self) -> str:
        """Its exit status, which is 0 when all is done and right, and what it prints."""
        image = self._images["billing"]
        done = run(image, [*image.last("ENTRYPOINT"), *image.last("CMD")])
        assert done.stderr == ""
        return f"{done.returncode}: {done.stdout}"


@pytest.mark.timeout(300)  # the image may have to be made first
def test_four_servers_charge_everybody_once_though_their_leader_is_killed(
    billing_image: Image, own_redis: RedisServer
) -> None:
    ports = Ports()
    with ExitStack() as stack:
        stack.callback(ports.release)
        demo = Demo(billing_image, own_redis.url, ports, stack)
        assert demo.start("customers", "--subscriptions", "500").wait() == 0
        for name in "payments", "monitor":
            demo.start(name)
        for name in "payments", "monitor":
            eventually(partial(demo.is_healthy, name), f"{name} is up", PATIENCE)
        servers = [f"server-{n}" for n in (1, 2, 3, 4)]
        for name in servers:
            demo.start(name)

        eventually(lambda: demo.told("charged"), "somebody charges", PATIENCE)
        (first,) = demo.told("elected")
        demo.containers[first].signal(signal.SIGKILL)
        servers.remove(first)
        eventually(lambda: demo.told("elected") - {first}, "another one is elected", PATIENCE)
        done = "0: 200 are due: 200 charged once, 0 more often, 0 not at all; 0 others charged\n"
        eventually(lambda: demo.audit() == done, "everybody is charged once", PATIENCE)
        assert demo.is_healthy(servers[0])

        for seen in r'leader{candidate="server-.*}', r'believers{election="billing".*}':
            eventually(partial(demo.monitor_shows, seen), seen, PATIENCE)
        for name in servers:  # like `docker compose stop`
            demo.containers[name].signal(signal.SIGTERM)
        assert [demo.containers[name].wait() for name in servers] == [0, 0, 0]
        for name, status in ("payments", 0), ("monitor", 128 + signal.SIGTERM):
            demo.containers[name].signal(signal.SIGTERM)
            assert demo.containers[name].wait() == status
        assert demo.audit() == done
