"""flock:///path/to/directory: elections between the processes of one machine, in JSON files.

The directory has to exist. Each election has a file in it, which is replaced as a whole by whoever
holds the directory's `flock`; readers need no lock. Leases count on the machine's own clock.

Not promised: anything between machines (keep the directory on a local disk) or between containers
whose time namespaces differ; an answer in time from a disk that hangs. After a reboot an old lease
may keep its election closed for one ttl more. Deleting the directory ends the terms in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

from leaderlock import Backend, BackendRefused, Capabilities, ConfigurationError
from leaderlock.backends.base import Attempt, Granted, Reading, Renewal, Renewed, Settings, Waiting
from leaderlock.url import StoreURL
from leaderlock_flock.directory import Directory, Files
from leaderlock_flock.term import MALFORMED, Term, file_name
from leaderlock_flock.watcher import POLL, Watch, Watcher

SOURCE = "source"  # the file that tells a directory from a later one at the same path

CAPABILITIES = Capabilities(
    linearizable=True,
    event_driven=False,
    min_ttl=0.2,
    max_ttl=86_400.0,
    notice=2 * POLL,  # a change just after a look, and the time that looking takes
)


class FlockBackend(Backend):
    """The elections in one directory."""

    schemes = ("flock",)

    def __init__(self, path: str, settings: Settings) -> None:
        super().__init__(settings)
        self._directory = Directory(path)
        self._watcher = Watcher(self._look)

    @classmethod
    def limits(cls, url: StoreURL) -> Capabilities:
        bare = not (url.authority or url.username or url.password)
        if not bare or not url.path.strip("/") or "\0" in url.path:
            raise ConfigurationError(f"{url} names no directory: write flock:///path/to/directory")
        return CAPABILITIES

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(url.path, settings)

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with self._directory.open(self.settings.request_timeout) as files:
            term, now = self._read(files, attempt.election), self.settings.clock.now()
            left = term.left(now)
            if left and term.attempt_id != attempt.attempt_id:
                # Watched from what was just read: no change since then can be missed.
                watch = Watch(attempt.election, attempt.wake, seen=term.leader)
                self._watcher.add(attempt.attempt_id, watch)
                return Waiting(retry_after=left)
            # Asked again after a lost reply, it is the same term with a new lease.
            token = term.token if left else term.token + 1
            source = self._source(files) or self._make_source(files)
            granted = Term(token, attempt.attempt_id, attempt.payload, now, self.settings.ttl)
            self._write(files, attempt.election, granted)
            files.sync()  # a token that somebody has seen must not be issued again
        self._watcher.remove(attempt.attempt_id)
        return Granted(token=token, source=source)

    def renew(self, attempts: Sequence[Attempt]) -> Renewed:
        with self._directory.open(self.settings.request_timeout) as files:
            return Renewed(outcomes={a.attempt_id: self._renew(files, a) for a in attempts})

    def release(self, attempt: Attempt) -> None:
        self._watcher.remove(attempt.attempt_id)
        with self._directory.open(self.settings.request_timeout) as files:
            term = self._read(files, attempt.election)
            if term.attempt_id == attempt.attempt_id:
                self._write(files, attempt.election, Term(term.token))

    def leader(self, election: str) -> Reading:
        with self._directory.open() as files:
            source, term = self._source(files), self._read(files, election)
        left = term.left(self.settings.clock.now())
        if not left:
            return Reading(token=term.token, source=source)
        return Reading(payload=term.payload, token=term.token, source=source, recheck_after=left)

    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        key = object()
        self._watcher.add(key, Watch(election, wake))
        return lambda: self._watcher.remove(key)

    def close(self) -> None:
        self._directory.closed.set()
        self._watcher.close(self.settings.request_timeout)

    def abandon(self) -> None:
        # New ones: the thread is not in this process, nor is whoever holds a lock of the old ones.
        self._directory = Directory(self._directory.path)
        self._watcher = Watcher(self._look)

    def _renew(self, files: Files, attempt: Attempt) -> Renewal:
        term, now = self._read(files, attempt.election), self.settings.clock.now()
        # A lease that ran out is over for its holder too: observers have been told so.
        if term.attempt_id != attempt.attempt_id or not term.left(now):
            return Renewal.TAKEN
        self._write(files, attempt.election, replace(term, renewed_at=now, ttl=self.settings.ttl))
        return Renewal.RENEWED

    def _look(self, election: str) -> tuple[int, str]:
        with self._directory.open() as files:
            return self._read(files, election).leader

    def _read(self, files: Files, election: str) -> Term:
        name = file_name(self.settings.namespace, election)
        text = files.read(name)
        try:
            return Term() if text is None else Term.parse(text)
        except MALFORMED as error:
            raise BackendRefused(
                f"{self._directory.path}/{name} is damaged and was left as it is: restore it, or "
                "move it away and raise 'epoch' for all candidates"
            ) from error

    def _write(self, files: Files, election: str, term: Term) -> None:
        namespace = self.settings.namespace
        text = term.dump(namespace=namespace, election=election)
        files.replace(file_name(namespace, election), text)

    def _source(self, files: Files) -> str:
        """Empty in a directory in which nobody has ever led."""
        return files.read(SOURCE) or ""

    def _make_source(self, files: Files) -> str:
        source = f"flock:{uuid.uuid4().hex}"
        files.replace(SOURCE, source)
        return source
