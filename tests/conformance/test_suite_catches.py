"""The suite is worth something only if broken backends fail it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from leaderlock.errors import BackendUnavailable
from leaderlock.testing import BackendConformance, FaultyBackend
from leaderlock.testing.conformance.silence import NoAnswerCases
from tests.conformance import (
    mutants_of_election,
    mutants_of_lease,
    mutants_of_notice,
    mutants_of_silence,
)
from tests.conformance.harnesses import FaultyHarness, MemoryHarness
from tests.conformance.mutants import MUTANTS, Mutant, all_cases, complaint

T = TypeVar("T")

_SOURCES = (mutants_of_election, mutants_of_lease, mutants_of_notice, mutants_of_silence)

# What they claim no backend can break alone: the core, or nothing but time, stands for it.
_CASES_OF_THE_CORE = {
    "test_backend_that_hangs_for_ever_delays_neither_loss_nor_stop",
    "test_loss_is_told_by_the_deadline_when_the_store_is_frozen",
}


@pytest.mark.parametrize(
    ("mutant", "case"),
    [
        pytest.param(mutant, case, id=f"{mutant.name}-{case}")
        for mutant in MUTANTS
        for case in mutant.cases
    ],
)
def test_broken_backend_fails(mutant: Mutant, case: str) -> None:
    said = complaint(case, mutant.make_harness())
    assert said is not None, f"{case} passes over {mutant.name}"
    assert said, f"{case} fails over {mutant.name}, but does not say why"


_SOUND = {
    f"{mutant.sound.__name__}-{case}": (mutant.sound, case)
    for mutant in MUTANTS
    for case in mutant.cases
}


@pytest.mark.parametrize(("sound", "case"), _SOUND.values(), ids=_SOUND)
def test_sound_backend_passes_in_the_same_way(sound: type[MemoryHarness], case: str) -> None:
    assert complaint(case, sound()) is None


class _BusyOnce(FaultyBackend):
    """The machine is busy when a client first asks: a short timeout is over before the answer."""

    begun = False

    def _call(self, method: str, request: Callable[[], T]) -> T:
        if not self.begun and self.settings.request_timeout < FaultyHarness.request_timeout:
            self.begun = True
            request()
            raise BackendUnavailable("no answer in time")
        return super()._call(method, request)


@pytest.mark.parametrize("case", [name for name in all_cases() if hasattr(NoAnswerCases, name)])
def test_a_healthy_store_may_miss_a_timeout_that_is_for_silence(case: str) -> None:
    assert complaint(case, FaultyHarness(wrapper=_BusyOnce)) is None


def test_every_case_is_failed_by_a_broken_backend() -> None:
    caught = {case for mutant in MUTANTS for case in mutant.cases}
    assert caught | _CASES_OF_THE_CORE == set(all_cases())
    assert not caught & _CASES_OF_THE_CORE


def test_no_case_can_be_skipped() -> None:
    for case in all_cases():
        assert not getattr(getattr(BackendConformance, case), "pytestmark", None), case
