"""Consul, one node or a cluster."""

from __future__ import annotations

import json
import uuid
from typing import Any

from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.cluster import Cluster
from leaderlock.testing.servers.process import START_TIMEOUT, Server, wait_until
from leaderlock.testing.servers.programs import program
from leaderlock.testing.servers.web import Refusal, call

MASTER_TOKEN = "b1gs33cr3t-0000-4000-8000-000000000000"


class ConsulServer(Server):
    """A Consul server with sessions as short as a second.

    Args:
        acl: nothing is allowed without a token; `token` may do everything then.
        certificates: speaks HTTPS alone.
        client_certificates: also asks for a client's certificate.
        settings: more of the agent's configuration.
    """

    def __init__(
        self,
        *,
        acl: bool = False,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        settings: dict[str, object] | None = None,
    ) -> None:
        super().__init__()
        self.token = MASTER_TOKEN if acl else ""
        self.certificates = certificates
        self.rpc_port, self.gossip_port = self.ports.take(), self.ports.take()
        tls = certificates is not None
        self.settings: dict[str, object] = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": f"node-{self.port}",
            "data_dir": str(self.data),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": -1 if tls else self.port,
                "https": self.port if tls else -1,
                "server": self.rpc_port,
                "serf_lan": self.gossip_port,
                "serf_wan": -1,
                "dns": -1,
                "grpc": -1,
            },
            "performance": {"raft_multiplier": 1},
            # Servers that were cut off shall come back as they are; else they are expelled after
            # some seconds, and it takes a minute until they are let in again.
            "autopilot": {"cleanup_dead_servers": False},
            "session_ttl_min": "1s",
            # All clients are one to it. Consul wants as many file descriptors, and 20 more.
            "limits": {"http_max_conns_per_client": 1000},
            "disable_update_check": True,
            "log_level": "warn",
        }
        if acl:
            self.settings["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": MASTER_TOKEN, "agent": MASTER_TOKEN},
            }
        if certificates is not None:
            self.settings |= {
                "ca_file": str(certificates.ca),
                "cert_file": str(certificates.server_cert),
                "key_file": str(certificates.server_key),
                "verify_incoming_https": client_certificates,
            }
        self.settings |= settings or {}

    def url_at(self, port: int) -> str:
        return f"{'consuls' if self.certificates else 'consul'}://127.0.0.1:{port}"

    def command(self) -> list[str]:
        config = self.folder / "consul.json"
        config.write_text(json.dumps(self.settings), "utf-8")
        return [program("consul"), "agent", f"-config-file={config}"]

    def probe(self) -> None:
        # Takes a leader that has settled in, and one that knows its ACLs.
        try:
            self.call("GET", "/v1/kv/probe?consistent")
        except Refusal as answer:
            if answer.status != 404:
                raise

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the HTTP API with `token`."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        tls = self.certificates.context() if self.certificates else None
        return call(
            self.port, method, path, body, headers=headers, tls=tls, timeout=self.call_timeout
        )

    def make_token(self, rules: str) -> str:
        """The secret of a new token: `make_token('key_prefix "" { policy = "write" }')`."""
        policy = self.call("PUT", "/v1/acl/policy", {"Name": uuid.uuid4().hex, "Rules": rules})
        token = self.call("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
        return str(token["SecretID"])


class ConsulCluster(Cluster[ConsulServer]):
    """Nodes that listen on 127.0.0.1."""

    scheme = "consul"

    def __init__(self, size: int = 3) -> None:
        self.nodes = [ConsulServer() for _ in range(size)]
        for node in self.nodes:
            others = [n for n in self.nodes if n is not node]
            node.settings |= {
                "bootstrap_expect": size,
                "retry_join": [f"127.0.0.1:{other.gossip_port}" for other in others],
                "retry_interval": "1s",
            }

    def leads(self, node: ConsulServer) -> bool:
        return bool(node.call("GET", "/v1/status/leader") == f"127.0.0.1:{node.rpc_port}")

    def lose_data(self, node: ConsulServer) -> None:
        """All but its id: another one of the same name would be refused."""
        file = node.data / "node-id"
        node_id = file.read_text("ascii")
        super().lose_data(node)
        node.data.mkdir()
        file.write_text(node_id, "ascii")

    def wait_until_caught_up(self, node: ConsulServer) -> None:
        super().wait_until_caught_up(node)
        known = _applied(self.leader())
        wait_until(
            lambda: _applied(node) >= known, START_TIMEOUT, lambda: f"{node} does not catch up"
        )


def _applied(node: ConsulServer) -> int:
    """How far in the servers' common log it is."""
    return int(node.call("GET", "/v1/agent/self")["Stats"]["raft"]["applied_index"])
