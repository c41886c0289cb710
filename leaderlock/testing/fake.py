"""FakeElection: an election that goes as a test says, for tests of what a program does with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

from leaderlock.any_elector import AnyElector
from leaderlock.backends.base import Renewal, Settings
from leaderlock.elector import LeaderElector
from leaderlock.errors import ConfigurationError, LeaderLockError
from leaderlock.leadership import AnyLeadership, Leadership
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo, decode_reading, encode_payload
from leaderlock.telemetry.events import (
    CallbackFailed,
    Event,
    LeaderChanged,
    TermEnded,
    TermStarted,
)
from leaderlock.testing.clock import FakeClock
from leaderlock.testing.stage import Stage
from leaderlock.timing import DEFAULT_TTL
from leaderlock.tokens import FencingToken

_PATIENCE = 10.0
_TICK = 0.001
_REGISTERED = ("_elected", "_lost", "_leader_change", "_listeners")
_VERDICTS = {LossReason.TAKEN: Renewal.TAKEN, LossReason.SESSION_LOST: Renewal.SESSION_LOST}


class FakeElection:
    """One elector, and the hand of whoever decides who is elected, and when it is over.

        with FakeElection() as election:
            service = Service(election.elector)
            election.elect()
            assert service.is_running
            election.lose(LossReason.EXPIRED)
            assert not service.is_running

    The elector is a real one: callbacks, `leader_only`, `lead()`, `run()` and `leadership.check()`
    do what they do in production, on the same threads. Only the store is not there, and time
    stands still until it is advanced, so that no test waits for a ttl.

    When a method returns, the callbacks that follow from it have run. What one of them raised is
    raised by the method (in production it is logged). The methods are for the test's threads: not
    for callbacks, which would wait for themselves.

    An elector of `leaderlock.aio` is started by the program, on its loop. The test then says
    `async with FakeElection(elector) as election` and, because the methods wait,
    `await asyncio.to_thread(election.elect)`.

    Args:
        elector: one that the program under test already has, for example in a module. From entering
            to leaving the `with` block it is under the hand of the test, with copies of its
            callbacks, and talks to no store; `healthy` is not asked. Default: one of its own.
        ttl: of an elector of its own, in seconds.

    Attributes:
        elector: the elector.
        clock: the `FakeClock` that its terms are believed by.
    """

    def __init__(self, elector: AnyElector[Any] | None = None, *, ttl: float = DEFAULT_TTL) -> None:
        if not isinstance(elector, AnyElector | None):
            raise ConfigurationError(f"a FakeElection is of an elector, not of {elector!r}")
        self.clock = FakeClock()
        ttl = ttl if elector is None else elector.timing.ttl
        self._stage = Stage(Settings(ttl=ttl, request_timeout=ttl / 10, clock=self.clock))
        if elector is None:
            fake: AnyElector[Any] = LeaderElector(self._stage, "fake election", candidate_id="me")
        else:
            config = elector._candidate._config
            fake = type(elector)(
                self._stage,
                elector.election,
                candidate_id=elector.candidate_id,
                metadata=config.metadata,
                epoch=config.epoch,
                drain_timeout=elector.timing.drain_timeout,
            )
        self._fake = fake
        self.elector = cast("LeaderElector", fake if elector is None else elector)
        self._own: dict[str, Any] = {}  # of an elector that was given: what it is made of
        self._changed = threading.Condition()
        self._told: tuple[LeaderInfo | None] | None = None
        self._begun: FencingToken | None = None  # told of, as is the end
        self._ended: FencingToken | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        if self.elector is not self._fake:
            self._take_over()
        self.elector.subscribe(self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._require_outside()
        self.elector._client.close()
        if self._own:
            vars(self.elector).clear()
            vars(self.elector).update(self._own)
            self._own = {}

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.__exit__, *exc_info)

    def _take_over(self) -> None:
        if self.elector._candidate.contends:
            raise ConfigurationError(f"{self.elector!r} contends at its store: stop it first")
        for name in _REGISTERED:
            registered = getattr(self.elector._candidate.callbacks, name)
            getattr(self._fake._candidate.callbacks, name).extend(registered)
        self._own = dict(vars(self.elector))
        vars(self.elector).update(vars(self._fake))
        self._fake._client.add(self.elector)

    # The hand

    def elect(self) -> Leadership:
        """This candidate is elected. Starts it, if the program has not done so.

        Raises:
            LeaderLockError: it leads already, or work under its last term has not ended.
        """
        self._require_outside()
        elector = self.elector
        if elector.is_leader:
            raise LeaderLockError(f"{elector!r} leads already")
        if not elector._is_of_a_loop:
            elector.start()
        elif not elector._candidate.contends:
            raise LeaderLockError(f"{elector!r} is of leaderlock.aio: start it on its loop first")
        self._stage.choose()
        try:
            leadership = elector._candidate.wait_term(_PATIENCE)
        finally:
            self._stage.withdraw()  # if it has not been taken up
        if leadership is None:
            raise LeaderLockError(
                f"{elector!r} has not taken the term up within {_PATIENCE:g} s: work or a "
                "callback of its last term has not ended, or it was stopped"
            )
        self._wait_for(lambda: self._begun == leadership.token, "on_elected has returned")
        self._settle(None)
        return leadership

    def lose(self, reason: LossReason = LossReason.TAKEN) -> None:
        """The term of this candidate ends, for this reason. Then nobody leads.

        TAKEN and SESSION_LOST: the store says so, in the next heartbeat, which comes at once.
        EXPIRED: the belief window passes without a heartbeat. RESIGNED, STOPPED: as by `resign()`
        and `stop()` of the elector.

        Raises:
            ConfigurationError: WORK_FAILED and FORKED come of what the program does, not of this.
            LeaderLockError: it does not lead.
        """
        self._require_outside()
        leadership = self.elector.leadership
        if leadership is None:
            raise LeaderLockError(f"{self.elector!r} does not lead")
        match reason:
            case LossReason.TAKEN | LossReason.SESSION_LOST:
                self._stage.let_lead(None, _VERDICTS[reason])
                self._beat()
            case LossReason.EXPIRED:
                self.advance(leadership.remaining() + _TICK)
                self._stage.let_lead(None)  # the lease outlasts the belief
            case LossReason.RESIGNED:
                attempt = self.elector._candidate.step_down(reason)
                self.elector._candidate.wait_released(attempt, self.elector.timing.stop_timeout)
            case LossReason.STOPPED:
                self.elector._client.close()
            case _:
                raise ConfigurationError(
                    f"{reason} comes of what the program itself does: have its work raise, or fork"
                )
        self._settle(leadership)

    def expire(self) -> None:
        """The belief window passes without a heartbeat: `lose(LossReason.EXPIRED)`."""
        self.lose(LossReason.EXPIRED)

    def someone_else_leads(
        self, candidate_id: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Another candidate leads; this one, if it did, loses its term (TAKEN)."""
        self._require_outside()
        leadership = self.elector.leadership
        epoch = self._fake._candidate._config.epoch
        self._stage.let_lead(encode_payload(candidate_id, metadata or {}, epoch))
        self._beat()
        self._settle(leadership)

    def nobody_leads(self) -> None:
        """The term of whoever leads has ended; this candidate's for the reason TAKEN."""
        self._require_outside()
        leadership = self.elector.leadership
        self._stage.let_lead(None)
        self._beat()
        self._settle(leadership)

    def advance(self, seconds: float) -> None:
        """Let time pass without a heartbeat: `remaining()` shrinks, the term may expire."""
        self._require_outside()
        leadership = self.elector.leadership
        self.clock.advance(seconds)
        self.elector._candidate.tick()  # as the watchdog does
        self._settle(leadership)

    # How it is waited for

    def _beat(self) -> None:
        if self.elector.is_leader:
            self.elector._client.runtime()._beat()

    def _note(self, event: Event) -> None:
        """A listener; on the thread that runs the callbacks, behind those that the event is of."""
        if not isinstance(event, CallbackFailed):
            # What they raised is told next, and this behind it.
            self.elector._candidate.callbacks._queue("event", [self._pass], event)
        elif event.callback != "work":
            self._failure = self._failure or event.error

    def _pass(self, event: Event) -> None:
        with self._changed:
            match event:
                case LeaderChanged(leader=leader):
                    self._told = (leader,)
                case TermStarted(token=token):
                    self._begun = token
                case TermEnded(token=token):
                    self._ended = token
            self._changed.notify_all()

    def _settle(self, before: AnyLeadership | None) -> None:
        """Wait until all is told of the change since `before`; raise what the callbacks raised."""
        if before is not None and not before.is_valid:
            self._wait_for(lambda: self._ended == before.token, "on_lost has returned")
        if self.elector._candidate.contends:
            self._wait_for(self._knows_leader, "on_leader_change has returned")
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _knows_leader(self) -> bool:
        return self._told == (decode_reading(self._stage.leader(self.elector.election)),)

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, _PATIENCE):
                raise LeaderLockError(f"not within {_PATIENCE:g} s: {what}")

    def _require_outside(self) -> None:
        """Refuse whoever would wait for himself."""
        if self.elector._candidate.callbacks.is_caller:
            raise LeaderLockError("a FakeElection is steered from the test, not from a callback")
        if self.elector._is_of_a_loop and _is_in_a_loop():
            raise LeaderLockError(
                "the loop has to run while a FakeElection waits for what runs on it: "
                "await asyncio.to_thread(election.elect), and `async with FakeElection(...)`"
            )


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
