"""The one tree of errors."""

from __future__ import annotations

import inspect
import pickle

import pytest

import leaderlock
from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    CampaignTimeout,
    ConfigurationError,
    FencingToken,
    LeaderLockError,
    LeadershipLost,
    LossReason,
    MissingDependency,
    NotLeader,
    StaleToken,
    TokenRegression,
    UnknownBackend,
    errors,
)

PARENTS = {
    ConfigurationError: (LeaderLockError, ValueError),
    UnknownBackend: (ConfigurationError,),
    MissingDependency: (ConfigurationError,),
    BackendUnavailable: (LeaderLockError,),
    BackendRefused: (LeaderLockError,),
    NotLeader: (LeaderLockError,),
    LeadershipLost: (LeaderLockError,),
    CampaignTimeout: (LeaderLockError, TimeoutError),
    StaleToken: (LeaderLockError,),
    TokenRegression: (LeaderLockError,),
}

TOKEN = FencingToken(1, 42)
MADE = [
    LeadershipLost(LossReason.EXPIRED, TOKEN, "billing"),
    LeadershipLost(LossReason.TAKEN, TOKEN),
    StaleToken(TOKEN, FencingToken(1, 43)),
    *(error("words") for error in PARENTS if error not in (LeadershipLost, StaleToken)),
]


@pytest.mark.parametrize("error", PARENTS, ids=lambda error: error.__name__)
def test_each_error_has_its_place_in_the_tree(error: type[Exception]) -> None:
    assert error.__bases__ == PARENTS[error]
    assert getattr(leaderlock, error.__name__) is error


def test_the_tree_is_complete_and_drawn_in_the_docstring() -> None:
    defined = {
        e for e in vars(errors).values() if inspect.isclass(e) and e.__module__ == errors.__name__
    }
    assert defined == {LeaderLockError, *PARENTS}
    assert errors.__doc__ is not None
    for error in defined:
        assert f"{error.__name__} " in errors.__doc__ or f"{error.__name__}\n" in errors.__doc__


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_errors_travel_between_processes(error: Exception) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


def test_a_lost_leadership_says_why_and_which() -> None:
    error = LeadershipLost(LossReason.EXPIRED, TOKEN, "billing")
    assert (error.reason, error.token, error.election) == (LossReason.EXPIRED, TOKEN, "billing")
    assert str(error) == f"leadership of election 'billing' lost (expired), token {TOKEN}"
    assert str(LeadershipLost(LossReason.TAKEN, TOKEN)) == f"leadership lost (taken), token {TOKEN}"


def test_a_stale_token_says_both() -> None:
    error = StaleToken(TOKEN, FencingToken(1, 43))
    assert (error.presented, error.highest) == (TOKEN, FencingToken(1, 43))
    assert str(TOKEN) in str(error) and str(FencingToken(1, 43)) in str(error)


def test_the_reasons_are_those_of_the_contract() -> None:
    assert [reason.name for reason in LossReason] == [
        "RESIGNED",
        "EXPIRED",
        "TAKEN",
        "SESSION_LOST",
        "STOPPED",
        "WORK_FAILED",
        "FORKED",
    ]
