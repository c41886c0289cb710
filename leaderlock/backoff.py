"""How long to wait before asking a silent store again. The policy is tenacity's."""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

_FIRST = 0.05


class Backoff:
    """Pauses that grow with every failure in a row, up to `longest` seconds, with jitter."""

    __slots__ = ("_failures", "_wait")

    def __init__(self, longest: float) -> None:
        self._wait = wait_exponential(multiplier=_FIRST, max=0.75 * longest) + wait_random(
            0, 0.25 * longest
        )
        self._failures = 0

    def pause(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = self._failures
        return float(self._wait(state))

    def reset(self) -> None:
        self._failures = 0
