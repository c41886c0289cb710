"""LeaderElector: what most programs need of leaderlock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Self

from leaderlock.any_elector import AnyElector
from leaderlock.callbacks import Callbacks, OnElected, require_callable
from leaderlock.errors import LeadershipLost, TokenRegression
from leaderlock.interrupt import Begun, apart_if_interrupting
from leaderlock.leadership import Leadership
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo, decode_reading
from leaderlock.terms import Hold
from leaderlock.timing import bounded_time, wait_time


class LeaderElector(AnyElector[Leadership]):
    """One candidate of one election.

    At any instant at most one elector of an election answers True to `is_leader`, as long as
    clocks do not differ in RATE by more than the margin (P2 of the guarantees). That says
    nothing about what a program does after asking: a resource that must never be written by a
    deposed leader has to check `leadership.token`. For the arguments see `AnyElector`.
    """

    @staticmethod
    def _front() -> tuple[type[Callbacks[Leadership]], type[Leadership]]:
        return Callbacks, Leadership

    # Contending in the background

    def stop(self, timeout: float | None = None) -> bool:
        """Resign if leading, and contend no more. The elector can be started again.

        `is_leader` turns False at once; then work and callbacks may end, then the term is
        released. Returns after at most `timeout` seconds (default: `timing.stop_timeout`), also
        when the store is dead; called from a callback, from work, or from a signal handler that
        interrupts leaderlock, it does not wait at all.

        Returns:
            Whether the store is known to hold nothing of this candidate any more.
        """
        if self._owns_client:
            return self._client.close(timeout)
        bound = bounded_time(timeout, self.timing.stop_timeout)
        return apart_if_interrupting(partial(self._stop, bound))

    def _stop(self, timeout: float, begun: Begun) -> bool:
        self._feed.end()
        self._candidate.begin_stop()
        begun()
        self._client.forget(self)
        return self._candidate.wait_rest(timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def wait_elected(self, timeout: float | None = None) -> bool:
        """Wait until this candidate leads. False: not within `timeout` seconds, or stopped.

        Without a `timeout`: for ever. On an elector that is not a candidate: until anybody leads.

        Raises:
            BackendRefused: the store refuses this candidate, for example its credentials.
            TokenRegression: the store has lost data.
            LeaderLockError: called in work or a callback under a term that is over, which the
                next one would wait for.
        """
        bound = wait_time(timeout)
        if self._candidate.contends or isinstance(self._candidate.error, TokenRegression):
            return self._candidate.wait_term(bound) is not None
        return self._feed.wait_anybody(bound)

    def resign(self, timeout: float | None = None) -> bool:
        """Give the present term up, and contend again. Harmless when not leading.

        `is_leader` turns False at once; then work and callbacks may end (for at most
        `timing.drain_timeout`), then the term is released. To let another candidate have it,
        this one holds back until another one leads, for a heartbeat or a second at most. Returns
        after at most `timeout` seconds (default:
        `timing.stop_timeout`); called from a callback, from work, or from a signal handler that
        interrupts leaderlock, it does not wait at all.

        Returns:
            Whether the term is known to be released.
        """
        bound = bounded_time(timeout, self.timing.stop_timeout)
        return apart_if_interrupting(partial(self._resign, bound))

    def _resign(self, timeout: float, begun: Begun) -> bool:
        attempt_id = self._candidate.step_down(LossReason.RESIGNED) or self._candidate.ending
        begun()
        return self._candidate.wait_released(attempt_id, timeout)

    # Contending in the foreground

    def lead(self, timeout: float | None = None) -> AbstractContextManager[Leadership]:
        """Contend, run the block as leader, and resign on the way out.

        The block is NOT interrupted when the term is lost: call `leadership.check()` before each
        step that only a leader may do. On a started elector it waits for the term, and leaving
        the block resigns that term; otherwise the elector is started for the block only.

        Args:
            timeout: seconds to wait for the election; default: for ever.

        Raises:
            CampaignTimeout: not elected in time.
            BackendRefused: the store refuses this candidate.
            TokenRegression: the store has lost data.
            LeaderLockError: another lead() or run() of this elector is under way, or the elector
                was stopped while waiting.
        """
        return self._lead(wait_time(timeout))

    @contextmanager
    def _lead(self, timeout: float | None) -> Iterator[Leadership]:
        with self._claim("lead()"), self._contending() as was_contending:
            hold = self._wait_to_lead(timeout)
            reason = LossReason.RESIGNED
            try:
                yield hold.leadership
            except LeadershipLost:
                raise
            except BaseException:
                reason = LossReason.WORK_FAILED
                raise
            finally:
                attempt_id = self._hand_over(hold, reason)
                if was_contending:  # else the stop at the end waits
                    self._candidate.wait_released(attempt_id, self.timing.stop_timeout)

    def run(self, work: OnElected) -> None:
        """The main loop of a service: call `work(leadership)` once per term, until `stop()`.

        `work` has to end soon after the term is lost: `leadership.check()` raises then, and
        `leadership.wait_lost(seconds)` returns True. When it returns or raises while the term
        lasts, the term is given up; an exception is logged and told as an event, and the elector
        contends again. Stops the elector at the end if it has started it.

        Raises:
            BackendRefused: the store refuses this candidate.
            TokenRegression: the store has lost data.
            LeaderLockError: another lead() or run() of this elector is under way.
        """
        require_callable("work", work, 1)
        with self._claim("run()"), self._contending():
            while (hold := self._candidate.hold_term(None)) is not None:
                reason = LossReason.WORK_FAILED
                try:
                    work(hold.leadership)
                    reason = LossReason.RESIGNED
                except Exception as error:
                    if not isinstance(error, LeadershipLost) or hold.leadership.is_valid:
                        self._candidate.callbacks.report_failure("work", error)
                finally:
                    self._hand_over(hold, reason)

    @contextmanager
    def _contending(self) -> Iterator[bool]:
        was_contending = self._candidate.contends
        if not was_contending:
            self.start()
        try:
            yield was_contending
        finally:
            if not was_contending:
                # What never led has nothing to drain: a silent store gets one request's time.
                self.stop(None if self._candidate.has_led else self.timing.request_timeout)

    def _wait_to_lead(self, timeout: float | None) -> Hold[Leadership]:
        hold = self._candidate.hold_term(timeout)
        if hold is None:
            raise self._not_elected(timeout)
        return hold

    # Who leads

    def leader(self) -> LeaderInfo | None:
        """Who leads now, asked of the store; None while nobody leads. Needs no candidacy.

        For people and routing: the answer may be outdated when it arrives. Never fence with it.

        Raises:
            BackendUnavailable: no answer, for at most two `timing.request_timeout`.
            BackendRefused: the store refuses to say.
        """
        runtime = self._client.runtime()
        return decode_reading(runtime.ask_in_time("leader", runtime.backend.leader, self.election))

    def observe(self) -> Iterator[LeaderInfo | None]:
        """Yield the present leader, then every change; None while nobody leads.

        Needs no candidacy and writes nothing to the store. Ends when the elector or its client
        is stopped. A change that is undone at once may not be seen.
        """
        yield from self._feed.changes()  # not returned: the iterator keeps the elector alive
