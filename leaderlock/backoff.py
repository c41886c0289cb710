"""How long to wait before asking a silent store again. The policy is tenacity's."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

_FIRST = 0.05


@lru_cache  # thousands of elections may fail at once: what is the same for all is made once
def _policy(longest: float) -> Callable[[int], float]:
    """The pause after so many failures in a row."""
    # With the first elector, so that a program which only checks tokens starts without it. Not
    # with the first failure: that may be a lack of file descriptors, when nothing can be imported.
    from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

    wait = wait_exponential(multiplier=_FIRST, max=0.75 * longest) + wait_random(0, 0.25 * longest)
    no_call = Retrying()

    def pause(failures: int) -> float:
        state = RetryCallState(no_call, None, (), {})
        state.attempt_number = failures
        return float(wait(state))

    return pause


class Backoff:
    """Pauses that grow with every failure in a row, up to `longest` seconds, with jitter."""

    __slots__ = ("_failures", "_pause_after")

    def __init__(self, longest: float) -> None:
        self._pause_after = _policy(longest)
        self._failures = 0

    def pause(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        return self._pause_after(self._failures)

    def reset(self) -> None:
        self._failures = 0
