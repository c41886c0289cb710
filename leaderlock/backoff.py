"""How long to wait before asking a silent store again. The policy is tenacity's."""

from __future__ import annotations

# Not on the first failure: that may be a lack of file descriptors, when nothing can be imported.
from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

_FIRST = 0.05


class Backoff:
    """Pauses that grow with every failure in a row, up to `longest` seconds, with jitter."""

    __slots__ = ("_failures", "_longest")

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._failures = 0

    def pause(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        growing = wait_exponential(multiplier=_FIRST, max=0.75 * self._longest)
        jitter = wait_random(0, 0.25 * self._longest)
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = self._failures
        return float((growing + jitter)(state))

    def reset(self) -> None:
        self._failures = 0
