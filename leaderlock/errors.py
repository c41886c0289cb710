"""Everything that leaderlock raises on purpose, in one tree.

    LeaderLockError
    ├── ConfigurationError (ValueError)     a wrong URL, option, name, timing or callback
    │   ├── UnknownBackend                  no backend for this URL scheme
    │   └── MissingDependency               the extra that the backend needs is not installed
    ├── BackendUnavailable                  the store did not answer: the outcome is unknown
    ├── BackendRefused                      the store answered, and asking again will not help
    ├── NotLeader                           a leader-only call on a candidate that does not lead
    ├── LeadershipLost                      the term is over (`.reason`, `.token`)
    ├── CampaignTimeout (TimeoutError)      not elected within the time given to `lead()`
    ├── StaleToken                          a resource has seen a higher fencing token
    └── TokenRegression                     a token that cannot follow those seen before

"No" is a value, silence is an exception: a store that says "somebody else leads" raises nothing,
and `BackendUnavailable` never means "no".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderlock.machine import LossReason
    from leaderlock.tokens import FencingToken


class LeaderLockError(Exception):
    """Root of every exception that leaderlock raises on purpose."""


class ConfigurationError(LeaderLockError, ValueError):
    """A value given by the caller cannot be used; the message says what is allowed."""


class UnknownBackend(ConfigurationError):
    """No backend is registered for the scheme of a store URL."""


class MissingDependency(ConfigurationError):
    """A library that is needed cannot be imported; the message names the extra to install."""


class BackendUnavailable(LeaderLockError):
    """The store did not answer, or not in time.

    The request may or may not have taken effect. It neither extends nor ends a term.
    """


class BackendRefused(LeaderLockError):
    """The store answered no in a way that will not change by itself.

    Wrong credentials, missing rights, a read-only or damaged file. Somebody has to act.
    """


class NotLeader(LeaderLockError):
    """A leader-only call was made on a candidate that does not lead."""


class LeadershipLost(LeaderLockError):
    """The term is over.

    Attributes:
        reason: why it ended.
        token: the fencing token of the ended term.
    """

    def __init__(self, reason: LossReason, token: FencingToken, election: str = "") -> None:
        super().__init__(reason, token, election)
        self.reason = reason
        self.token = token
        self.election = election

    def __str__(self) -> str:
        where = f" of election {self.election!r}" if self.election else ""
        return f"leadership{where} lost ({self.reason.value}), token {self.token}"


class CampaignTimeout(LeaderLockError, TimeoutError):
    """`lead(timeout=...)` was not elected in time. It no longer contends."""


class StaleToken(LeaderLockError):
    """A fenced resource refused a write, because it has seen a higher token.

    Attributes:
        presented: the token of the refused write.
        highest: the highest token that the resource has seen.
    """

    def __init__(self, presented: FencingToken, highest: FencingToken) -> None:
        super().__init__(presented, highest)
        self.presented = presented
        self.highest = highest

    def __str__(self) -> str:
        return f"token {self.presented} is stale: the resource has already seen {self.highest}"


class TokenRegression(LeaderLockError):
    """A new term got a token that is not higher than one seen before.

    The store has lost data, was restored from a backup, or is another store. The candidate does
    not lead. Raise `epoch` in the configuration of every candidate, then start again.

    A fence raises it for a token of the same epoch, but of another source, than it has seen.

    Attributes:
        presented: the token that was refused; None where a candidate was.
        highest: the highest token that the resource has seen.
    """

    def __init__(
        self,
        message: str,
        presented: FencingToken | None = None,
        highest: FencingToken | None = None,
    ) -> None:
        super().__init__(message, presented, highest)
        self.presented = presented
        self.highest = highest

    def __str__(self) -> str:
        return str(self.args[0])
