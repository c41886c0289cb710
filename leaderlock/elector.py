"""LeaderElector: what most programs need of leaderlock."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from os import getpid
from typing import Any, Self

from leaderlock.backends.base import Backend
from leaderlock.callbacks import OnElected, OnEvent, OnLeaderChange, OnLost, require_callable
from leaderlock.candidate import Candidate
from leaderlock.client import Client
from leaderlock.config import (
    Config,
    for_election,
    read_mapping,
    resolve,
    resolve_for_backend,
    with_store,
)
from leaderlock.decorators import LeaderOnly
from leaderlock.errors import (
    CampaignTimeout,
    LeaderLockError,
    LeadershipLost,
    TokenRegression,
)
from leaderlock.feed import LeaderFeed
from leaderlock.interrupt import Begun, apart_if_interrupting
from leaderlock.leadership import Leadership
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo, decode_reading
from leaderlock.runtime import Runtime
from leaderlock.telemetry.health import Health, examine
from leaderlock.terms import Hold
from leaderlock.timing import Timing, bounded_time, wait_time

_CALLBACKS = ("on_elected", "on_lost", "on_leader_change")


class LeaderElector:
    """One candidate of one election.

    At any instant at most one elector of an election answers True to `is_leader`, as long as
    clocks do not differ in RATE by more than the margin (see docs/guarantees.md). That says
    nothing about what a program does after asking: a resource that must never be written by a
    deposed leader has to check `leadership.token`.

    Args:
        store: a store URL, a `Client`, or a ready backend. A client or backend given is shared,
            and not closed by the elector. Without it, the URL comes from the settings or the
            environment, or the store from a client of yours: redis_client=, etcd_client=,
            consul_client= or kazoo_client=.
        election: the name contended for: any text of 1 to 255 characters.
        candidate_id: tells people who leads. Default: host, process and a random part. Need not
            be unique for safety.
        metadata: shown to everybody who asks who leads: JSON values, at most 4 KiB.
        on_elected, on_lost, on_leader_change: callbacks, as in the methods of these names.
        settings: ttl, heartbeat, request_timeout, stop_grace, drain_timeout (seconds), namespace,
            epoch, and the options of the store. They go before those of the URL and environment.

    Raises:
        ConfigurationError: a value that cannot be used. Nothing is connected yet.
    """

    def __init__(
        self,
        store: str | Client | Backend | None = None,
        election: str | None = None,
        *,
        candidate_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_elected: OnElected | None = None,
        on_lost: OnLost | None = None,
        on_leader_change: OnLeaderChange | None = None,
        **settings: Any,
    ) -> None:
        identity = {"election": election, "candidate_id": candidate_id, "metadata": metadata}
        if isinstance(store, Client):
            config = for_election(store.config, **identity, **settings)
            client = store
        elif isinstance(store, Backend):
            config = for_election(resolve_for_backend(store, settings), **identity)
            client = Client(config, store)
        else:
            config = resolve({**identity, **with_store(store, settings)})
            client = Client(config)
        callbacks = (on_elected, on_lost, on_leader_change)
        self._set_up(client, config, callbacks, owns_client=client is not store)

    @classmethod
    def from_config(
        cls, source: Mapping[str, Any] | str | os.PathLike[str], **keywords: Any
    ) -> Self:
        """An elector from a mapping, or from the table [leaderlock] of a TOML file.

        In a pyproject.toml the table is [tool.leaderlock]. The keys are those of the constructor,
        and `url` for the store; keywords (callbacks too) go before them.

        Raises:
            ConfigurationError: the file cannot be read, a key is unknown, a value cannot be used.
        """
        return cls._resolved(keywords, read_mapping(source), strict=False)

    @classmethod
    def from_env(cls, **keywords: Any) -> Self:
        """An elector from LEADERLOCK_URL, LEADERLOCK_ELECTION, LEADERLOCK_TTL and so on.

        Raises:
            ConfigurationError: a variable LEADERLOCK_... is unknown, or a value cannot be used.
        """
        return cls._resolved(keywords, None, strict=True)

    @classmethod
    def _resolved(
        cls, keywords: dict[str, Any], mapping: Mapping[str, Any] | None, *, strict: bool
    ) -> Self:
        callbacks = [keywords.pop(name, None) for name in _CALLBACKS]
        config = resolve(keywords, mapping, strict_environment=strict)
        self = cls.__new__(cls)
        self._set_up(Client(config), config, callbacks, owns_client=True)
        return self

    def _set_up(
        self, client: Client, config: Config, callbacks: Sequence[Any], *, owns_client: bool
    ) -> None:
        self._client = client
        self._owns_client = owns_client
        self._candidate = Candidate(config, client.clock)
        self._terms = self._candidate.terms
        self._feed = LeaderFeed(
            client.runtime, config.election, self._candidate.callbacks.tell_leader_change
        )
        self._claim_lock = threading.Lock()
        for name, callback in zip(_CALLBACKS, callbacks, strict=True):
            if callback is not None:
                getattr(self, name)(callback)
        client.add(self)

    # What it is

    @property
    def election(self) -> str:
        """The name contended for."""
        return self._candidate.election

    @property
    def candidate_id(self) -> str:
        """The name of this candidate."""
        return self._candidate.candidate_id

    @property
    def timing(self) -> Timing:
        """Every duration in seconds, and `worst_case_failover`."""
        return self._client.timing

    @property
    def is_leader(self) -> bool:
        """Whether this candidate leads now. No I/O: process id, state and clock on every call."""
        leadership = self._terms.leadership
        # `leadership.is_valid`, spelt out: this is called before every write, and a call costs.
        return (
            leadership is not None
            and leadership._valid_until > leadership._now()
            and leadership._pid == getpid()
        )

    @property
    def leadership(self) -> Leadership | None:
        """The present term; None when not leading."""
        leadership = self._terms.leadership
        return leadership if leadership is not None and leadership.is_valid else None

    def health(self) -> Health:
        """Whether this candidate can do what it is there for; for a readiness or liveness probe."""
        return examine(self._candidate)

    def __repr__(self) -> str:
        return (
            f"<LeaderElector {self.candidate_id!r} for {self.election!r} at "
            f"{self._client.config.url}: {self._candidate.state.value}>"
        )

    # Contending in the background

    def start(self) -> None:
        """Contend from now on, and again after every loss, until `stop()`. Does not wait.

        A store that cannot be reached is retried for ever. Starting twice is harmless.
        """
        self._client.start(self)
        self._follow_leader()

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

        On an elector that is not a candidate: wait until anybody leads.

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
        attempt_id = self._candidate.step_down(LossReason.RESIGNED)
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
    def _claim(self, caller: str) -> Iterator[None]:
        lock = self._claim_lock  # a forked child has another one, but leaves this block with ours
        if not lock.acquire(blocking=False):
            raise LeaderLockError(
                f"{caller} of {self!r} while another lead() or run() of it is under way: "
                "use an elector of its own for each"
            )
        try:
            yield
        finally:
            lock.release()

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

    def _wait_to_lead(self, timeout: float | None) -> Hold:
        hold = self._candidate.hold_term(timeout)
        if hold is not None:
            return hold
        if not self._candidate.contends:
            raise LeaderLockError(f"stopped while waiting to lead election {self.election!r}")
        failure = self._candidate.failing.get("campaign")
        raise CampaignTimeout(
            f"{self.candidate_id!r} was not elected in {self.election!r} within {timeout} s"
            + (f"; the store fails: {failure}" if failure else "")
        ) from failure

    def _hand_over(self, hold: Hold, reason: LossReason) -> str:
        attempt_id = self._candidate.step_down(reason, hold.leadership)
        self._candidate.let_go(hold)
        return attempt_id

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

    def _follow_leader(self) -> None:
        if self._candidate.contends and self._candidate.callbacks.follow_leader:
            self._feed.follow()

    # Callbacks

    def on_elected(self, callback: OnElected) -> OnElected:
        """Call `callback(leadership)` after each election. Also a decorator.

        Callbacks run one at a time in the order of what happened, never on a thread that renews.
        They should be short: long work belongs into `run`. What they raise is logged and told as
        an event, and stops nothing.
        """
        self._candidate.callbacks.add_elected(callback)
        return callback

    def on_lost(self, callback: OnLost) -> OnLost:
        """Call `callback(leadership, reason)` after each loss: exactly once per election.

        At the latest when the belief window has passed, even if the store never answers. The
        term is released after it has returned. Also a decorator; see `on_elected`.
        """
        self._candidate.callbacks.add_lost(callback)
        return callback

    def on_leader_change(self, callback: OnLeaderChange) -> OnLeaderChange:
        """Call `callback(info)` with the present leader and at every change, in followers too.

        `info` is None while nobody leads. Only while the elector is started. Also a decorator;
        see `on_elected`.
        """
        self._candidate.callbacks.add_leader_change(callback)
        self._follow_leader()
        return callback

    def subscribe(self, listener: OnEvent) -> OnEvent:
        """Call `listener(event)` for every event of `leaderlock.telemetry`. Also a decorator."""
        self._candidate.callbacks.add_listener(listener)
        self._follow_leader()
        return listener

    @property
    def leader_only(self) -> LeaderOnly:
        """Decorator: run a function only while this candidate leads. See `LeaderOnly`."""
        return LeaderOnly(lambda: self)

    # For the client

    def _begin_stop(self, of: Runtime) -> None:
        self._feed.end()
        self._candidate.begin_stop(of)

    def _after_fork(self) -> None:
        self._claim_lock = threading.Lock()
        self._feed.after_fork()
        self._candidate.after_fork()
