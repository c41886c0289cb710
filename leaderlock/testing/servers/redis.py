"""redis-server and valkey-server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Self
from urllib.parse import quote

from leaderlock.testing.servers.certificates import Certificates
from leaderlock.testing.servers.process import NotReady, Server, Startable, wait_until
from leaderlock.testing.servers.programs import Ports, program

Reply = str | int | list["Reply"] | None

_SLOTS = 16384


class RedisServer(Server):
    """A Redis that loses nothing in a crash, unless told to.

    Args:
        password: asked of everybody (`requirepass`).
        users: lines of an ACL file without the word "user": "app on >secret ~* &* +@all".
        certificates: speaks TLS alone, and asks for a client's certificate.
        unix_socket: also listens on `socket_path`.
        appendonly: without it, a restart loses everything.
        settings: more lines of redis.conf.
    """

    program = "redis-server"
    scheme = "redis"

    def __init__(
        self,
        *,
        password: str = "",
        users: Sequence[str] = (),
        certificates: Certificates | None = None,
        unix_socket: bool = False,
        appendonly: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.password = password
        self.certificates = certificates
        self.socket_path = self.folder / "socket"
        tls = certificates is not None
        self.settings = {
            "bind": "127.0.0.1",
            "port": "0" if tls else str(self.port),
            "dir": str(self.data),
            "save": '""',
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "always",
            "repl-diskless-sync-delay": "0",  # a replica is there at once, not after 5 seconds
        }
        if certificates is not None:
            self.settings |= {
                "tls-port": str(self.port),
                "tls-cert-file": str(certificates.server_cert),
                "tls-key-file": str(certificates.server_key),
                "tls-ca-cert-file": str(certificates.ca),
            }
        if unix_socket:
            self.settings["unixsocket"] = str(self.socket_path)
        if users:
            path = self.folder / "users.acl"
            default = f"user default on {f'>{password}' if password else 'nopass'} ~* &* +@all"
            path.write_text("\n".join([default, *(f"user {line}" for line in users), ""]), "utf-8")
            self.settings["aclfile"] = str(path)
        elif password:
            self.settings["requirepass"] = password
        self.settings |= settings or {}

    def url_at(self, port: int) -> str:
        scheme = self.scheme + ("s" if self.certificates else "")
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"{scheme}://{login}127.0.0.1:{port}"

    def command(self) -> list[str]:
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{k} {v}\n" for k, v in self.settings.items()), "utf-8")
        return [program(self.program), str(config)]

    def probe(self) -> None:
        self.call("PING")

    def call(self, *words: str) -> Reply:
        """Send one command with the password of `default`; raises NotReady for an error reply."""
        with socket.create_connection(("127.0.0.1", self.port), self.call_timeout) as connection:
            if self.certificates is not None:
                context = self.certificates.context()
                connection = context.wrap_socket(connection, server_hostname="localhost")
            with connection, connection.makefile("rwb") as stream:
                if self.password:
                    stream.write(_encode("AUTH", self.password))
                stream.write(_encode(*words))
                stream.flush()
                if self.password:
                    _decode(stream.readline, stream.read)
                return _decode(stream.readline, stream.read)


class ValkeyServer(RedisServer):
    """The same, by the fork of Redis that Debian has."""

    program = "valkey-server"


class RedisSentinel(RedisServer):
    """A sentinel that replaces a Redis by one of its replicas, alone and soon after it is gone.

    A replica is RedisServer(settings={"replicaof": f"127.0.0.1 {master.port}"}).
    """

    def __init__(self, master: RedisServer, name: str = "mymaster") -> None:
        super().__init__()
        self.name = name
        self.settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.data),
            f"sentinel monitor {name}": f"127.0.0.1 {master.port} 1",
            f"sentinel down-after-milliseconds {name}": "500",
            f"sentinel failover-timeout {name}": "2000",
        }

    def url_at(self, port: int) -> str:
        return f"redis+sentinel://127.0.0.1:{port}/{self.name}"

    def command(self) -> list[str]:
        return [*super().command(), "--sentinel"]

    def master_port(self) -> int:
        address = self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        assert isinstance(address, list)
        return int(str(address[1]))


class RedisCluster(Startable):
    """Three primaries that share the slots, with replicas that take over where wanted.

    Attributes:
        nodes: the primaries, in the order of their slots.
        replicas: the replica of each primary, if there are any.
    """

    def __init__(
        self,
        kind: type[RedisServer] = RedisServer,
        *,
        with_replicas: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._ports = Ports()
        made = [self._make(kind, settings or {}) for _ in range(6 if with_replicas else 3)]
        self.nodes, self.replicas = made[:3], made[3:]

    def _make(self, kind: type[RedisServer], settings: Mapping[str, str]) -> RedisServer:
        own = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "1000",
            "cluster-port": str(self._ports.take()),
        }
        return kind(settings={**own, **settings})

    @property
    def url(self) -> str:
        """It names all primaries."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        for node in self.nodes + self.replicas:
            node.start()
        first, *others = self.nodes + self.replicas
        for node in others:
            node.call(
                "CLUSTER", "MEET", "127.0.0.1", str(first.port), first.settings["cluster-port"]
            )
        step = _SLOTS // len(self.nodes) + 1
        for number, node in enumerate(self.nodes):
            low, high = number * step, min((number + 1) * step, _SLOTS) - 1
            node.call("CLUSTER", "ADDSLOTSRANGE", str(low), str(high))
        self.wait_until_whole()
        for node, replica in zip(self.nodes, self.replicas, strict=False):
            self._replicate(node, replica)
        return self

    def wait_until_whole(self) -> None:
        """Until every node that runs knows all others, and all slots are served."""
        running = [node for node in self.nodes + self.replicas if node.running]

        def whole() -> bool:
            told = [str(node.call("CLUSTER", "INFO")) for node in running]
            known = f"cluster_known_nodes:{len(self.nodes + self.replicas)}"
            return all("cluster_state:ok" in text and known in text for text in told)

        wait_until(whole, 30.0, lambda: "the Redis Cluster does not come together")

    def node_of(self, key: str) -> RedisServer:
        """The primary, of those that it began with, whose slots a key belongs to."""
        slot = int(str(self.nodes[0].call("CLUSTER", "KEYSLOT", key)))
        return self.nodes[slot // (_SLOTS // len(self.nodes) + 1)]

    def _replicate(self, node: RedisServer, replica: RedisServer) -> None:
        replica.call("CLUSTER", "REPLICATE", str(node.call("CLUSTER", "MYID")))
        wait_until(
            lambda: "master_link_status:up" in str(replica.call("INFO", "replication")),
            30.0,
            lambda: f"{replica} does not follow {node}",
        )

    def stop(self) -> None:
        for node in self.nodes + self.replicas:
            node.stop()
        self._ports.release()


def _encode(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def _decode(read_line: Callable[[], bytes], read: Callable[[int], bytes]) -> Reply:
    line = read_line()
    if not line:
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:].strip().decode()
    match kind:
        case b"+":
            return rest
        case b":":
            return int(rest)
        case b"$":
            return None if rest == "-1" else read(int(rest) + 2)[:-2].decode()
        case b"*":
            return [_decode(read_line, read) for _ in range(int(rest))]
        case _:
            raise NotReady(rest)
