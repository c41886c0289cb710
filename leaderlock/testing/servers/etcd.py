"""etcd, one node or a cluster."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.cluster import Cluster
from leaderlock.testing.servers.process import START_TIMEOUT, Server
from leaderlock.testing.servers.programs import program
from leaderlock.testing.servers.web import call

ROOT_PASSWORD = "the root password"


class EtcdServer(Server):
    """An etcd.

    Args:
        login: a user and a password that the server asks for; the user may do everything with
            keys. There is a user root with ROOT_PASSWORD then.
        token_ttl: seconds for which an authentication token is good.
        certificates: speaks TLS.
        client_certificates: also asks for a client's certificate.
        arguments: more of them for the program.
    """

    def __init__(
        self,
        *,
        login: tuple[str, str] | None = None,
        token_ttl: int | None = None,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        arguments: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.login = login
        self.certificates = certificates
        self.peer_url = f"http://127.0.0.1:{self.ports.take()}"
        self.name = f"node-{self.port}"
        # Others are filled in by EtcdCluster before the first start.
        self.initial_cluster = f"{self.name}={self.peer_url}"
        self.initial_cluster_state = "new"
        self._login_is_asked_for = False
        self._arguments = list(arguments)
        if token_ttl is not None:
            self._arguments.append(f"--auth-token-ttl={token_ttl}")
        if certificates is not None:
            self._arguments += [
                f"--cert-file={certificates.server_cert}",
                f"--key-file={certificates.server_key}",
            ]
        if certificates is not None and client_certificates:
            # With an authority alone it would ask for certificates too.
            self._arguments += [f"--trusted-ca-file={certificates.ca}", "--client-cert-auth"]

    def url_at(self, port: int) -> str:
        scheme = "etcds" if self.certificates else "etcd"
        login = ":".join(quote(word, safe="") for word in self.login or ())
        return f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{port}"

    def command(self) -> list[str]:
        if not any(self.data.iterdir()):  # it starts without its users
            self._login_is_asked_for = False
        client_url = f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"
        return [
            program("etcd"),
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self.initial_cluster}",
            f"--initial-cluster-state={self.initial_cluster_state}",
            # A killed process loses nothing by it: the kernel has its writes.
            "--unsafe-no-fsync",
            # Else it lets no member in while another has been up for less than five seconds.
            "--strict-reconfig-check=false",
            "--log-level=warn",
            *self._arguments,
        ]

    def probe(self) -> None:
        self.call("kv/range", {"key": encode("probe")})

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        super().wait_until_ready(timeout)
        if self.login is not None and not self._login_is_asked_for:
            self._ask_for_login(*self.login)

    def call(self, path: str, body: object) -> Any:
        """Call etcd's JSON gateway, as root: `call("kv/range", {"key": encode("k")})`."""
        tls = self.certificates.context() if self.certificates else None
        headers = {}
        if self._login_is_asked_for:
            credentials = {"name": "root", "password": ROOT_PASSWORD}
            path_of_login = "/v3/auth/authenticate"
            answer = call(
                self.port, "POST", path_of_login, credentials, tls=tls, timeout=self.call_timeout
            )
            headers["Authorization"] = answer["token"]
        return call(
            self.port,
            "POST",
            f"/v3/{path}",
            body,
            headers=headers,
            tls=tls,
            timeout=self.call_timeout,
        )

    def _ask_for_login(self, user: str, password: str) -> None:
        everything = {"permType": "READWRITE", "key": encode("\0"), "range_end": encode("\0")}
        for path, body in [
            ("user/add", {"name": "root", "password": ROOT_PASSWORD}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("role/add", {"name": "everything"}),
            ("role/grant", {"name": "everything", "perm": everything}),
            ("user/add", {"name": user, "password": password}),
            ("user/grant", {"user": user, "role": "everything"}),
            ("enable", {}),
        ]:
            self.call(f"auth/{path}", body)
        self._login_is_asked_for = True


class EtcdCluster(Cluster[EtcdServer]):
    """Nodes that listen on 127.0.0.1."""

    scheme = "etcd"

    def __init__(self, size: int = 3) -> None:
        self.nodes = [EtcdServer() for _ in range(size)]
        for node in self.nodes:
            node.initial_cluster = ",".join(f"{n.name}={n.peer_url}" for n in self.nodes)

    def leads(self, node: EtcdServer) -> bool:
        status = node.call("maintenance/status", {})
        return bool(status.get("leader") == status["header"]["member_id"])

    def lose_data(self, node: EtcdServer) -> None:
        """Another member takes its place: etcd does not let one back that has forgotten its votes.

        https://etcd.io/docs/v3.5/op-guide/runtime-configuration/#replace-a-failed-machine
        """
        super().lose_data(node)
        others = self.leader(other_than=node)
        members = others.call("cluster/member/list", {})["members"]
        (lost,) = [member["ID"] for member in members if member["name"] == node.name]
        others.call("cluster/member/remove", {"ID": lost})
        others.call("cluster/member/add", {"peerURLs": [node.peer_url]})
        node.initial_cluster_state = "existing"


def encode(text: str) -> str:
    """A key or a value as the JSON gateway wants it."""
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    return base64.b64decode(text).decode()
