"""What the electors of both APIs, threads and asyncio, have in common: all that does not wait."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import getpid
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar

from leaderlock.backends.base import Backend
from leaderlock.callbacks import Callbacks
from leaderlock.candidate import Candidate
from leaderlock.client import Client, ClientFront
from leaderlock.config import (
    Config,
    for_election,
    read_mapping,
    resolve,
    resolve_for_backend,
    with_store,
)
from leaderlock.decorators import LeaderOnly, Source
from leaderlock.errors import CampaignTimeout, LeaderLockError
from leaderlock.feed import LeaderFeed
from leaderlock.leadership import LeadershipT
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo
from leaderlock.runtime import Runtime
from leaderlock.telemetry.events import ElectionEvent, Event
from leaderlock.telemetry.health import Health, examine
from leaderlock.terms import Hold
from leaderlock.timing import Timing

_CALLABLES = ("on_elected", "on_lost", "on_leader_change", "healthy")

T = TypeVar("T")


class AnyElector(ABC, Generic[LeadershipT]):
    """What electors are made from, and all of them that does not wait.

    Args:
        store: a store URL, a `Client`, or a ready backend. A client or backend given is shared,
            and not closed by the elector. Without it, the URL comes from the settings or the
            environment, or the store from a client of yours: redis_client=, etcd_client=,
            consul_client= or kazoo_client=.
        election: the name contended for: any text of 1 to 255 characters.
        candidate_id: tells people who leads. Default: host, process and a random part. Need not
            be unique for safety.
        metadata: shown to everybody who asks who leads: JSON values, at most 4 KiB.
        on_elected: a callback, as in the method of this name.
        on_lost: likewise.
        on_leader_change: likewise.
        healthy: asked with every heartbeat of a leader. When it returns False or raises, or has
            not returned True for `beat_timeout` seconds, the term is resigned (WORK_FAILED), so
            that a process that can renew but not work does not lead for ever.
        beat_timeout: how many seconds a leader may go without a sign of progress: a True from
            `healthy`, or a call of `leadership.beat()`. Default: no limit; with `healthy`, the ttl.
        settings: ttl, heartbeat, request_timeout, stop_grace, drain_timeout (seconds), namespace,
            epoch, and the options of the store. They go before those of the URL and environment.

    Raises:
        ConfigurationError: a value that cannot be used. Nothing is connected yet.
    """

    _is_of_a_loop: ClassVar[bool] = False

    def __init__(
        self,
        store: str | Client | ClientFront | Backend | None = None,
        election: str | None = None,
        *,
        candidate_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_elected: Callable[[LeadershipT], object] | None = None,
        on_lost: Callable[[LeadershipT, LossReason], object] | None = None,
        on_leader_change: Callable[[LeaderInfo | None], object] | None = None,
        healthy: Callable[[], object] | None = None,
        beat_timeout: float | None = None,
        **settings: Any,
    ) -> None:
        identity = {
            "election": election,
            "candidate_id": candidate_id,
            "metadata": metadata,
            "beat_timeout": beat_timeout,
        }
        if isinstance(store, ClientFront):
            store = store._client
        if isinstance(store, Client):
            config = for_election(store.config, **identity, **settings)
            client = store
        elif isinstance(store, Backend):
            config = for_election(resolve_for_backend(store, settings), **identity)
            client = Client(config, store)
        else:
            config = resolve({**identity, **with_store(store, settings)})
            client = Client(config)
        callables = (on_elected, on_lost, on_leader_change, healthy)
        self._set_up(client, config, callables, owns_client=client is not store)

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
        callables = [keywords.pop(name, None) for name in _CALLABLES]
        config = resolve(keywords, mapping, strict_environment=strict)
        self = cls.__new__(cls)
        self._set_up(Client(config), config, callables, owns_client=True)
        return self

    def _set_up(
        self, client: Client, config: Config, callables: Sequence[Any], *, owns_client: bool
    ) -> None:
        *callbacks, healthy = callables
        make_callbacks, leadership_class = self._front()
        told = make_callbacks(config.election, config.candidate_id)
        told.stream = client.stream
        self._client = client
        self._owns_client = owns_client
        self._candidate = Candidate(
            config,
            client.clock,
            told,
            leadership_class,
            healthy,
        )
        self._terms = self._candidate.terms
        self._feed = LeaderFeed(
            client.runtime, config.election, self._candidate.callbacks.tell_leader_change
        )
        self._claim_lock = threading.Lock()
        for name, callback in zip(_CALLABLES, callbacks, strict=False):
            if callback is not None:
                getattr(self, name)(callback)
        client.add(self)

    @staticmethod
    @abstractmethod
    def _front() -> tuple[Callable[[str, str], Callbacks[LeadershipT]], type[LeadershipT]]:
        """What is made of an election and a candidate id to tell the user, and his handle."""

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
    def leadership(self) -> LeadershipT | None:
        """The present term; None when not leading."""
        leadership = self._terms.leadership
        return leadership if leadership is not None and leadership.is_valid else None

    def health(self) -> Health:
        """Whether this candidate can do what it is there for; for a readiness or liveness probe."""
        return examine(self._candidate, self._client.clock.now())

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.candidate_id!r} for {self.election!r} at "
            f"{self._client.config.url}: {self._candidate.state.value}>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied: its session is of this process alone; hand on "
            "the URL, and make one there"
        )

    # Contending

    def start(self) -> None:
        """Contend from now on, and again after every loss, until `stop()`. Does not wait.

        A store that cannot be reached is retried for ever. Starting twice is harmless.
        """
        self._client.start(self)
        self._follow_leader()

    def _follow_leader(self) -> None:
        if self._candidate.contends and self._candidate.callbacks.follow_leader:
            self._feed.follow()

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

    def _not_elected(self, timeout: float | None) -> LeaderLockError:
        """What to raise when the wait for a term has ended without one."""
        if not self._candidate.contends:
            return LeaderLockError(f"stopped while waiting to lead election {self.election!r}")
        failure = self._candidate.outages.failing.get("campaign")
        error = CampaignTimeout(
            f"{self.candidate_id!r} was not elected in {self.election!r} within {timeout} s"
            + (f"; the store fails: {failure}" if failure else "")
        )
        error.__cause__ = failure
        return error

    def _hand_over(self, hold: Hold[LeadershipT], reason: LossReason) -> str:
        attempt_id = self._candidate.step_down(reason, hold.leadership)
        self._candidate.let_go(hold)
        return attempt_id

    # Callbacks

    def on_elected(self, callback: Callable[[LeadershipT], T]) -> Callable[[LeadershipT], T]:
        """Call `callback(leadership)` after each election. Also a decorator.

        Callbacks run one at a time in the order of what happened, never on a thread that renews.
        They should be short: long work belongs into `run`. What they raise is logged and told as
        an event, and stops nothing.
        """
        self._candidate.callbacks.add_elected(callback)
        return callback

    def on_lost(
        self, callback: Callable[[LeadershipT, LossReason], T]
    ) -> Callable[[LeadershipT, LossReason], T]:
        """Call `callback(leadership, reason)` after each loss: exactly once per election.

        At the latest when the belief window has passed, even if the store never answers; where
        thousands of terms end together, one after the other. The term is released after it has
        returned. Also a decorator; see `on_elected`.
        """
        self._candidate.callbacks.add_lost(callback)
        return callback

    def on_leader_change(
        self, callback: Callable[[LeaderInfo | None], T]
    ) -> Callable[[LeaderInfo | None], T]:
        """Call `callback(info)` with the present leader and at every change, in followers too.

        `info` is None while nobody leads. Only while the elector is started. Also a decorator;
        see `on_elected`.
        """
        self._candidate.callbacks.add_leader_change(callback)
        self._follow_leader()
        return callback

    def subscribe(
        self, listener: Callable[[ElectionEvent], T], *kinds: type[Event]
    ) -> Callable[[ElectionEvent], T]:
        """Call `listener(event)` for the events of this elector, as the callbacks are called.

        Also a decorator; see `on_elected`.

        Args:
            kinds: classes of `leaderlock.telemetry.events`. Default: every one but those that come
                with each heartbeat (`Renewed`, `RenewFailed`).

        Raises:
            ConfigurationError: it cannot be called with an event, or a kind is none.
        """
        self._candidate.callbacks.add_listener(listener, *kinds)
        self._follow_leader()
        return listener

    @property
    def leader_only(self) -> LeaderOnly:
        """Decorator: run a function only while this candidate leads. See `LeaderOnly`."""
        return LeaderOnly(Source(self))

    # For the client

    def _begin_stop(self, of: Runtime) -> None:
        self._feed.end()
        self._candidate.begin_stop(of)

    def _after_fork(self) -> None:
        self._claim_lock = threading.Lock()
        self._feed.after_fork()
        self._candidate.after_fork()
