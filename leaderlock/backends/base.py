"""What a store has to offer: the `Backend` contract.

A backend is thin. It carries requests to one store and answers with what the store said; when to
ask, how long to believe an answer and what to tell the user is decided by the core. Its rules:

* "No" is a value, silence is an exception. `Waiting`, `Renewal.TAKEN` or None only when the store
  answered; no answer, or none in time, is `BackendUnavailable` (the outcome is unknown); an
  answer that will not change by asking again is `BackendRefused`. No other exception leaves a
  method, and no exception of a client library does.
* Every method returns or raises within `settings.request_timeout`, and never retries a request
  that may have taken effect, except where that is idempotent.
* Methods are called from several threads at once, but for one attempt only `renew` overlaps with
  another call. A slow `campaign` must not delay `renew`: use separate connections.
* `wake` callbacks are hints: cheap, never raise, may be called from any thread and too often, and
  never too seldom: after `campaign` has answered `Waiting`, either `attempt.wake()` follows soon
  after the election may have become free (also if that was before the return), or the
  `retry_after` of the answer is over then. The same holds for `watch` and `recheck_after`.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from leaderlock.capabilities import Capabilities
from leaderlock.clock import BOOT_CLOCK, Clock
from leaderlock.machine import LossReason
from leaderlock.url import Option, StoreURL


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the core tells a backend about itself.

    Attributes:
        ttl: the lease to ask for, in seconds; already inside what `capabilities` allow.
        request_timeout: the longest that any one call may take, in seconds.
        namespace: keeps the elections of different applications in one store apart.
        clock: the clock that leases are believed by.
    """

    ttl: float
    request_timeout: float
    namespace: str = "leaderlock"
    clock: Clock = BOOT_CLOCK


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidacy at the store, from its first campaign request to its release.

    Attributes:
        election: the name contended for; any text of 1 to 255 characters.
        attempt_id: unique for ever, and of letters, digits and "-" only.
        payload: what observers of the term are shown. Opaque to the store, at most a few KiB.
        wake: the hint that asking again may be worth while now.
    """

    election: str
    attempt_id: str
    payload: bytes = field(repr=False)
    wake: Callable[[], None] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The attempt leads.

    Attributes:
        token: strictly higher than that of every earlier term of this election.
        source: which store (cluster, file) issued the token, for example "etcd:1f0c".
        ttl: the lease that the store really granted, in seconds; None: the one asked for. A store
            that shortens the lease of a running term has to report SESSION_LOST as well, if it
            may have let another in before the answer was heard.
        sent_at: clock reading from which the lease is certain to run; None: the call's start.
    """

    token: int
    source: str
    ttl: float | None = None
    sent_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Somebody else leads.

    Attributes:
        retry_after: ask again after this many seconds even without a wake; None: at the core's
            own slow pace.
    """

    retry_after: float | None = None


class Renewal(enum.Enum):
    """What the store says of an attempt in a heartbeat round."""

    RENEWED = "renewed"
    TAKEN = "taken"
    SESSION_LOST = "session lost"

    @property
    def loss(self) -> LossReason:
        """The reason that a leader is told when the answer is not RENEWED."""
        return LossReason.TAKEN if self is Renewal.TAKEN else LossReason.SESSION_LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A heartbeat round.

    Attributes:
        outcomes: by attempt id; an attempt that is left out got no answer.
        ttl: as in `Granted`.
        sent_at: as in `Granted`.
    """

    outcomes: Mapping[str, Renewal]
    ttl: float | None = None
    sent_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Who leads, as the store knows it.

    Attributes:
        payload: the leader's payload; None: nobody leads.
        token: the leader's token value; while nobody leads, that of the last term as far as the
            store knows it.
        source: as in `Granted`.
        recheck_after: read again after this many seconds even without a wake, for example when
            the lease runs out; None: wakes are enough.
    """

    payload: bytes | None = None
    token: int = 0
    source: str = ""
    recheck_after: float | None = None


class Backend(ABC):
    """One store, as one client sees it. See the module's docstring for the rules.

    A third party's backend is found by the entry-point group ``leaderlock.backends``, under its
    URL scheme, and proves itself with `leaderlock.testing.BackendConformance`.
    """

    schemes: ClassVar[tuple[str, ...]]
    """The URL schemes that this class serves."""

    options: ClassVar[Mapping[str, Option]] = {}
    """The URL query parameters that are its own, beside the common ones."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def settle(cls, url: StoreURL) -> StoreURL:
        """The URL with all that could mean something else later settled, such as a relative path.

        Called once, when the URL is first seen. May look at this machine, not at the store.

        Raises:
            ConfigurationError: something in the URL cannot be used.
        """
        return url

    @classmethod
    @abstractmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        """What the store promises. No I/O.

        Raises:
            ConfigurationError: something in the URL cannot be used.
        """

    @classmethod
    @abstractmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Make a backend. No I/O: it connects when it is first asked something."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the store promises."""

    @abstractmethod
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        """Try to become leader, or stay in the queue for it.

        Idempotent for one attempt: repeated after a lost reply it returns the same grant, with
        the same token, and leaves no second lease, session or place in the queue behind. The
        lease is counted anew from every grant.
        """

    @abstractmethod
    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        """Prove that each of these attempts still leads, and extend its lease.

        One round for all that the client holds, in as few requests as the store allows. With
        `capabilities.renews_waiting`, attempts that wait are among them.
        """

    @abstractmethod
    def release(self, attempt: Attempt) -> None:
        """Take back all that the store holds of this attempt, and let the next one in.

        Idempotent. Never touches another attempt's term. Called at least once for every attempt
        that has campaigned, after the last answer to its campaign, but for those that are alive
        when the client is closed. After a failure it is repeated until the longest lease is
        over; if anything of the attempt can outlive that (with a session that other
        attempts keep alive), the backend has to see to it by itself.
        """

    @abstractmethod
    def leader(self, election: str) -> Reading:
        """Who leads now. Costs the store no write."""

    @abstractmethod
    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` soon after every change of the election's leader. Returns the way to stop.

        Does not wait for the store. A change between two wakes may be reported once.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection and thread. Idempotent; ends sessions that it opened."""

    def abandon(self) -> None:  # noqa: B027 - most stores in a child need nothing
        """Called in a forked child, in place of `close`: drop every inherited connection unused.

        Closing one properly would speak to the store on the parent's connection. Locks may be
        held by threads that do not exist here: take none.
        """
