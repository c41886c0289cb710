"""Writes into the election's own store, which carries them out only for the present leader.

    fence = EtcdFence(elector)
    with elector.lead() as leadership:
        state = fence.read("app/state")
        fence.write(leadership.token, {"app/state": b"..."})

Stronger than a token: the store compares with the leader's record itself, in the transaction that
writes. So a deposed leader is refused as soon as the store knows, even if its successor has not
written anything yet, or there is none.

`EtcdFence`, `ZooKeeperFence` and `ConsulFence` have this one shape. They use the connection of the
elector, its login and its deadlines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from leaderlock.errors import (
    BackendUnavailable,
    ConfigurationError,
    LeadershipLost,
    TokenRegression,
)
from leaderlock.fencing.gate import judge, require_token
from leaderlock.leadership import LossReason
from leaderlock.observer import decode_reading
from leaderlock.tokens import FencingToken

if TYPE_CHECKING:
    from leaderlock.backends.base import Backend
    from leaderlock.elector import LeaderElector

BackendT = TypeVar("BackendT", bound="Backend")

_TRIES = 5


class StoreFence(ABC, Generic[BackendT]):
    """What the three have in common.

    Args:
        elector: of the election. It need not lead, and may be another process's candidate: the
            token says for which term a write is.

    Raises:
        ConfigurationError: the elector's store is another one.
    """

    _schemes: ClassVar[tuple[str, ...]]

    def __init__(self, elector: LeaderElector) -> None:
        self._elector = elector
        self._place: tuple[FencingToken, Any] | None = None  # where a token's record is
        client = getattr(elector, "_client", None)
        if client is None:
            raise ConfigurationError(f"not a LeaderElector: {elector!r}")
        if not set(self._schemes) & set(client.config.backend.schemes):
            raise ConfigurationError(
                f"{type(self).__name__} writes into {self._schemes[0]}://, and the elector's store "
                f"is {client.config.url}"
            )

    @property
    def resource(self) -> str:
        """The name of the election."""
        return self._elector.election

    def highest(self) -> FencingToken | None:
        """The present leader's token; None: nobody leads.

        Raises:
            BackendUnavailable, BackendRefused: the store does not say.
        """
        info = decode_reading(self._backend.leader(self.resource))
        return None if info is None else info.token

    def advance(self, token: FencingToken) -> None:
        """The same as `check`: the store has advanced by electing."""
        self.check(token)

    def check(self, token: FencingToken) -> None:
        """Ask the store whether the term still leads. A write later on may find it over: `write`.

        Raises:
            StaleToken: somebody leads under a higher token.
            LeadershipLost: the term is over, and nobody leads.
            TokenRegression: the store is another one, or has lost data.
            BackendUnavailable, BackendRefused: it does not say.
        """
        present = self.highest()
        if present is None:
            raise LeadershipLost(LossReason.TAKEN, require_token(token), self.resource)
        judge(require_token(token), present, self.resource)
        if token.value != present.value or token.epoch != present.epoch:
            raise TokenRegression(
                f"election {self.resource!r}: the store shows a leader with token {present}, after "
                f"{token}: it has lost data. Raise 'epoch' for all candidates",
                token,
                present,
            )

    def write(
        self, token: FencingToken, puts: Mapping[str, bytes], deletes: Iterable[str] = ()
    ) -> None:
        """Write and delete keys in one transaction, provided that this term still leads.

        Args:
            token: of the term.
            puts: values by key. Keys are the store's, as its own clients see them.
            deletes: keys to remove, if they are there.

        Raises:
            StaleToken, LeadershipLost, TokenRegression: as `check`; nothing was written.
            BackendUnavailable: no answer. It may have been carried out, or be carried out later
                as long as the term leads; it may be repeated.
            BackendRefused: the store refuses the write.
            ConfigurationError: a key cannot be used; those of elections cannot.
        """
        require_token(token)
        gone = tuple(deletes)
        for key in (*puts, *gone):
            self._require_key(key)
        for key, value in puts.items():
            if not isinstance(value, bytes):
                raise ConfigurationError(f"the value of {key!r} has to be bytes, not {value!r}")
        for _ in range(_TRIES):
            place = self._place_of(token)
            if place is not None and self._commit(token, place, puts, gone):
                return
            self._place = None
            self.check(token)  # tells why; if it still leads, something else has interfered
        raise BackendUnavailable(
            f"something else keeps changing the leader's record, or these keys: {', '.join(puts)}"
        )

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """The value of a key as a majority has it; None: there is none.

        Raises:
            BackendUnavailable, BackendRefused: the store does not say.
        """

    @property
    def _backend(self) -> BackendT:
        backend: Any = self._elector._client.runtime().backend
        return backend  # type: ignore[no-any-return]

    def _place_of(self, token: FencingToken) -> Any:
        """Where the term's record is; found once for a term. None: it is not the leader's."""
        known = self._place  # once: another thread may be about to forget it
        if known is None or known[0] != token:
            self.check(token)  # also that the store is the one which issued the token
            place = self._find(token)
            if place is None:
                return None
            self._place = known = token, place
        return known[1]

    def _require_key(self, key: str) -> None:
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"a key is a text, not {key!r}")
        own = self._own_prefix()
        if f"{key}/".startswith(own):
            raise ConfigurationError(f"{key!r}: what is below {own} belongs to the elections")

    @abstractmethod
    def _own_prefix(self) -> str:
        """Where the elections of the namespace are, with a slash at the end."""

    @abstractmethod
    def _find(self, token: FencingToken) -> Any:
        """Find the leader's record; None: it is not this term's."""

    @abstractmethod
    def _commit(
        self,
        token: FencingToken,
        place: Any,
        puts: Mapping[str, bytes],
        deletes: tuple[str, ...],
    ) -> bool:
        """One transaction. False: nothing was written, because the record is not as it was."""
