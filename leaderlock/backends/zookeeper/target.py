"""From a URL, or from a ready KazooClient, to all that a session is opened with.

A ready client is only read: we open a session of our own with its hosts, chroot, credentials and
TLS settings. It is never used, stopped or changed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.connection import PURESASL_AVAILABLE
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

from leaderlock.backends.network import (
    HOSTS,
    LOGIN,
    TLS,
    Host,
    hosts_of,
    join_host,
    login_of,
    tls_of,
)
from leaderlock.errors import ConfigurationError, MissingDependency
from leaderlock.url import Option, StoreURL

_PORT = 2181
_ACLS: Mapping[str, list[Any]] = {
    "open": OPEN_ACL_UNSAFE,
    "creator": CREATOR_ALL_ACL,
    "readable": CREATOR_ALL_ACL + READ_ACL_UNSAFE,
}


def _one_of(*names: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(" or ".join(names))
        return value

    return parse


def _kazoo_client(value: object) -> KazooClient:
    if not isinstance(value, KazooClient):
        raise ValueError("a kazoo.client.KazooClient")
    return value


OPTIONS: Mapping[str, Option] = {
    **HOSTS,
    **LOGIN,
    **TLS,
    "sasl": Option(_one_of("digest-md5"), "log in by SASL in place of the digest scheme"),
    "acl": Option(
        _one_of(*_ACLS),
        "who may use the nodes: creator (who logs in alike), readable (and all may read), open; "
        "default: creator with a login, open without",
    ),
    "kazoo_client": Option(_kazoo_client, "a KazooClient to take hosts and credentials from"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How to reach an ensemble, and as whom.

    Attributes:
        hosts: the servers.
        root: the path below which everything lies; "" for the root of the tree.
        auth: kazoo's auth_data, pairs of scheme and credential.
        sasl: kazoo's sasl_options.
        tls: None without TLS.
        acl: of the nodes that we make.
    """

    hosts: tuple[Host, ...]
    root: str = ""
    auth: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)
    sasl: Mapping[str, Any] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    acl: list[Any] = field(default_factory=lambda: OPEN_ACL_UNSAFE)

    def __str__(self) -> str:
        return ",".join(join_host(host) for host in self.hosts)


def target_of(url: StoreURL) -> Target:
    """What a URL says.

    Raises:
        ConfigurationError: something in it cannot be used.
    """
    client = url.options.get("kazoo_client")
    if client is not None:
        return _target_like(client, url)
    login, sasl = login_of(url), url.options.get("sasl")
    if login and not (login.username and login.password):
        raise ConfigurationError(f"{url}: a login has both a user name and a password")
    if ":" in login.username:
        raise ConfigurationError(f"{url}: ZooKeeper's user names have no ':'")
    if sasl and not login:
        raise ConfigurationError(f"sasl={sasl} in {url} needs a user name and a password")
    if sasl and not PURESASL_AVAILABLE:
        raise MissingDependency(f"sasl={sasl} in {url} needs pure-sasl: pip install pure-sasl")
    tls = tls_of(url, wanted=url.scheme == "zookeepers")
    return Target(
        hosts=hosts_of(url, _PORT),
        root=_root_of(url),
        auth=frozenset({("digest", f"{login.username}:{login.password}")})
        if login and not sasl
        else frozenset(),
        sasl={
            "mechanism": sasl.upper(),
            "username": login.username,
            "password": login.password,
        }
        if sasl
        else None,
        tls=tls.context() if tls else None,
        acl=_acl_of(url, has_login=bool(login)),
    )


def _target_like(client: KazooClient, url: StoreURL) -> Target:
    beside = set(url.options) - {"kazoo_client", "acl"}
    if beside:
        raise ConfigurationError(
            f"{', '.join(sorted(beside))} beside kazoo_client: the client says it already"
        )
    sasl = client._connection.sasl_options
    return Target(
        hosts=tuple(client.hosts),
        root=client.chroot,
        auth=frozenset(client.auth_data),
        sasl=None if sasl is None else dict(sasl),
        tls=_tls_like(client) if client.use_ssl else None,
        acl=client.default_acl
        if client.default_acl and "acl" not in url.options
        else _acl_of(url, has_login=bool(client.auth_data or sasl)),
    )


def _tls_like(client: KazooClient) -> ssl.SSLContext:
    """The same as kazoo makes of its arguments."""
    context = ssl.create_default_context(cafile=client.ca)
    context.load_default_certs()
    context.check_hostname = client.check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if client.verify_certs else ssl.CERT_NONE
    if client.certfile and client.keyfile:
        context.load_cert_chain(client.certfile, client.keyfile, client.keyfile_password)
    return context


def _acl_of(url: StoreURL, *, has_login: bool) -> list[Any]:
    name = url.options.get("acl", "creator" if has_login else "open")
    if name != "open" and not has_login:
        raise ConfigurationError(f"acl={name} needs a login: without one there is no creator")
    return _ACLS[name]


def _root_of(url: StoreURL) -> str:
    root = url.path.rstrip("/")
    if any(part in ("", ".", "..") for part in root.split("/")[1:]):
        raise ConfigurationError(f"the path of {url} is not that of a node: write /app or /a/b")
    return root
