"""flock:// keeps leaderlock's contract, and does what the conformance suite cannot know of."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from leaderlock_flock import FlockBackend
from leaderlock_flock.directory import Directory
from leaderlock_flock.term import file_name

from leaderlock import BackendRefused, ConfigurationError, LeaderElector
from leaderlock.backends.base import Attempt, Granted, Settings
from leaderlock.testing import BackendConformance, BackendHarness, FakeClock
from leaderlock.testing.harness import NAMESPACE


class FlockHarness(BackendHarness):
    """A real directory, and a clock that is moved, so that no lease has to be waited for."""

    frozen_requests = frozenset({"campaign", "renew", "release"})  # readers need no lock

    def __init__(self, scratch: Path) -> None:
        super().__init__()
        self.clock = self._clock = FakeClock()
        self._directory = scratch / "elections"
        self._directory.mkdir()
        self._elsewhere = scratch / "elsewhere"
        self._locked: int | None = None

    def make_backend(self, settings: Settings) -> FlockBackend:
        return FlockBackend(str(self._directory), settings)

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def freeze(self) -> None:
        self._locked = os.open(self._directory, os.O_RDONLY)
        fcntl.flock(self._locked, fcntl.LOCK_EX)

    def thaw(self) -> None:
        locked, self._locked = self._locked, None
        if locked is not None:
            os.close(locked)

    def break_store(self) -> None:
        self._directory.rename(self._elsewhere)

    def mend_store(self) -> None:
        if self._elsewhere.exists():
            self._elsewhere.rename(self._directory)

    def delete_leader(self, election: str) -> None:
        """The file has to stay: it remembers the last token."""
        file = self._directory / file_name(NAMESPACE, election)
        self.freeze()
        term = json.loads(file.read_text(encoding="utf-8"))
        edited = file.with_suffix(".edited")
        edited.write_text(json.dumps(term | {"attempt_id": ""}), encoding="utf-8")
        edited.replace(file)
        self.thaw()

    def written(self) -> object:
        return {file.name: file.read_bytes() for file in self._directory.iterdir()}


class TestFlock(BackendConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[BackendHarness]:
        with FlockHarness(tmp_path) as harness:
            yield harness


# What is special about this store.


def client(directory: Path, clock: FakeClock | None = None) -> FlockBackend:
    settings = Settings(ttl=30.0, request_timeout=2.0, clock=clock or FakeClock())
    return FlockBackend(str(directory), settings)


def campaign(directory: Path, attempt_id: str, clock: FakeClock | None = None) -> object:
    attempt = Attempt("billing", attempt_id, b"payload", wake=lambda: None)
    return client(directory, clock).campaign(attempt)


def test_its_url_is_all_that_an_elector_needs(tmp_path: Path) -> None:
    with LeaderElector(f"flock://{tmp_path}", "billing").lead(timeout=20.0) as leadership:
        leadership.check()
        assert leadership.token.value == 1
        assert leadership.token.source.startswith("flock:")


@pytest.mark.parametrize(
    "url", ["flock://", "flock:///", "flock://host/path", "flock://me@/path", "flock:///a%00b"]
)
def test_a_url_that_names_no_directory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="names no directory"):
        LeaderElector(url, "billing")


def test_a_directory_that_does_not_exist_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(BackendRefused, match="No such file or directory"):
        campaign(tmp_path / "typo", "a")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"token": "two"}', "\ufffd\0"])
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, damaged: str) -> None:
    """Taken for an election that nobody has led, it would issue old tokens again."""
    assert isinstance(campaign(tmp_path, "a"), Granted)
    (file,) = tmp_path.glob("*.json")
    file.write_text(damaged, encoding="utf-8")
    with pytest.raises(BackendRefused, match="is damaged"):
        campaign(tmp_path, "b")
    with pytest.raises(BackendRefused, match="is damaged"):
        client(tmp_path).leader("billing")
    assert file.read_text(encoding="utf-8") == damaged


def test_a_reboot_ends_every_lease_but_no_count(tmp_path: Path) -> None:
    before = campaign(tmp_path, "a", FakeClock(start=1000.0))
    after = campaign(tmp_path, "b", FakeClock(start=10.0))
    assert isinstance(before, Granted)
    assert after == Granted(token=before.token + 1, source=before.source)


def test_a_child_forked_during_a_request_does_not_keep_the_lock(tmp_path: Path) -> None:
    with Directory(str(tmp_path)).open(lock_within=2.0) as files:
        inherited = os.dup(files.descriptor)  # shares the lock, as a child's copy does
    try:
        assert isinstance(campaign(tmp_path, "a"), Granted)
    finally:
        os.close(inherited)


def test_a_directory_that_is_made_anew_is_another_source(tmp_path: Path) -> None:
    """Its tokens begin at 1 again, and must not pass for those of the old one."""
    directory = tmp_path / "elections"
    directory.mkdir()
    old = campaign(directory, "a")
    directory.rename(tmp_path / "old")
    directory.mkdir()
    new = campaign(directory, "b")
    assert isinstance(old, Granted) and isinstance(new, Granted)
    assert (old.token, new.token) == (1, 1)
    assert old.source != new.source
