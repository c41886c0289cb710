"""The rule of every fence, and `FenceGate`: a fence for a resource inside one process.

The rule: whoever has shown the highest token may write. The same token is accepted again and
again, for one term writes many times; a lower one never. Within one epoch only the tokens of one
source can be compared (see `FencingToken`), so another source is refused by name, whichever number
it shows.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from leaderlock.errors import ConfigurationError, StaleToken, TokenRegression
from leaderlock.tokens import FencingToken

LONGEST_NAME = 255


def judge(
    presented: FencingToken, highest: FencingToken | None, resource: str = ""
) -> FencingToken:
    """Compare a token with the highest one that a resource has seen. Pure.

    Returns:
        What the resource has to remember from now on: equal to `highest`, the source included, if
        nothing changes. Where only one of two tokens of an epoch knows its source, that is kept.

    Raises:
        StaleToken: it is lower.
        TokenRegression: it is of the same epoch, but of another source.
    """
    if highest is None or presented.epoch > highest.epoch:
        return presented
    if presented.epoch == highest.epoch and (
        presented.source and highest.source and presented.source != highest.source
    ):
        where = f" of resource {resource!r}" if resource else ""
        raise TokenRegression(
            f"the fence{where} has seen tokens of {highest.source!r} in epoch {highest.epoch}, and "
            f"this one comes from {presented.source!r}: their numbers cannot be compared. Raise "
            "'epoch' for all candidates of the store that is to go on",
            presented,
            highest,
        )
    if (presented.epoch, presented.value) < (highest.epoch, highest.value):
        raise StaleToken(presented, highest)
    return FencingToken(presented.epoch, presented.value, presented.source or highest.source)


def is_same(one: FencingToken | None, other: FencingToken | None) -> bool:
    """Whether two tokens are equal in all that a fence remembers of them."""
    if one is None or other is None:
        return one is other
    return (one.epoch, one.value, one.source) == (other.epoch, other.value, other.source)


def require_token(token: object) -> FencingToken:
    """Refuse what is none: a text, say, which would compare in its own way."""
    if not isinstance(token, FencingToken):
        raise ConfigurationError(
            f"not a FencingToken: {token!r}; a token from the wire is FencingToken.parse(text)"
        )
    return token


def require_resource(name: object) -> str:
    """A name that means the same in every store: some ignore spaces at its ends."""
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= LONGEST_NAME
        or not name.isprintable()
        or name != name.strip()
    ):
        raise ConfigurationError(
            f"a resource's name is 1 to {LONGEST_NAME} printable characters, with no space at "
            f"either end, not {name!r}"
        )
    return name


@runtime_checkable
class Fence(Protocol):
    """What all fences have in common."""

    @property
    def resource(self) -> str:
        """The name of what is fenced. Give every election a resource of its own."""

    def advance(self, token: FencingToken) -> None:
        """Raise the fence to a term's token, before the term reads what it will act on.

        When it returns, no write under a lower token succeeds any more, whatever crashes.

        Raises:
            StaleToken: the resource has seen a higher token.
            TokenRegression: or one of another source, in the same epoch.
        """

    def check(self, token: FencingToken) -> None:
        """Compare a token with the highest one, and raise the fence if this one is higher.

        Raises:
            StaleToken: the resource has seen a higher token.
            TokenRegression: or one of another source, in the same epoch.
        """

    def highest(self) -> FencingToken | None:
        """The highest token that the resource has seen; None: none yet."""


class FenceGate:
    """A fence for what lives in this process: a file, a device, an in-memory state.

        gate = FenceGate("spool")
        gate.advance(leadership.token)
        with gate.hold(leadership.token):
            write()

    `check` alone is not enough where a higher token can arrive between it and the write. `hold` is:
    whoever brings a higher token waits until the blocks under lower ones have ended, and no new
    one is let in meanwhile. Blocks under the same token run beside each other. For any number
    of threads.

    What it does not promise: anything beyond this process. It forgets with it, unless `store`
    remembers; a forked child has a gate of its own, with what was the highest token at the fork,
    and knows nothing of blocks in its parent. For several processes see `SQLFence.hold`.

    Args:
        resource: the name of what is fenced.
        store: a fence that any thread may use (`RedisFence`), asked first by every call, so that
            the highest token survives a restart.

    Raises:
        ConfigurationError: the name cannot be used.
    """

    def __init__(self, resource: str, store: Fence | None = None) -> None:
        self._resource = require_resource(resource)
        self._store = store
        self._highest: FencingToken | None = None
        self._forget_holders()

    def _forget_holders(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._holders: Counter[tuple[int, int]] = Counter()  # by epoch and value
        self._pid = os.getpid()

    @property
    def resource(self) -> str:
        """The name of what is fenced."""
        return self._resource

    def highest(self) -> FencingToken | None:
        """The highest token that this gate has seen; None: none yet. Without I/O."""
        return self._highest

    def advance(self, token: FencingToken, timeout: float | None = None) -> None:
        """Raise the gate to a term's token, and wait until the blocks under lower ones have ended.

        Args:
            timeout: seconds to wait; default: as long as it takes. No lower token enters meanwhile,
                or after it.

        Raises:
            StaleToken, TokenRegression: the token is refused.
            TimeoutError: a block under a lower token still runs.
        """
        end = _end_of(timeout)
        self.check(token)
        with self._changed:
            self._wait_for_lower(token, end)
            self._raise_to(token)  # a higher one may have come meanwhile

    def check(self, token: FencingToken) -> None:
        """Compare a token with the highest one, and raise the gate if this one is higher.

        Raises:
            StaleToken, TokenRegression: the token is refused.
        """
        token = require_token(token)
        if self._pid != os.getpid():
            self._forget_holders()  # the parent's lock may be held by a thread of the parent
        if self._store is not None:
            self._store.check(token)  # not under the lock: it is I/O
        with self._changed:
            self._raise_to(token)

    @contextmanager
    def hold(self, token: FencingToken, timeout: float | None = None) -> Iterator[FencingToken]:
        """Keep higher tokens out for the length of a block, which may write.

        Args:
            timeout: seconds to wait for blocks under lower tokens; default: as long as it takes.

        Raises:
            StaleToken, TokenRegression: the token is refused.
            TimeoutError: a block under a lower token still runs.
        """
        end = _end_of(timeout)
        self.check(token)
        number, pid = (token.epoch, token.value), os.getpid()
        with self._changed:
            self._wait_for_lower(token, end)
            self._raise_to(token)  # a higher one may have come meanwhile
            self._holders[number] += 1
        try:
            yield token
        finally:
            if pid == os.getpid():  # else this is a child, forked within the parent's block
                with self._changed:
                    self._holders[number] -= 1
                    if not self._holders[number]:
                        del self._holders[number]
                        self._changed.notify_all()

    def _raise_to(self, token: FencingToken) -> None:
        self._highest = judge(token, self._highest, self._resource)

    def _wait_for_lower(self, token: FencingToken, end: float | None) -> None:
        number = (token.epoch, token.value)
        while any(holder < number for holder in self._holders):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(
                    f"a write under a lower token than {token} is still under way at "
                    f"{self._resource!r}"
                )
            self._changed.wait(left)

    def __repr__(self) -> str:
        return f"<FenceGate {self._resource!r}, highest token {self._highest}>"


def _end_of(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
