"""From a ttl to every other duration, and the refusal of what cannot be safe.

    sent                                                                   sent + ttl
     |---- belief window W = belief_ratio * ttl - stop_grace ----|--- margin ---|
     |-- heartbeat --|-- heartbeat --|-- heartbeat --|           |              |
                                                       is_leader False   store lets another in

A term is believed until W after the instant BEFORE the last request that proved it was sent. W
is shorter than the ttl, so that clocks may differ in rate; how far they differ in time is
irrelevant. The same validated chain of numbers is in client-go's leader election (lease duration,
renew deadline, retry period).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from leaderlock.capabilities import Capabilities
from leaderlock.errors import ConfigurationError

DEFAULT_TTL = 10.0
_LONGEST_WAIT = 1e9  # what Python's waits can take, and more than anybody has
_ROUNDING = 1e-9
_UNLIMITED = Capabilities(linearizable=True, event_driven=True, min_ttl=0.0, max_ttl=math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Every duration of an election, in seconds, checked against each other and the store.

    Attributes:
        ttl: the lease asked of the store. Default 10.
        heartbeat: seconds between two renewals. Default: a third of the belief window.
        request_timeout: the longest that one request to the store may take. Default: heartbeat.
        stop_grace: ends the belief this much earlier, so that `on_lost` work can finish while
            the store still keeps others out. Default 0.
        drain_timeout: how long a resigning leader waits for its work and callbacks to end before
            it releases the term all the same. Default: the belief window.
        capabilities: what the store promises.

    Raises:
        ConfigurationError: a combination that is not safe or cannot work.
    """

    ttl: float = DEFAULT_TTL
    heartbeat: float = None  # type: ignore[assignment]  # None: derived below, never seen outside
    request_timeout: float = None  # type: ignore[assignment]
    stop_grace: float = 0.0
    drain_timeout: float = None  # type: ignore[assignment]
    capabilities: Capabilities = _UNLIMITED

    def __post_init__(self) -> None:
        self._require_positive("ttl", self.ttl)
        self._check_ttl_fits_store()
        if not (_is_number(self.stop_grace) and self.stop_grace >= 0):
            raise ConfigurationError(
                f"stop_grace must be 0 or more seconds, not {self.stop_grace!r}"
            )
        if self.belief_window <= 0:
            raise ConfigurationError(
                f"stop_grace={self.stop_grace:g} leaves nothing of the belief window of "
                f"{self.belief_window + self.stop_grace:.3g} s: lower it or raise ttl={self.ttl:g}"
            )
        self._fill_in("heartbeat", self.belief_window / 3)
        self._fill_in("request_timeout", self.heartbeat)
        self._fill_in("drain_timeout", self.belief_window)
        self._check_renewals_fit()

    @property
    def belief_window(self) -> float:
        """Seconds for which a term is believed after the last proof was asked for."""
        return self.window_for(self.ttl)

    @property
    def longest_lease(self) -> float:
        """The longest, in seconds, that the store may keep a lease nobody renews any more."""
        limits = self.capabilities
        return limits.expiry_factor * self.ttl + limits.expiry_slack + limits.hold_off

    @property
    def max_backoff(self) -> float:
        """The longest pause, in seconds, between two tries while the store does not answer."""
        return min(2.0, self.ttl / 2)

    @property
    def worst_case_failover(self) -> float:
        """The longest, in seconds, from the crash of a leader to the next `on_elected`.

        The last renewal may reach the store one request_timeout late, the lease then runs out, a
        waiting candidate notices, and its campaign takes one request. It supposes a healthy store
        and a live candidate; after an outage of the store add `max_backoff`.
        """
        return self.longest_lease + self.capabilities.notice + 2 * self.request_timeout

    @property
    def stop_timeout(self) -> float:
        """How long `stop()` waits by default, in seconds: a drain, and a release tried twice."""
        return self.drain_timeout + 2 * self.request_timeout

    def window_for(self, granted_ttl: float) -> float:
        """The belief window in seconds when the store granted another ttl than the one asked."""
        return self.capabilities.belief_ratio * granted_ttl - self.stop_grace

    def _fill_in(self, name: str, default: float) -> None:
        value = getattr(self, name)
        if value is None:
            object.__setattr__(self, name, default)
        else:
            self._require_positive(name, value)

    @staticmethod
    def _require_positive(name: str, value: float) -> None:
        if not (_is_number(value) and value > 0):
            raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")

    def _check_ttl_fits_store(self) -> None:
        limits = self.capabilities
        low, high = limits.min_ttl, limits.max_ttl
        if not low <= self.ttl <= high:
            raise ConfigurationError(
                f"ttl={self.ttl} is outside what this store grants: {low:g} to {high:g} seconds"
            )
        option, needed = limits.hold_off_option, limits.belief_ratio * self.ttl
        if option and limits.hold_off + _ROUNDING < needed:
            longest = limits.hold_off / limits.belief_ratio
            raise ConfigurationError(
                f"{option}={limits.hold_off:g} is too short for ttl={self.ttl:g}: it must last for "
                f"as long as a leader may believe in its term, {_at_least(needed):g} s; raise "
                f"{option}, or lower ttl to {-_at_least(-longest):g}"
            )

    def _check_renewals_fit(self) -> None:
        window = self.belief_window
        if self.heartbeat + self.request_timeout >= window:
            raise ConfigurationError(
                f"heartbeat={self.heartbeat:.3g} + request_timeout={self.request_timeout:.3g} "
                f"must be less than the belief window of {window:.3g} s, or one slow renewal ends "
                f"every term: lower them, or raise ttl={self.ttl:g}"
            )
        if window + _ROUNDING < 3 * self.request_timeout:
            raise ConfigurationError(
                f"request_timeout={self.request_timeout:.3g} must fit three times into the belief "
                f"window of {window:.3g} s, so that a lost request can be repeated: lower it, or "
                f"raise ttl={self.ttl:g}"
            )


def wait_time(timeout: float | None, default: float | None = None) -> float | None:
    """A `timeout` given by the caller of something that waits, in seconds; None: for ever.

    Raises:
        ConfigurationError: it is not a number of seconds.
    """
    if timeout is None:
        timeout = default
    if timeout is None or timeout == math.inf:
        return None
    if not (_is_number(timeout) and timeout >= 0):
        raise ConfigurationError(
            f"timeout must be 0 or more seconds, or None for no limit, not {timeout!r}"
        )
    return min(timeout, _LONGEST_WAIT)


def bounded_time(timeout: float | None, default: float) -> float:
    """The same for what always ends: None means `default`."""
    seconds = wait_time(timeout, default)
    return _LONGEST_WAIT if seconds is None else seconds


def _at_least(seconds: float) -> float:
    """Rounded to what can be read, and never down."""
    return math.ceil((seconds - _ROUNDING) * 100) / 100


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
