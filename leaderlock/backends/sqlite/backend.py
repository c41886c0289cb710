"""Elections between the processes of one machine, in an SQLite file.

    sqlite:///var/lib/app/election.db       absolute
    sqlite://./election.db                  relative to the working directory

A lease counts on the machine's own clock (`leaderlock.clock`) and is void after a reboot; a leader
whose process has died is succeeded at once, one that is paused when its lease has run out. Tokens
rise by one with every term, for as long as the file exists.

What it does not promise:

* Anything between machines. A file on NFS, SMB or the like elects one leader for each machine.
* Anything between containers whose time namespaces differ. Other namespaces do no harm: of a
  leader in another container only the lease is believed.
* An answer within request_timeout from a disk that hangs. The core ends the term in time
  regardless.
* To survive the deletion of the file: that ends every term in it. The new file is another source
  of tokens, and a candidate that knew the old one stops, and asks for a higher epoch.
"""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

from leaderlock.backends.base import (
    Attempt,
    Backend,
    Granted,
    Reading,
    Renewal,
    Renewed,
    Settings,
    Waiting,
)
from leaderlock.backends.sqlite.link import Link, NoStore, Use
from leaderlock.backends.sqlite.processes import Process
from leaderlock.backends.sqlite.store import Store
from leaderlock.backends.sqlite.watcher import THOROUGH, Watcher
from leaderlock.capabilities import Capabilities
from leaderlock.errors import ConfigurationError
from leaderlock.url import Option, StoreURL, seconds

DEFAULT_POLL = 0.01
_SHORTEST_POLL = 0.001
_LONGEST_POLL = 1.0
_EXAMPLES = "sqlite:///var/lib/app/election.db (absolute) or sqlite://./election.db (relative)"


def _poll(value: object) -> float:
    allowed = f"{_SHORTEST_POLL:g} to {_LONGEST_POLL:g} seconds"
    try:
        number = seconds(value)
    except ValueError:
        raise ValueError(allowed) from None
    if not _SHORTEST_POLL <= number <= _LONGEST_POLL:
        raise ValueError(allowed)
    return number


