"""Which servers to ask and how: from a URL, or from a client of the program's own."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# gRPC writes notes of its own to stderr, at every fork for instance. Read when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import etcd3
import grpc

from leaderlock.backends.network import (
    HOSTS,
    LOGIN,
    TLS,
    TLS_CUT_OFF,
    Host,
    Login,
    TLSFiles,
    hosts_of,
    join_host,
    login_of,
    tls_of,
)
from leaderlock.errors import ConfigurationError
from leaderlock.url import Option, StoreURL

_PORT = 2379
_CHANNEL = {
    # A server that is frozen or cut off is noticed after 13 s at the most also where no request
    # has a deadline; all three times are needed. etcd cuts off clients that ping more often than
    # every 5 s (--grpc-keepalive-min-time, etcd#8905).
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.http2.ping_timeout_ms": 3_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    # Otherwise a forked child would be given the connection of its parent.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,  # of the environment: meant for other traffic
    # The defaults grow to 20 s for a try to connect, and to two minutes between two.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 2_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
}


def _ready_client(value: object) -> Any:
    kinds = (etcd3.Etcd3Client, getattr(etcd3, "MultiEndpointEtcd3Client", etcd3.Etcd3Client))
    if not isinstance(value, kinds):
        raise ValueError("a client of the module etcd3, as etcd3.client() makes it")
    return value


OPTIONS: Mapping[str, Option] = {
    **HOSTS,
    **LOGIN,
    **TLS,
    "etcd_client": Option(_ready_client, "a client whose settings are used, in place of a URL"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """How to reach the servers.

    Attributes:
        hosts: all of one cluster.
        login: empty if the servers ask for none, or know us by our certificate.
        token: of a login that somebody else has made.
        tls: the files behind `credentials`, if we know them.
        credentials: gRPC's form of the TLS settings; None: without TLS.
    """

    hosts: tuple[Host, ...]
    login: Login = Login()
    token: str = field(default="", repr=False)
    tls: TLSFiles | None = None
    credentials: Any = field(default=None, repr=False)

    def open(self, host: Host) -> Any:
        """A channel to one of the hosts. It connects by itself when it is used."""
        options = tuple(_CHANNEL.items())
        if self.credentials is None:
            return grpc.insecure_channel(join_host(host), options)
        return grpc.secure_channel(join_host(host), self.credentials, options)

    def objection(self, host: Host, timeout: float) -> str | None:
        """What TLS has against a server, which gRPC tells no more of than that it is unavailable.

        None: nothing that would not change by itself.
        """
        if self.tls is None:
            return None
        try:
            context = self.tls.context()
            context.set_alpn_protocols(["h2"])
            with (
                socket.create_connection(host, timeout) as connection,
                context.wrap_socket(connection, server_hostname=host[0]) as encrypted,
            ):
                encrypted.recv(1)  # the client's certificate is judged after the handshake
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not to be trusted ({error.verify_message}): see ca"
        except TLS_CUT_OFF:
            return None
        except ssl.SSLError as error:
            return f"{error.reason or error}: see cert and key, or it does not speak TLS"
        except (OSError, ValueError):  # also of a file that is just being replaced
            return None
        return None


def target_of(url: StoreURL) -> Target:
    """Where a URL, or the client given in its place, points.

    Raises:
        ConfigurationError: something in it cannot be used.
    """
    login = login_of(url)
    if bool(login.username) != bool(login.password):
        raise ConfigurationError(f"{url}: etcd wants both a user name and a password, or neither")
    if "etcd_client" in url.options:
        return _of_client(url, login)
    if url.path.strip("/"):
        raise ConfigurationError(f"{url}: etcd has no databases, write it without {url.path}")
    tls = tls_of(url, wanted=url.scheme == "etcds")
    if tls and not tls.verify:
        raise ConfigurationError(
            f"verify=false in {url}: gRPC accepts no certificate unseen; name the authority of the "
            "server's in ca, which may be that certificate itself"
        )
    credentials = _credentials(tls) if tls else None
    return Target(hosts_of(url, _PORT), login, tls=tls, credentials=credentials)


def _of_client(url: StoreURL, login: Login) -> Target:
    """etcd3 keeps a token, but not the password: that may be given beside the client."""
    if others := url.options.keys() - {"etcd_client", *LOGIN}:
        raise ConfigurationError(f"etcd_client brings its own {', '.join(sorted(others))}")
    client = url.options["etcd_client"]
    token = "" if login else dict(client.metadata or ()).get("token", "")
    if hasattr(client, "endpoints"):
        ends = list(client.endpoints.values())
        if len({id(end.credentials) for end in ends}) > 1:
            raise ConfigurationError("the endpoints of etcd_client differ in their credentials")
        credentials = ends[0].credentials if ends[0].secure else None
        names = ",".join(end.netloc for end in ends)
    elif client.uses_secure_channel:
        raise ConfigurationError("etcd3 0.12 keeps no TLS settings: write a URL, etcds://...")
    else:
        credentials, names = None, client._url
    hosts = hosts_of(StoreURL(scheme="etcd", authority=names), _PORT)
    return Target(hosts, login, token=token, credentials=credentials)


def _credentials(tls: TLSFiles) -> Any:
    cert = Path(tls.cert).read_bytes() if tls.cert else None
    key = Path(tls.key or tls.cert).read_bytes() if tls.cert else None
    return grpc.ssl_channel_credentials(_authorities(tls), key, cert)


def _authorities(tls: TLSFiles) -> bytes | None:
    """In PEM; None for those that come with gRPC, if the system names none."""
    if tls.ca:
        return Path(tls.ca).read_bytes()
    known = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, known)).encode() or None
