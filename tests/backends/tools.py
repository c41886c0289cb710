"""What the tests of several stores share."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterator

import pytest

from leaderlock.backends.base import Attempt, Backend, Granted


def attempt_at(
    election: str = "e", name: str = "a", wake: Callable[[], None] | None = None
) -> Attempt:
    """An attempt with an id that a test can name."""
    return Attempt(election, name, b"payload of " + name.encode(), wake or (lambda: None))


def win(backend: Backend, attempt: Attempt) -> int:
    """Campaign, and be elected at once. Returns the token."""
    granted = backend.campaign(attempt)
    assert isinstance(granted, Granted), granted
    return granted.token


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """The process has no file descriptor left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


Address = tuple[str, int]


@contextlib.contextmanager
def silent_address() -> Iterator[Address]:
    """Nothing comes back from it: its queue of connections is full, and nobody takes any."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: Address = listener.getsockname()
        for _ in range(3):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def name_has(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Whatever name is looked up, these are its addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