class SQLiteBackend(Backend):
    """The elections in one file."""

    schemes = ("sqlite",)
    options: ClassVar[Mapping[str, Option]] = {
        "poll": Option(_poll, f"seconds between looks for a free term; default {DEFAULT_POLL:g}")
    }

    def __init__(self, path: Path, settings: Settings, poll: float = DEFAULT_POLL) -> None:
        super().__init__(settings)
        self._capabilities = _capabilities(poll)
        self.path = path = path.absolute()
        # Renewals wait neither for campaigns nor for readings.
        self._grants = Link(path, Use.GRANT)
        self._renewals = Link(path, Use.RENEW)
        self._readings = Link(path, Use.READ)
        self._watching = Link(path, Use.READ)
        self._watcher = Watcher(self._watching, settings, poll)

    @classmethod
    def settle(cls, url: StoreURL) -> StoreURL:
        # Absolute at once: after a chdir the same URL would be another file, with another leader.
        path = _path_of(url).absolute()
        try:
            # Not is_dir(), which since Python 3.14 says no where it cannot know.
            is_directory = stat.S_ISDIR(path.stat().st_mode)
        except ValueError:  # a zero byte in it
            is_directory = False
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ConfigurationError(f"{url} names no file: {error.strerror}") from error
            is_directory = False  # whatever it is, the first request will tell
        if is_directory:
            raise ConfigurationError(f"{url}: {path} is a directory: name a file in it")
        return replace(url, authority="", path=str(path))

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        _path_of(url)
        return _capabilities(url.options.get("poll", DEFAULT_POLL))

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(_path_of(url), settings, url.options.get("poll", DEFAULT_POLL))

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        self._watcher.expect(attempt)  # first, so that no change after the reading is missed
        with self._grants.lend_for_writing(self._timeout) as store:
            answer = self._contend(store, attempt)
        if isinstance(answer, Granted):
            self._watcher.forget(attempt)
        return answer

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        try:
            with self._renewals.lend_for_writing(self._timeout) as store, store.transaction():
                return Renewed(outcomes={a.attempt_id: self._renew(store, a) for a in attempts})
        except NoStore:
            return Renewed(outcomes={a.attempt_id: Renewal.TAKEN for a in attempts})

    def release(self, attempt: Attempt) -> None:
        self._watcher.forget(attempt)
        try:
            with self._renewals.lend_for_writing(self._timeout) as store:
                term = store.term(self.settings.namespace, attempt.election)
                # An attempt that only waited has left nothing behind.
                if term is not None and term.attempt_id == attempt.attempt_id:
                    with store.transaction():
                        store.clear(self.settings.namespace, attempt)
        except NoStore:
            pass

    def leader(self, election: str) -> Reading:
        try:
            with self._readings.lend(self._timeout) as store:
                term, source = store.term(self.settings.namespace, election), store.source
        except NoStore:
            return Reading()
        now, here = self.settings.clock.now(), Process.current()
        if term is None or not term.keeps_out(now, here):
            return Reading(token=0 if term is None else term.token, source=source)
        return Reading(
            payload=term.payload,
            token=term.token,
            source=source,
            recheck_after=term.remaining(now, here),
        )

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        return self._watcher.watch(election, wake)

    def close(self) -> None:
        deadline = time.monotonic() + self._timeout
        self._watcher.close(self._timeout)
        for link in self._links:
            link.close(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        for link in self._links:
            link.abandon()
        self._watcher.abandon()

    @property
    def _links(self) -> tuple[Link, ...]:
        return self._grants, self._renewals, self._readings, self._watching

    @property
    def _timeout(self) -> float:
        return self.settings.request_timeout

    def _ask_to_wait(self, store: Store, attempt: Attempt) -> Waiting | None:
        """The answer while somebody else leads."""
        term = store.term(self.settings.namespace, attempt.election)
        now, here = self.settings.clock.now(), Process.current()
        if term is None or term.attempt_id == attempt.attempt_id or not term.keeps_out(now, here):
            return None
        return Waiting(retry_after=term.remaining(now, here))

    def _contend(self, store: Store, attempt: Attempt) -> Granted | Waiting:
        # Most of those who ask have to wait: they shall not queue for the write lock, and leave
        # the queue when another one has won.
        while not (waiting := self._ask_to_wait(store, attempt)):
            if store.begin():
                with store.begun_transaction():
                    # Look again: now nobody can come in between.
                    return self._ask_to_wait(store, attempt) or self._grant(store, attempt)
        return waiting

    def _grant(self, store: Store, attempt: Attempt) -> Granted:
        namespace, ttl = self.settings.namespace, self.settings.ttl
        term = store.term(namespace, attempt.election)
        now, here = self.settings.clock.now(), Process.current()
        token = 1 if term is None else term.token + 1
        if term and term.attempt_id == attempt.attempt_id and term.remaining(now, here) > 0:
            token = term.token  # asked again after a lost reply
            store.extend(namespace, attempt.election, now, ttl)
        else:
            store.grant(namespace, attempt, token, now, ttl, here)
        return Granted(token=token, source=store.source)

    def _renew(self, store: Store, attempt: Attempt) -> Renewal:
        """A lease that has run out is over for its holder too, even if nobody has taken it yet.

        Observers have been told that nobody leads, and the core has ended its belief long before;
        so a term that was seen to be over never comes back.
        """
        term = store.term(self.settings.namespace, attempt.election)
        now = self.settings.clock.now()
        if term is None or term.attempt_id != attempt.attempt_id:
            return Renewal.TAKEN
        if term.remaining(now, Process.current()) <= 0:
            return Renewal.TAKEN
        store.extend(self.settings.namespace, attempt.election, now, self.settings.ttl)
        return Renewal.RENEWED


def _capabilities(poll: float) -> Capabilities:
    return Capabilities(
        linearizable=True,
        event_driven=False,
        min_ttl=0.2,
        max_ttl=86_400.0,
        # The second term is for a commit that left no trace, and for a busy machine.
        notice=poll + THOROUGH,
    )


def _path_of(url: StoreURL) -> Path:
    """The file that a URL names, relative ones as they are.

    Raises:
        ConfigurationError: it names none.
    """
    if url.username or url.password:
        raise ConfigurationError(f"{url}: a file takes no user name or password; write {_EXAMPLES}")
    if url.authority not in ("", ".", ".."):
        raise ConfigurationError(
            f"{url} has {url.authority!r} where a host stands: write {_EXAMPLES}"
        )
    text = url.authority + url.path if url.authority else "/" + url.path.lstrip("/")
    name = text.rpartition("/")[2]
    if not url.path.strip("/") or not name or name in (".", "..", ":memory:") or "\0" in text:
        raise ConfigurationError(f"{url} names no file: write {_EXAMPLES}")
    return Path(text)
