"""A real Consul server, for the suite."""

from __future__ import annotations

from leaderlock.backends.base import Backend, Settings
from leaderlock.backends.consul import ConsulBackend
from leaderlock.backends.layout import key_part
from leaderlock.testing.harness import NAMESPACE
from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.process import NotReady
from leaderlock.url import StoreURL
from tests.conformance.server_harness import ServerHarness


class ConsulHarness(ServerHarness[ConsulServer]):
    """Leases run out after three short_ttl: Consul doubles a ttl, then comes the lock-delay."""

    short_ttl = 1.5
    short_timeout = 0.33

    def make_backend(self, settings: Settings) -> Backend:
        return ConsulBackend.from_url(StoreURL.parse(self._server.url), settings)

    def delete_leader(self, election: str) -> None:
        # Twice escaped: once for the URL, once for the key's own sake.
        key = f"{key_part(NAMESPACE)}/{key_part(election)}/leader".replace("%", "%25")
        self._server.call("DELETE", f"/v1/kv/{key}")

    def written(self) -> object:
        try:
            keys = self._server.call("GET", "/v1/kv/?recurse&consistent")
        except NotReady:  # there is none
            keys = []
        sessions = self._server.call("GET", "/v1/session/list")
        return keys, sorted(session["ID"] for session in sessions)
