"""How long a session certainly lives, by what the ensemble has answered."""

from __future__ import annotations

from collections import deque

from leaderlock.machine import NEVER


class Proofs:
    """Since when the ensemble's leader has known that the session lives: always one behind.

    An answered write proves less than it seems. Sessions live at the leader, and the server that
    we talk to tells it every half tick who has been heard of: so an answer proves no more than
    that what came in half a tick before it was sent has been told. A tick is at most half of
    the session's timeout T, most often at most a quarter; hence the two rules below. Belief is
    0.6 T from the result on, that is 0.7 T after what has probably been told, and 0.9 T
    after what certainly has. Connecting itself is the leader's business: it counts at once.
    """

    _RULES = ((1 / 8, 0.1), (1 / 4, 0.3))  # shares of T: how much older, and credit
    _GRAIN = 1 / 50

    def __init__(self) -> None:
        self._answered: deque[tuple[float, float]] = deque(maxlen=64)  # sent at, answered at

    def restart(self, sent_at: float) -> None:
        """Another server has not told what the last one was told."""
        self._answered.clear()
        self._answered.append((sent_at, NEVER))

    def add(self, sent_at: float, answered_at: float, ttl: float) -> None:
        if self._answered and sent_at >= self._answered[-1][0] + self._GRAIN * ttl:
            self._answered.append((sent_at, answered_at))

    def since(self, sent_at: float, ttl: float) -> float:
        found = [sent_at]
        for age, credit in self._RULES:
            newest_first = reversed(self._answered)
            told = (sent for sent, answered in newest_first if answered <= sent_at - age * ttl)
            found.append(next(told, NEVER) + credit * ttl)
        return min(found)
