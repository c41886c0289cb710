"""What the URLs of all stores behind a network have in common: hosts, login, TLS.

    scheme://user:password@host1:port,host2:port/...?ca=...&cert=...&key=...&verify=...

Every part can also be given as a keyword, in a mapping or file, or in the environment, for
example LEADERLOCK_PASSWORD, so that no secret has to stand in a URL.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leaderlock.errors import ConfigurationError
from leaderlock.url import Option, StoreURL, flag, text

Host = tuple[str, int]

TLS_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS that ended in the middle: a network or a server that broke, and no refusal. Which of them it
is depends on the version of OpenSSL."""

_SHORTEST = 0.001
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\s:\[\]/@,]+))(?::(?P<port>[0-9]{1,5}))?"
)


def _hosts(value: object) -> str:
    allowed = "host:port,host:port or a list of them"
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise ValueError(allowed)
    if not all(isinstance(part, str) and _HOST.fullmatch(part.strip()) for part in parts):
        raise ValueError(allowed)
    return ",".join(part.strip() for part in parts)


def _file(value: object) -> str:
    """The path of a file that can be read, absolute from here on."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ValueError("the path of a file")
    path = Path(value).absolute()
    try:
        with path.open("rb"):
            return str(path)
    except OSError as error:
        raise ValueError(f"the path of a file that can be read ({error.strerror})") from None


HOSTS: Mapping[str, Option] = {
    "hosts": Option(_hosts, "host:port,... in place of those in the URL"),
}
LOGIN: Mapping[str, Option] = {
    "username": Option(text, "in place of the one in the URL"),
    "password": Option(text, "in place of the one in the URL"),
}
TLS: Mapping[str, Option] = {
    "ca": Option(_file, "PEM file with the authorities to trust; default: those of the system"),
    "cert": Option(_file, "PEM file with the client's certificate"),
    "key": Option(_file, "PEM file with the key of cert; default: it stands in cert"),
    "verify": Option(flag, "false: accept any certificate of the server; default true"),
}


def hosts_of(url: StoreURL, default_port: int) -> tuple[Host, ...]:
    """The servers that a URL names, in its order; IPv6 addresses without their brackets.

    Raises:
        ConfigurationError: it names none, or one that is not host or host:port.
    """
    authority = url.options.get("hosts") or url.authority
    if not authority:
        raise ConfigurationError(f"{url} names no host: write {url.scheme}://host:{default_port}")
    found: list[Host] = []
    for part in authority.split(","):
        match = _HOST.fullmatch(part)
        port = int(match["port"] or default_port) if match else 0
        if match is None or not 0 < port < 65536 or not _can_be_looked_up(match["name"] or ""):
            raise ConfigurationError(
                f"{part!r} in {url} is not a host: write host or host:port, an IPv6 address in "
                "brackets, and a comma between two"
            )
        found.append((match["v6"] or match["name"], port))
    return tuple(found)


def _can_be_looked_up(name: str) -> bool:
    """Client libraries fall over a name that cannot: with an empty part, or one of 64 letters."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def join_host(host: Host) -> str:
    """host:port, an IPv6 address in brackets."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def connect(host: Host, timeout: float) -> socket.socket:
    """A connection to one of the addresses of a host, each of which has its turn in time.

    socket.create_connection gives every address the whole timeout. What is left of it is that of
    the socket.
    """
    end = time.monotonic() + timeout
    addresses = socket.getaddrinfo(*host, type=socket.SOCK_STREAM)
    while True:
        (family, kind, protocol, _, address), *addresses = addresses
        left = max(_SHORTEST, end - time.monotonic())
        try:
            with contextlib.ExitStack() as on_failure:
                connection = on_failure.enter_context(socket.socket(family, kind, protocol))
                connection.settimeout(left / 2 if addresses else left)
                connection.connect(address)
                connection.settimeout(max(_SHORTEST, end - time.monotonic()))
                on_failure.pop_all()
                return connection
        except OSError:
            if not addresses:
                raise


def has_ended(connection: socket.socket | int) -> bool:
    """Whether the server has closed an idle one: otherwise it has nothing to say on it."""
    poll = select.poll()  # which needs no file descriptor of its own: there may be none left
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password; either may be empty."""

    username: str = ""
    password: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.password)


def login_of(url: StoreURL) -> Login:
    """The credentials in a URL or beside it."""
    return Login(
        url.options.get("username", url.username), url.options.get("password", url.password)
    )


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """How to speak TLS with a store: absolute paths, or None."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """The same as Python's TLS settings."""
        context = ssl.create_default_context(cafile=self.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert:
            # An encrypted key would ask for its password on the terminal, and wait.
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


def tls_of(url: StoreURL, *, wanted: bool) -> TLSFiles | None:
    """The TLS settings of a URL whose scheme asks for TLS, or not; None without.

    Raises:
        ConfigurationError: they contradict the scheme or each other, or a file does not hold what
            its name says.
    """
    given = {name: url.options[name] for name in TLS if name in url.options}
    if not wanted:
        if given:
            raise ConfigurationError(
                f"{', '.join(given)} in {url}: {url.scheme}:// is not encrypted; use the scheme "
                "with an s"
            )
        return None
    if "key" in given and "cert" not in given:
        raise ConfigurationError(f"{url} has a key without cert, the certificate it belongs to")
    files = TLSFiles(**given)
    try:
        files.context()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(
            f"the TLS files of {url} cannot be used: {error}; ca, cert and key are PEM files, and "
            "the key is not encrypted"
        ) from None
    return files


def _no_password() -> str:
    raise ValueError("the key is encrypted")
