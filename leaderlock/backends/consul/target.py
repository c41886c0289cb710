"""How a Consul is reached: from a URL, or from a client that the program has made."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import consul

from leaderlock.backends.network import HOSTS, TLS, Host, TLSFiles, hosts_of, tls_of
from leaderlock.errors import ConfigurationError
from leaderlock.url import Option, StoreURL, seconds, text

DEFAULT_PORT = 8500
LONGEST_LOCK_DELAY = 60.0
"""Consul cuts a longer lock-delay down to this, without a word (MaxLockDelay)."""


def _token(value: object) -> str:
    # It becomes a header: anything else would be shown in an error of http.client.
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise ValueError("a text of visible ASCII characters")
    return value


def _token_file(value: object) -> str:
    """The token that stands in a file."""
    allowed = "the path of a file with nothing but a token in it"
    try:
        return _token(Path(str(value)).read_text("ascii").strip())
    except (OSError, ValueError):
        raise ValueError(allowed) from None


def _lock_delay(value: object) -> float:
    allowed = f"more than 0 and at most {LONGEST_LOCK_DELAY:g} seconds"
    try:
        number = seconds(value)
    except ValueError:
        raise ValueError(allowed) from None
    if number > LONGEST_LOCK_DELAY:
        raise ValueError(allowed)
    return number


def _client(value: object) -> consul.base.Consul:
    if not isinstance(value, consul.base.Consul):
        raise ValueError("a consul.Consul")
    return value


OPTIONS: Mapping[str, Option] = {
    **HOSTS,
    **TLS,
    "token": Option(_token, "the ACL token"),
    "token_file": Option(_token_file, "a file with the ACL token in it"),
    "datacenter": Option(text, "the datacenter to elect in; default: that of the agent"),
    "lock_delay": Option(
        _lock_delay,
        "seconds that Consul keeps everybody out after a session has ended; at least two thirds "
        f"of the ttl; default: the ttl, at most {LONGEST_LOCK_DELAY:g}",
    ),
    "consul_client": Option(_client, "a consul.Consul, whose address and login are copied"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """The agents or servers to ask, one after the other, and how to speak with them."""

    hosts: tuple[Host, ...]
    tls: ssl.SSLContext | None = None
    token: str = field(default="", repr=False)
    datacenter: str = ""


def target_of(url: StoreURL) -> Target:
    """What a URL, and the options beside it, say.

    Raises:
        ConfigurationError: something in it cannot be used.
    """
    if url.username or url.password:
        raise ConfigurationError(f"{url}: Consul takes no user name: give its ACL token as token=")
    if url.path.strip("/"):
        raise ConfigurationError(f"{url}: Consul has no path: use namespace= to keep apps apart")
    own = url.options
    given = {name: own[name] for name in ("token", "datacenter") if name in own}
    if "token_file" in own:
        given.setdefault("token", own["token_file"])
    client = own.get("consul_client")
    if client is not None:
        return _target_of_client(client, given)
    files = tls_of(url, wanted=url.scheme == "consuls")
    tls = files.context() if files else None
    return Target(hosts_of(url, DEFAULT_PORT), tls, **given)


def _target_of_client(client: consul.base.Consul, given: Mapping[str, str]) -> Target:
    """Copied: the client itself, which has no timeouts, is neither used nor changed nor closed."""
    http = client.http
    tls = None
    if http.scheme == "https":
        ca, verify = (http.verify, True) if isinstance(http.verify, str) else (None, http.verify)
        cert, key = (http.cert, None) if isinstance(http.cert, str) else http.cert or (None, None)
        try:
            tls = TLSFiles(ca, cert, key, verify=bool(verify)).context()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the TLS files of consul_client cannot be used: {error}"
            ) from None
    own = {"token": client.token or "", "datacenter": client.dc or "", **given}
    return Target(((http.host, int(http.port)),), tls, **own)
