"""ZooKeeper, one node or a cluster."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.cluster import Cluster
from leaderlock.testing.servers.process import NotReady, Server
from leaderlock.testing.servers.programs import program


class ZooKeeperServer(Server):
    """A ZooKeeper.

    Args:
        tick: milliseconds; a session may be as short as two ticks.
        logins: users and passwords of SASL DIGEST-MD5. (The digest scheme of ACLs needs nothing.)
        certificates: speaks TLS on `port`; a plain port for probes stays.
        client_certificates: also asks for a client's certificate.
        settings: more lines of zoo.cfg.
    """

    def __init__(
        self,
        *,
        tick: int = 200,
        logins: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.certificates = certificates
        self.quorum_port, self.election_port = self.ports.take(), self.ports.take()
        # The plain one: kill, freeze and probes are the same with TLS.
        self.plain_port = self.ports.take() if certificates else self.port
        self.number = 1
        self.options = ["-Dzookeeper.forceSync=no"]
        self.settings = {
            "tickTime": str(tick),
            "maxSessionTimeout": "60000",
            "dataDir": str(self.data),
            "clientPort": str(self.plain_port),
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            # In ticks: as many as make 10 s and 2 s.
            "initLimit": str(10_000 // tick),
            "syncLimit": str(2_000 // tick),
        }
        if logins:
            self._ask_for_login(logins)
        if certificates is not None:
            key_and_cert = self.folder / "server.pem"
            key_and_cert.write_text(
                certificates.server_key.read_text() + certificates.server_cert.read_text()
            )
            self.settings |= {
                "secureClientPort": str(self.port),
                "secureClientPortAddress": "127.0.0.1",
                "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
                "ssl.keyStore.location": str(key_and_cert),
                "ssl.trustStore.location": str(certificates.ca),
                "ssl.clientAuth": "need" if client_certificates else "none",
            }
        self.settings |= settings or {}

    def url_at(self, port: int) -> str:
        return f"zookeeper://127.0.0.1:{port}"

    def command(self) -> list[str]:
        config = self.folder / "zoo.cfg"
        config.write_text("".join(f"{k}={v}\n" for k, v in self.settings.items()), "utf-8")
        (self.data / "myid").write_text(str(self.number), "ascii")
        return [program("zookeeper"), *self.options, str(config)]

    def probe(self) -> None:
        # Without a quorum, it answers that it is not serving requests.
        if "Mode: " not in (answer := self.ask("srvr")):
            raise NotReady(answer)

    def ask(self, word: str) -> str:
        """The answer to a four-letter word: srvr, dump, wchp, cons..."""
        address = "127.0.0.1", self.plain_port
        with socket.create_connection(address, self.call_timeout) as connection:
            connection.sendall(word.encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer.decode()

    def _ask_for_login(self, logins: Mapping[str, str]) -> None:
        users = " ".join(f'user_{name}="{password}"' for name, password in logins.items())
        module = "org.apache.zookeeper.server.auth.DigestLoginModule"
        config = self.folder / "jaas.conf"
        config.write_text(f"Server {{ {module} required {users}; }};\n", "utf-8")
        self.options.append(f"-Djava.security.auth.login.config={config}")
        self.settings |= {
            "authProvider.sasl": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
            "sessionRequireClientSASLAuth": "true",
        }


class ZooKeeperCluster(Cluster[ZooKeeperServer]):
    """Nodes that listen on 127.0.0.1."""

    scheme = "zookeeper"

    def __init__(self, size: int = 3, *, tick: int = 200) -> None:
        self.nodes = [ZooKeeperServer(tick=tick) for _ in range(size)]
        members = {}
        for number, node in enumerate(self.nodes, 1):
            node.number = number
            members[f"server.{number}"] = f"127.0.0.1:{node.quorum_port}:{node.election_port}"
        for node in self.nodes:
            node.settings |= members

    def leads(self, node: ZooKeeperServer) -> bool:
        return "Mode: leader" in node.ask("srvr")
