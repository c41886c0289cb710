"""JSON over HTTP, as the servers speak it, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any

from leaderlock.testing.servers.process import NotReady


class Refusal(NotReady):
    """An answer that is not a success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text.strip()}")
        self.status = status


def call(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 2.0,
) -> Any:
    """Raises Refusal or OSError."""
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    )
    try:
        connection.request(
            method, path, None if body is None else json.dumps(body), dict(headers or {})
        )
        response = connection.getresponse()
        text = response.read().decode()
    except http.client.HTTPException as error:
        raise ConnectionError(f"half an answer: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Refusal(response.status, text)
    return json.loads(text) if text else None
