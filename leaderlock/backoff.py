"""How long to wait before asking a silent store again. The policy is tenacity's."""

from __future__ import annotations

from functools import lru_cache

# Not on the first failure: that may be a lack of file descriptors, when nothing can be imported.
from tenacity import RetryCallState, Retrying, wait_combine, wait_exponential, wait_random

_FIRST = 0.05
# Thousands of elections may fail at once: what is the same for all of them is made once.
_NO_CALL = Retrying()


@lru_cache
def _policy(longest: float) -> wait_combine:
    return wait_exponential(multiplier=_FIRST, max=0.75 * longest) + wait_random(0, 0.25 * longest)


class Backoff:
    """Pauses that grow with every failure in a row, up to `longest` seconds, with jitter."""

    __slots__ = ("_failures", "_longest")

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._failures = 0

    def pause(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        state = RetryCallState(_NO_CALL, None, (), {})
        state.attempt_number = self._failures
        return float(_policy(self._longest)(state))

    def reset(self) -> None:
        self._failures = 0
