"""Sends JSON by HTTP: what a node tells a monitor, and what a monitor tells a webhook."""

from __future__ import annotations

import http.client
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from leaderlock.errors import ConfigurationError

_LONGEST_ANSWER = 64 * 1024
_PRINTABLE = re.compile(r"[!-~]+")


class NoAnswer(Exception):
    """Nothing came back, or nothing that HTTP knows."""


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: the code of HTTP.
        body: its first 64 KiB.
    """

    status: int
    body: bytes


class Endpoint:
    """A URL that JSON is posted to. Shown by its host alone: what follows may be a secret.

    Each request has a connection of its own. Redirects are not followed, so that nothing is told
    to another host, and the proxies of the environment are not used.

    Args:
        what: it is called so in errors.
        url: http:// or https://, with a user and a password if need be.
        headers: beside those that are needed.
        timeout: seconds for each step of a request.

    Raises:
        ConfigurationError: not a URL of that kind, or a login in it beside a token in the headers.
            The URL is not in the message.
    """

    def __init__(
        self, what: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: float
    ) -> None:
        allowed = f"{what} must be a URL like http://10.0.0.1:9464 or https://example.com/path"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except (ValueError, AttributeError, TypeError):
            raise ConfigurationError(allowed) from None
        if parts.scheme not in ("http", "https") or not host or not _PRINTABLE.fullmatch(url):
            raise ConfigurationError(allowed)
        self._is_safe = parts.scheme == "https"
        self._host, self._port, self._timeout = host, port, timeout
        self._path = parts.path or "/"
        self._query = f"?{parts.query}" if parts.query else ""
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if parts.username is not None:
            if "Authorization" in self._headers:
                raise ConfigurationError(
                    f"{what} gets either the login in its URL or a token: both would go into one "
                    "header"
                )
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"

    def __str__(self) -> str:
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return shown if self._port is None else f"{shown}:{self._port}"

    def __repr__(self) -> str:
        return f"<Endpoint at {self}>"

    def post(self, body: bytes, path: str = "") -> Answer:
        """Send it, to a path below that of the URL.

        Raises:
            NoAnswer: of any sort.
        """
        kind = http.client.HTTPSConnection if self._is_safe else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        target = self._path.rstrip("/") + path if path else self._path
        try:
            connection.request("POST", target + self._query, body, self._headers)
            reply = connection.getresponse()
            return Answer(reply.status, reply.read(_LONGEST_ANSWER))
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            why = str(error) or type(error).__name__
            raise NoAnswer(f"{self} does not answer: {why}") from None
        finally:
            connection.close()
