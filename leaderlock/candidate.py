"""Joins one state machine to the runtime: requests out, answers in.

Everything that touches the machine happens under one lock, and nothing else does: no request, no
callback and no log line is made while it is held. Callbacks are only queued under it, so that
they run in the order of what happened.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic

from leaderlock.backends.base import Attempt, Granted, Renewal, Waiting
from leaderlock.backoff import Backoff
from leaderlock.callbacks import Callbacks
from leaderlock.clock import Clock
from leaderlock.config import default_candidate_id
from leaderlock.errors import BackendRefused, BackendUnavailable, LeaderLockError, TokenRegression
from leaderlock.interrupt import wait_in_steps
from leaderlock.leadership import AnyLeadership, LeadershipT
from leaderlock.listeners import Listeners, Wake
from leaderlock.machine import (
    Candidacy,
    Displaced,
    Elected,
    LossReason,
    Lost,
    Notice,
    Orphaned,
    Regressed,
    Request,
    State,
    Verb,
)
from leaderlock.observer import encode_payload
from leaderlock.outages import Outages
from leaderlock.progress import Progress
from leaderlock.stream import Listener
from leaderlock.telemetry.events import Event, NoProgress, TokenRegressed
from leaderlock.terms import Hold, Terms
from leaderlock.tokens import FencingToken
from leaderlock.workers import Recurring
from leaderlock.yielding import POLL, Yielding

if TYPE_CHECKING:
    from leaderlock.config import Config
    from leaderlock.runtime import Runtime

log = logging.getLogger("leaderlock")

_AT_REST = (State.IDLE, State.FORKED)
_ENDING = (State.STEPPING_DOWN, State.RELEASING)


class Candidate(Generic[LeadershipT]):
    """One candidate of one election.

    Args:
        callbacks: what the user is told, and where.
        leadership_class: of the handles on the terms.
        healthy: says whether the leader can work; asked with every heartbeat.

    Attributes:
        progress, terms, outages: whether it can work; its terms; what the store does not answer.
        error: why contending cannot succeed before somebody acts, if it is so.
        answered: the store has answered a campaign since the start.
        has_led: it has been elected since the start.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        callbacks: Callbacks[LeadershipT],
        leadership_class: type[LeadershipT],
        healthy: Callable[[], object] | None = None,
    ) -> None:
        self.election = config.election
        self.candidate_id = config.candidate_id
        self.callbacks = callbacks
        self.progress = Progress(config, callbacks, healthy)
        self.terms = Terms(
            config, clock, leadership_class, callbacks, self._callback_done, self.progress.timeout
        )
        self.error: LeaderLockError | None = None
        self.answered = self.has_led = False
        self._config = config
        self._payload = encode_payload(config.candidate_id, config.metadata, config.epoch)
        self._epoch = config.epoch
        self._timing = config.timing
        self._clock = clock
        self._machine = Candidacy(config.timing, lambda: os.urandom(16).hex())
        self._backoff = Backoff(config.timing.max_backoff)
        self._useless = Backoff(config.timing.max_backoff)  # of grants that elected nobody
        self._hold_off = 0.0  # before the next attempt, in seconds
        self._is_queued = False  # the store has answered that the present attempt waits
        self.outages = Outages(config.election, callbacks, config.timing)
        self._yielding = Yielding(config.election, config.timing)
        self._forget_runtime()

    def _forget_runtime(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._listeners = Listeners()
        self._runtime: Runtime | None = None
        self.callbacks.close()
        self._attempt: Attempt | None = None
        self._settled: tuple[State, str] | None = None  # what was last followed
        self._requests: Recurring | None = None  # sends what is due to the store

    # What the elector asks for

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def ending(self) -> str:
        """The attempt that is being given up; "" if there is none."""
        return self._machine.attempt_id if self.state in _ENDING else ""

    @property
    def contends(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._machine.wanted

    def start(self, runtime: Runtime) -> None:
        """Contend from now on."""
        with self._lock:
            if self._runtime is not runtime:
                self._runtime = runtime
                self._settled = None  # what is due may be due at a session that has ended
                self._requests = Recurring(runtime.io, partial(self._send_due, runtime))
            self.callbacks.open(runtime, anew=not self.contends)
            if not self.contends:
                self.has_led = self.answered = False
                self.error = None
                self._yielding.end()
            runtime.join(self)
            self._machine.start()
            self._settle()

    def begin_stop(self, of: Runtime | None = None) -> None:
        """Give up what is held and contend no more (only over `of`, if given); does not wait."""

        def change(now: float) -> Sequence[Notice]:
            return self._machine.stop(now) if of in (None, self._runtime) else ()

        self._apply(change)
        self.callbacks.give_up()

    def wait_rest(self, timeout: float, of: Runtime | None = None) -> bool:
        """Wait until the store holds nothing of it, or it is with another runtime than `of`."""
        with self._lock:
            return self._wait_unless_own(
                lambda: self.state in _AT_REST or of not in (None, self._runtime), timeout
            )

    def abandon(self, of: Runtime) -> None:
        """Wait no more for the word of a store whose session has ended."""
        with self._lock:
            if self._runtime is of:
                self._machine.abandon()
                self._settle()

    def step_down(self, reason: LossReason, of: AnyLeadership | None = None) -> str:
        """End the present term (only `of`, if given) at once. Returns its attempt, "" if none."""
        with self._lock:
            leadership = self.terms.leadership
            if leadership is None or of not in (None, leadership):
                return ""
            attempt_id = self._machine.attempt_id
            self._yielding.begin(leadership.token.value)
            events = self._publish(self._machine.resign(self._clock.now(), reason))
        self._log(events)
        return attempt_id

    def wait_released(self, attempt_id: str, timeout: float) -> bool:
        """Wait until an ended attempt has drained and been released."""
        with self._lock:
            return self._wait_unless_own(
                lambda: not attempt_id or self._machine.attempt_id != attempt_id, timeout
            )

    def wait_term(self, timeout: float | None, owner: object = None) -> LeadershipT | None:
        """Wait until this candidate leads. None: the time is over (0: just ask), or it was stopped.

        Raises:
            BackendRefused, TokenRegression: it cannot be elected until somebody acts.
            LeaderLockError: no next term begins before the caller has ended.
        """
        with self._lock:
            return self._wait_term(timeout, owner or threading.get_ident())

    def hold_term(self, timeout: float | None, owner: object = None) -> Hold[LeadershipT] | None:
        """The same, and count the owner as working under the term until `let_go`."""
        owner = owner or threading.get_ident()
        with self._lock:
            leadership = self._wait_term(timeout, owner)
            return None if leadership is None else self.terms.hold(leadership, owner)

    def hold_present_term(self, owner: object = None) -> Hold[LeadershipT] | None:
        """The same without waiting, and without a word on why there is none."""
        with self._lock:
            leadership = self.terms.leadership if self._is_leading() else None
            owner = owner or threading.get_ident()
            return None if leadership is None else self.terms.hold(leadership, owner)

    def let_go(self, hold: Hold[LeadershipT]) -> None:
        """The work has ended; on whichever thread. Harmless in a child forked within it."""
        with self._lock:
            self.terms.let_go(hold)
            self._settle()

    def wait_answer(self, timeout: float) -> bool:
        """Wait until the store has said whether this candidate leads."""
        with self._lock:
            return self._changed.wait_for(
                lambda: self.answered or self.error is not None or not self.contends, timeout
            )

    def waits_for(self, owner: object = None) -> bool:
        """Whether the owner (default: the caller, if it blocked) is what a drain waits for."""
        with self._lock:
            return self.terms.waits_for(owner) if owner else self.terms.waits_for_caller()

    def listen(self, wake: Wake) -> Callable[[], object]:
        """Call `wake` whenever something that can be waited for may have changed.

        For waits that must not take a thread: they ask, with a timeout of 0, after each wake, which
        comes under the lock. Returns the way to stop.
        """
        return self._listeners.add(wake)

    # What the runtime tells

    def lease(self, waiting_too: bool) -> Attempt | None:
        """The attempt that a heartbeat round has to renew."""
        # Without the lock: whoever comes to hold a lease pokes the runtime only after that.
        attempt, machine = self._attempt, self._machine
        waits = waiting_too and self._is_queued and machine.state is State.CAMPAIGNING
        return attempt if machine.holds_lease or waits else None

    def renewal_answered(
        self, attempt_id: str, outcome: Renewal, sent_at: float, ttl: float
    ) -> None:
        with self._lock:
            machine, was_valid = self._machine, self._machine.valid_until
            self.outages.end(now := self._clock.now())
            if outcome is not Renewal.RENEWED:
                events = self._publish(machine.refused(attempt_id, outcome.loss, now))
            elif lost := machine.renewed(attempt_id, sent_at=sent_at, ttl=ttl, now=now):
                events = self._publish(lost)
            else:
                # As nearly always, and thousands of times in a round: nothing to be waited for.
                self.terms.extend(machine.valid_until)
                if Listener.of_renewals:
                    self.callbacks.tell_renewed(self.terms.leadership)
                if machine.valid_until < was_valid and self._runtime:  # the store has shortened it
                    self._runtime.poke(self, machine.valid_until)
                return
        self._log(events)

    def renewal_failed(self, error: LeaderLockError) -> None:
        with self._lock:
            self.outages.note("renew", error)
            self.callbacks.tell_renew_failed(error)

    def tick(self) -> float:
        """Let time pass. Returns the next deadline."""
        events: list[Event] = []
        with self._lock:
            now, deadline = self._clock.now(), min(self._machine.deadline, self.terms.beat_due())
            if deadline <= now:  # mostly it has moved on since the watchdog heard of it
                events = self._publish(self._machine.tick(now))
                if self.terms.beat_due() <= now:
                    events += self._end_without_progress("no sign of progress in time")
                deadline = min(self._machine.deadline, self.terms.beat_due())
        self._log(events)
        return deadline

    def look_after_progress(self) -> None:
        """With every heartbeat: have a leader say whether it can work."""
        if self.callbacks.is_gone:
            self.begin_stop()
        elif self.progress.is_asked and (leadership := self.terms.leadership) is not None:
            self.progress.ask(leadership, partial(self._take_no_progress, leadership))

    def _take_no_progress(self, leadership: LeadershipT, why: str) -> None:
        with self._lock:
            events = self._end_without_progress(why) if self.terms.leadership is leadership else []
        self._log(events)

    def _end_without_progress(self, why: str) -> list[Event]:
        leadership = self.terms.leadership
        assert leadership is not None
        told = NoProgress(self.election, self.candidate_id, token=leadership.token, why=why)
        self.callbacks.emit(told)
        self._yielding.begin(leadership.token.value)
        notices = self._machine.resign(self._clock.now(), LossReason.WORK_FAILED)
        return [told, *self._publish(notices)]

    def after_fork(self) -> None:
        """In a forked child: the parent's threads and locks do not exist here."""
        self._machine.forked()
        if self._config.has_default_id:  # the parent's tells where the parent runs
            self._rename(default_candidate_id())
        self.terms.after_fork()
        self.outages.forget()
        self._forget_runtime()

    def _rename(self, candidate_id: str) -> None:
        self.candidate_id = self.callbacks.candidate_id = self.terms.candidate_id = candidate_id
        self._payload = encode_payload(candidate_id, self._config.metadata, self._config.epoch)

    # Requests to the store, one at a time

    def _wake(self, attempt_id: str) -> None:
        """A backend's hint: asking again may be worth while."""
        with self._lock:
            if attempt_id == self._machine.attempt_id and self.state is State.CAMPAIGNING:
                self._schedule(0.0)

    def _schedule(self, delay: float) -> None:
        if self._requests is not None:
            self._requests.due_in(delay)

    def _send_due(self, runtime: Runtime) -> float:
        """Send the request that is due. Returns the seconds until it is to be repeated."""
        with self._lock:
            attempt, is_ours = self._attempt, runtime is self._runtime
            request = self._machine.take_request(self._clock.now()) if is_ours else None
            if request is not None and request.verb is Verb.RELEASE:
                runtime.poke(self, self._machine.deadline)  # its time has begun to run
        if request is None or attempt is None:
            return math.inf
        return self._send(runtime, request, attempt)

    def _send(self, runtime: Runtime, request: Request, attempt: Attempt) -> float:
        delay = math.inf
        try:
            if request.verb is Verb.RELEASE:
                self._release(runtime, attempt)
            elif self._yielding.is_others_turn(runtime):
                return POLL
            else:
                delay = self._campaign(runtime, attempt)
        except (BackendUnavailable, BackendRefused) as error:
            with self._lock:
                self.outages.note(request.verb.value, error)
                if isinstance(error, BackendRefused):
                    self._take_refusal(request, error)
                self._notify()
                return runtime.held_back(self, self._requests, self._backoff.pause())
        with self._lock:
            self.outages.end()
            self._backoff.reset()
        runtime.answered(self)
        return delay

    def _campaign(self, runtime: Runtime, attempt: Attempt) -> float:
        sent_at = self._clock.now()
        answer = runtime.ask("campaign", self._ask_campaign, runtime, attempt)
        pause, orphaned = math.inf, False
        if isinstance(answer, Waiting):
            pause = self._timing.max_backoff if answer.retry_after is None else answer.retry_after

        def change(now: float) -> Sequence[Notice]:
            nonlocal orphaned
            self.answered, self.error = True, None
            self.outages.placed(now, pause)
            if isinstance(answer, Waiting):
                self._is_queued = True
                runtime.poke(self, self._machine.deadline)  # its place may have to be renewed
                return ()
            notices = self._grant(attempt, answer, sent_at, now)
            orphaned = any(isinstance(notice, Orphaned) for notice in notices)
            if not notices and self.state is State.RELEASING:
                self._note_useless(answer)
            return notices

        self._apply(change)
        if orphaned:
            self._give_back(runtime, attempt)
        return pause

    def _ask_campaign(self, runtime: Runtime, attempt: Attempt) -> Granted | Waiting:
        answer = runtime.backend.campaign(attempt)
        match answer:
            case Granted(token=token, source=source):
                FencingToken(self._epoch, token, source)  # raises for what is none
            case Waiting():
                pass
            case _:
                raise TypeError(f"neither Granted nor Waiting: {answer!r}")
        return answer

    def _grant(
        self, attempt: Attempt, grant: Granted, sent_at: float, now: float
    ) -> Sequence[Notice]:
        return self._machine.granted(
            attempt.attempt_id,
            grant.token,
            source=grant.source,
            sent_at=sent_at if grant.sent_at is None else grant.sent_at,
            ttl=self._ttl(grant.ttl),
            now=now,
        )

    def _note_useless(self, grant: Granted) -> None:
        """A grant that came too late to lead by: do not ask again at once for the same."""
        self._hold_off = self._useless.pause()
        if self._timing.window_for(self._ttl(grant.ttl)) <= 0:
            self.error = BackendRefused(
                f"the store grants a lease of {grant.ttl:g} s, of which "
                f"stop_grace={self._timing.stop_grace:g} leaves nothing: lower it"
            )

    def _give_back(self, runtime: Runtime, attempt: Attempt) -> None:
        # A failure is told and logged by ask(); the lease then runs out by itself.
        with suppress(BackendUnavailable, BackendRefused):
            runtime.ask("release", runtime.backend.release, attempt)

    def _release(self, runtime: Runtime, attempt: Attempt) -> None:
        runtime.ask("release", runtime.backend.release, attempt)
        with self._lock:
            self._machine.released(attempt.attempt_id)
            self._settle()

    def _take_refusal(self, request: Request, error: BackendRefused) -> None:
        if request.verb is Verb.CAMPAIGN:
            self.error = error
        else:
            # Asking again does not help: what the store may hold of it runs out by itself.
            self._machine.released(request.attempt_id)
            self._settle()

    def _ttl(self, granted: float | None) -> float:
        return self._timing.ttl if granted is None else granted

    # What follows from a change of the machine

    def _apply(self, change: Callable[[float], Sequence[Notice]]) -> None:
        with self._lock:
            events = self._publish(change(self._clock.now()))
        self._log(events)

    def _publish(self, notices: Sequence[Notice]) -> list[Event]:
        """Make known what happened; the caller logs the events when it has let the lock go."""
        events: list[Event] = []
        for notice in notices:
            match notice:
                case Elected(token=token):
                    self.has_led = True
                    self._useless.reset()
                    source, valid_until = self._machine.source, self._machine.valid_until
                    events.append(self.terms.begin(token, source, valid_until))
                case Lost(reason=reason):
                    events.append(self.terms.end(reason))
                case Displaced(reason=reason):
                    events.append(self.outages.displace(reason))
                case Regressed():
                    events.append(self._give_up(notice))
                case Orphaned():
                    pass  # released by who got the answer
        for event in events:
            self.callbacks.emit(event)
        self._settle()
        return events

    def _give_up(self, notice: Regressed) -> Event:
        self.error = TokenRegression(f"election {self.election!r}: {notice}")
        return TokenRegressed(self.election, self.candidate_id, error=self.error)

    def _callback_done(self) -> None:
        with self._lock:
            self.terms.callback_done()
            self._settle()

    def _settle(self) -> None:
        """Bring all that depends on the machine's state up to date. The lock is held."""
        self.terms.extend(self._machine.valid_until)
        if self.terms.take_drained():
            self._machine.drained(self._machine.attempt_id, self._clock.now())
        settled = (self._machine.state, self._machine.attempt_id)
        if settled != self._settled:
            self._settled = settled
            self._follow(*settled)
        self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        self._listeners.tell()

    def _follow(self, state: State, attempt_id: str) -> None:
        if state is State.CAMPAIGNING:
            wake = partial(self._wake, attempt_id)
            self._is_queued = False  # before there is the attempt: `lease` takes no lock
            self._attempt = Attempt(self.election, attempt_id, self._payload, wake)
            self.outages.expect(self._clock.now(), self._hold_off)
            self._schedule(self._hold_off)
            self._hold_off = 0.0
        if (runtime := self._runtime) is None:
            return
        if state is State.RELEASING:  # a store that is silent to heartbeats is not asked at once
            pause = self._backoff.pause() if "renew" in self.outages.failing else 0.0
            self._schedule(runtime.held_back(self, self._requests, pause) if pause else 0.0)
        if state is State.IDLE:
            self.outages.forget()  # of a store that is not asked any more
            runtime.leave(self)
        else:
            runtime.poke(self, min(self._machine.deadline, self.terms.beat_due()))

    def _log(self, events: Sequence[Event]) -> None:
        write = log.log if self._runtime is None else self._runtime.log
        for event in events:
            write(event.log_level, "%s", event)

    # Waiting

    def _wait_term(self, timeout: float | None, owner: object) -> LeadershipT | None:
        if self.terms.is_draining and self.terms.waits_for(owner):
            raise LeaderLockError(
                f"work or a callback under a term of election {self.election!r} that is over "
                "waits for the next one, which cannot begin before it has ended: return first"
            )

        def is_decided() -> bool:
            return self._is_leading() or self.error is not None or not self.contends

        wait_in_steps(partial(self._changed.wait_for, is_decided), timeout)
        if self._is_leading():
            return self.terms.leadership
        if self.error is not None:
            raise self.error.with_traceback(None)  # not of those who were told before
        return None

    def _is_leading(self) -> bool:
        leadership = self.terms.leadership
        return leadership is not None and leadership.is_valid

    def _wait_unless_own(self, condition: Callable[[], bool], timeout: float) -> bool:
        own = self.terms.waits_for_caller()
        return condition() if own else self._changed.wait_for(condition, timeout)
