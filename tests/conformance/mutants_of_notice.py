"""Stores that wake, show and close wrongly."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from leaderlock.backends.base import Attempt, Granted, Reading, Settings, Waiting
from leaderlock.backends.memory import MemoryBackend
from tests.conformance.mutants import behind_a_network, mutant


@behind_a_network(
    "test_waiter_is_woken_by_a_release",
    "test_every_waiter_has_its_turn",
    "test_those_behind_a_released_waiter_move_up",
    "test_waiter_and_observer_are_woken_after_an_outage",
)
class NeverWakes(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        return super().campaign(replace(attempt, wake=lambda: None))


@mutant("test_waiter_is_woken_by_a_release_that_overtook_its_answer")
class WatchesTooLate(MemoryBackend):
    """Looks first, watches then, and does not look again."""

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        with self._store.lock:
            election = self._election(attempt.election)
            free = election.is_free(self._now())
        if free or attempt.attempt_id in election.waiting:
            return super().campaign(attempt)
        threading.Event().wait(0.02)
        election.waiting[attempt.attempt_id] = attempt
        return Waiting()


@mutant("test_every_waiter_has_its_turn")
class WakesOneWaiterOnce(MemoryBackend):
    """The first in the queue, and who comes after it never again."""

    def release(self, attempt: Attempt) -> None:
        election = self._election(attempt.election)
        for waiting in list(election.waiting)[1:]:
            del election.waiting[waiting]
        super().release(attempt)

    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        asked: set[str] = vars(self).setdefault("asked", set())
        answer = super().campaign(attempt)
        if attempt.attempt_id in asked:
            self._election(attempt.election).waiting.pop(attempt.attempt_id, None)
        asked.add(attempt.attempt_id)
        return answer


@mutant("test_loser_is_told_to_wait_and_sees_the_leader")
class AsksForABusyLoop(MemoryBackend):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        answer = super().campaign(attempt)
        return Waiting(retry_after=0.0) if isinstance(answer, Waiting) else answer


@mutant("test_nobody_leads_an_election_that_nobody_has_heard_of")
class ShowsTheLastLeaderOfAll(MemoryBackend):
    def leader(self, election: str) -> Reading:
        reading = super().leader(election)
        return reading if reading.payload is not None else Reading(payload=b"", token=1)


@mutant("test_nobody_leads_after_an_expiry", "test_observer_sees_every_change")
class ShowsTheDead(MemoryBackend):
    def leader(self, election: str) -> Reading:
        holder = self._election(election).holder
        reading = super().leader(election)
        return reading if holder is None else replace(reading, payload=holder.payload)


@mutant("test_anybody_sees_the_leader_with_its_token")
class ShowsAnotherToken(MemoryBackend):
    def leader(self, election: str) -> Reading:
        reading = super().leader(election)
        return replace(reading, token=reading.token + 1)


@mutant("test_waiting_is_not_leading", "test_loser_is_told_to_wait_and_sees_the_leader")
class ShowsTheWaiting(MemoryBackend):
    def leader(self, election: str) -> Reading:
        reading = super().leader(election)
        for waiting in self._election(election).waiting.values():
            return replace(reading, payload=waiting.payload)
        return reading


@mutant("test_payload_is_shown_as_it_was_given")
class TakesPayloadForText(MemoryBackend):
    def leader(self, election: str) -> Reading:
        reading = super().leader(election)
        text = reading.payload and reading.payload.decode(errors="replace").encode()
        return replace(reading, payload=text)


@mutant("test_payload_is_shown_as_it_was_given")
class TakesEmptyForNobody(MemoryBackend):
    def leader(self, election: str) -> Reading:
        reading = super().leader(election)
        return replace(reading, payload=reading.payload or None)


@mutant("test_observer_sees_every_change")
class SilentOnExpiry(MemoryBackend):
    def leader(self, election: str) -> Reading:
        return replace(super().leader(election), recheck_after=None)


@mutant("test_observer_sees_every_change", "test_observer_sees_a_change_under_the_same_leader")
class WatchesOnce(MemoryBackend):
    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        def wake_once() -> None:
            stop()
            wake()

        stop = super().watch(election, wake_once)
        return stop


@mutant("test_observer_sees_every_change", "test_followers_are_told_of_every_leader")
class ReadsAStaleCopy(MemoryBackend):
    def leader(self, election: str) -> Reading:
        copies: dict[str, Reading] = vars(self).setdefault("copies", {})
        reading = super().leader(election)
        return reading if reading.payload is None else copies.setdefault(election, reading)


@mutant("test_unwatch_stops_one_observer_only")
class CannotUnwatch(MemoryBackend):
    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        super().watch(election, wake)
        return lambda: None


@mutant("test_unwatch_stops_one_observer_only")
class UnwatchesAll(MemoryBackend):
    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        super().watch(election, wake)
        return self._election(election).watchers.clear


@mutant("test_observing_writes_nothing", "test_reading_does_not_keep_a_term_alive")
class WritesToRead(MemoryBackend):
    def leader(self, election: str) -> Reading:
        state = self._election(election)
        state.expires_at = self._now() + self.settings.ttl
        return super().leader(election)


# Hygiene


@mutant("test_backend_says_what_it_is")
class ForgetsItsSettings(MemoryBackend):
    def __init__(self, settings: Settings, name: str = "") -> None:
        super().__init__(replace(settings, ttl=10.0), name)


@mutant("test_no_thread_and_no_file_is_left_after_close")
class LeavesThreads(MemoryBackend):
    def watch(self, election: str, wake: Callable[[], None]) -> Callable[[], None]:
        threading.Thread(target=threading.Event().wait, args=(4.0,), daemon=True).start()
        return super().watch(election, wake)


@mutant("test_no_thread_and_no_file_is_left_after_close")
class LeavesFiles(MemoryBackend):
    def __init__(self, settings: Settings, name: str = "") -> None:
        super().__init__(settings, name)
        self._files = os.pipe()

    def __del__(self) -> None:
        for file in self._files:
            os.close(file)


class _Closes(MemoryBackend):
    closed = False

    def close(self) -> None:
        self.closed = True


@mutant("test_close_is_idempotent")
class ClosesOnce(_Closes):
    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed twice")
        super().close()


@mutant("test_nothing_foreign_leaves_a_closed_backend", "test_closing_during_requests_is_harmless")
class ForeignErrorWhenClosed(_Closes):
    def _election(self, name: str) -> Any:
        threading.Event().wait(0.005)
        if self.closed:
            raise OSError("bad file descriptor")
        return super()._election(name)


@mutant("test_wakes_after_close_are_harmless")
class DiesOnAWakeAfterClose(_Closes):
    def campaign(self, attempt: Attempt) -> Granted | Waiting:
        return super().campaign(replace(attempt, wake=lambda: self._wake(attempt)))

    def _wake(self, attempt: Attempt) -> None:
        thread = threading.Thread(target=self._wake_unless_closed, args=(attempt,))
        thread.start()
        thread.join()

    def _wake_unless_closed(self, attempt: Attempt) -> None:
        if self.closed:
            raise RuntimeError("the loop is closed")
        attempt.wake()


@mutant("test_one_client_serves_many_threads")
class OneAnswerForAllThreads(MemoryBackend):
    """What one thread has asked another one is told."""

    answer = Reading()

    def leader(self, election: str) -> Reading:
        self.answer = super().leader(election)
        threading.Event().wait(0.005)
        return self.answer


@mutant("test_forked_child_leaves_the_parent_alone")
class CannotBeAbandoned(MemoryBackend):
    def abandon(self) -> None:
        threading.Event().wait()
