"""What the tests of consul:// share."""

from __future__ import annotations

import base64
import contextlib
import http.client
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from leaderlock import BackendUnavailable
from leaderlock.backends.base import Attempt, Granted, Renewal, Settings, Waiting
from leaderlock.backends.consul import ConsulBackend
from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.web import Refusal
from leaderlock.url import StoreURL

SOON = 20.0
"""How long what must come may take on a busy machine, in seconds."""


def make_backend(
    url: str,
    *,
    ttl: float = 30.0,
    request_timeout: float = 2.0,
    namespace: str = "leaderlock",
    **options: Any,
) -> ConsulBackend:
    settings = Settings(ttl=ttl, request_timeout=request_timeout, namespace=namespace)
    parsed = replace(StoreURL.parse(url), options=options)
    return ConsulBackend.from_url(parsed, settings)


@contextlib.contextmanager
def backends(*made: ConsulBackend) -> Iterator[None]:
    try:
        yield
    finally:
        for backend in made:
            backend.close()


Make = Callable[..., ConsulBackend]


@contextlib.contextmanager
def maker(url: str) -> Iterator[Make]:
    """Makes backends of a server, and closes them at the end."""
    made: list[ConsulBackend] = []

    def make(url: str = url, **settings: Any) -> ConsulBackend:
        made.append(make_backend(url, **settings))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def new_election() -> str:
    return f"e-{uuid.uuid4().hex}"


def an_attempt(election: str, wake: Callable[[], None] = lambda: None) -> Attempt:
    name = uuid.uuid4().hex
    return Attempt(election, name, b"payload of " + name.encode(), wake)


def win(backend: ConsulBackend, attempt: Attempt) -> Granted:
    answer = backend.campaign(attempt)
    assert isinstance(answer, Granted), answer
    return answer


def win_soon(backend: ConsulBackend, attempt: Attempt, within: float = SOON) -> Granted:
    """As the core does: ask again while there is no answer, or another one leads."""
    end = time.monotonic() + within
    while True:
        with contextlib.suppress(BackendUnavailable):
            if isinstance(answer := backend.campaign(attempt), Granted):
                return answer
        assert time.monotonic() < end, f"not granted within {within} s"
        time.sleep(0.05)  # nothing wakes an attempt over a lock-delay


def must_wait(backend: ConsulBackend, attempt: Attempt) -> Waiting:
    answer = backend.campaign(attempt)
    assert isinstance(answer, Waiting), answer
    return answer


def renewal(backend: ConsulBackend, attempt: Attempt) -> Renewal:
    return backend.renew([attempt]).outcomes[attempt.attempt_id]


@dataclass
class Operator:
    """Somebody with a key to everything."""

    server: ConsulServer
    namespace: str = "leaderlock"

    def path(self, election: str) -> str:
        return f"/v1/kv/{self.namespace}/{election}/leader"

    def entry(self, election: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.server.call("GET", self.path(election) + "?consistent")[0]
        except Refusal as answer:
            assert answer.status == 404
            return None
        found["Value"] = base64.b64decode(found["Value"] or "")
        return found

    def holder(self, election: str) -> str:
        """The session that holds the key; empty: none does."""
        entry = self.entry(election)
        return str(entry.get("Session", "")) if entry else ""

    def heirs(self, election: str) -> list[str]:
        """Their sessions, in the order in which they came; "dead" for a key without one."""
        prefix = self.path(election).removesuffix("leader") + "heir/"
        try:
            found = self.server.call("GET", prefix + "?recurse&consistent")
        except Refusal as answer:
            assert answer.status == 404
            return []
        found.sort(key=lambda entry: entry["CreateIndex"])
        return [entry.get("Session", "dead") for entry in found]

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.call("GET", "/v1/session/list?consistent")
        return found

    def destroy(self, session: str) -> None:
        self.server.call("PUT", f"/v1/session/destroy/{session}")

    def put(self, election: str, value: str = "foreign", parameters: str = "") -> None:
        """The value as it stands, without the quotes of JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("PUT", self.path(election) + parameters, value)
            assert connection.getresponse().read().strip() == b"true"

    def delete(self, path: str) -> None:
        self.server.call("DELETE", path)
