"""Whether a leader gets on: a process that can renew, but not work, must not lead for ever."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from leaderlock.callbacks import Callbacks
from leaderlock.errors import ConfigurationError
from leaderlock.leadership import LeadershipT

if TYPE_CHECKING:
    from leaderlock.config import Config


class Progress(Generic[LeadershipT]):
    """Asks the user's program, if it wants to be asked.

    Attributes:
        is_asked: whether there is something to ask.
        says_no: whether that was its last answer.
        timeout: how many seconds a term may last without a sign of progress.

    Raises:
        ConfigurationError: `healthy` cannot be called, or is asked too seldom for `beat_timeout`.
    """

    __slots__ = ("_asked", "_callbacks", "_healthy", "is_asked", "says_no", "timeout")

    def __init__(
        self,
        config: Config,
        callbacks: Callbacks[LeadershipT],
        healthy: Callable[[], object] | None,
    ) -> None:
        self._callbacks = callbacks
        self._healthy = healthy
        self._asked: LeadershipT | None = None  # whose answer is out
        self.is_asked = healthy is not None
        self.says_no = False
        self.timeout = math.inf if config.beat_timeout is None else config.beat_timeout
        if healthy is not None:
            callbacks.require("healthy", healthy, 0)
            self._settle_timeout(config)

    def _settle_timeout(self, config: Config) -> None:
        timing = config.timing
        if config.beat_timeout is None:
            self.timeout = timing.ttl
        elif config.beat_timeout < 2 * timing.heartbeat:
            raise ConfigurationError(
                f"beat_timeout={config.beat_timeout:g} must be at least two heartbeats of "
                f"{timing.heartbeat:.3g} s: healthy() is asked once in each"
            )

    def ask(self, leadership: LeadershipT, say_no: Callable[[str], None]) -> None:
        """Ask whether the leader is healthy. Yes is a sign of progress.

        While an answer is out, it is not asked again in this term: one that never comes takes one
        thread, and the term ends for lack of progress.
        """

        def tell(healthy: bool) -> None:
            if self._asked is leadership:
                self._asked = None
            self.says_no = not healthy
            if healthy:
                leadership.beat()
            else:
                say_no("healthy() says no")

        if self._healthy is not None and self._asked is not leadership:
            self._asked = leadership
            if not self._callbacks.ask(self._healthy, tell):
                self._asked = None
