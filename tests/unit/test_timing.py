"""Timing: what is derived, and every refusal with a message that helps."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from leaderlock.capabilities import Capabilities
from leaderlock.errors import ConfigurationError
from leaderlock.timing import DEFAULT_TTL, Timing


def limits(**changes: Any) -> Capabilities:
    store = Capabilities(linearizable=True, event_driven=True, min_ttl=1.0, max_ttl=60.0)
    return dataclasses.replace(store, **changes)


class TestDefaults:
    def test_only_the_ttl_has_to_be_thought_about(self) -> None:
        timing = Timing()
        assert timing.ttl == DEFAULT_TTL == 10.0
        assert timing.belief_window == pytest.approx(20 / 3)
        assert timing.heartbeat == timing.request_timeout == pytest.approx(20 / 9)
        assert timing.drain_timeout == timing.belief_window
        assert timing.stop_grace == 0.0

    @pytest.mark.parametrize("ttl", [0.01, 0.3, 1.0, 7.7, 10.0, 86_400.0])
    @pytest.mark.parametrize("grace_share", [0.0, 0.1, 0.6])
    @pytest.mark.parametrize("ratio", [0.5, 2 / 3, 0.9])
    def test_the_derived_durations_are_safe_for_every_ttl(
        self, ttl: float, grace_share: float, ratio: float
    ) -> None:
        store = limits(min_ttl=0.0, max_ttl=math.inf, belief_ratio=ratio)
        timing = Timing(ttl=ttl, stop_grace=grace_share * ratio * ttl, capabilities=store)
        assert 0 < timing.belief_window <= ratio * ttl
        assert timing.heartbeat + timing.request_timeout < timing.belief_window

    def test_the_request_timeout_follows_the_heartbeat(self) -> None:
        assert Timing(heartbeat=0.5).request_timeout == 0.5

    def test_the_stop_grace_shortens_the_belief(self) -> None:
        assert Timing(ttl=9, stop_grace=2).belief_window == pytest.approx(4.0)

    def test_the_store_says_which_share_of_the_ttl_may_be_believed(self) -> None:
        assert Timing(ttl=10, capabilities=limits(belief_ratio=0.5)).belief_window == 5.0

    def test_another_granted_ttl_has_its_own_window(self) -> None:
        assert Timing(ttl=9, stop_grace=1).window_for(30) == pytest.approx(19.0)

    @pytest.mark.parametrize(("ttl", "pause"), [(1.0, 0.5), (4.0, 2.0), (600.0, 2.0)])
    def test_back_off_is_never_longer_than_two_seconds_or_half_a_ttl(
        self, ttl: float, pause: float
    ) -> None:
        assert Timing(ttl=ttl).max_backoff == pause


class TestWorstCases:
    def test_a_plain_store_fails_over_after_the_ttl_and_two_requests(self) -> None:
        assert Timing(ttl=9, request_timeout=1).worst_case_failover == 9 + 2 * 1

    def test_what_the_store_adds_is_counted(self) -> None:
        store = limits(expiry_factor=2.0, expiry_slack=0.5, hold_off=3.0, notice=0.25)
        timing = Timing(ttl=9, request_timeout=1, capabilities=store)
        assert timing.longest_lease == 2 * 9 + 0.5 + 3
        assert timing.worst_case_failover == timing.longest_lease + 0.25 + 2 * 1

    def test_the_belief_ends_before_the_shortest_lease(self) -> None:
        timing = Timing(ttl=9, capabilities=limits(expiry_factor=2.0))
        assert timing.belief_window < 9 < timing.longest_lease


DURATIONS = ("ttl", "heartbeat", "request_timeout", "drain_timeout")
NO_DURATION: tuple[Any, ...] = (0, -1, -0.5, math.inf, -math.inf, math.nan, "5", True, [])


class TestRefusals:
    """Every message names the value, what is allowed and what to do."""

    @pytest.mark.parametrize("name", DURATIONS)
    @pytest.mark.parametrize("value", NO_DURATION)
    def test_what_is_no_duration(self, name: str, value: Any) -> None:
        with pytest.raises(ConfigurationError) as refusal:
            Timing(**{name: value})
        assert name in str(refusal.value)
        assert "must be a positive number of seconds" in str(refusal.value)
        assert repr(value) in str(refusal.value)

    @pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", False, None])
    def test_a_grace_that_is_no_duration(self, value: Any) -> None:
        with pytest.raises(ConfigurationError) as refusal:
            Timing(stop_grace=value)
        assert str(refusal.value) == f"stop_grace must be 0 or more seconds, not {value!r}"

    @pytest.mark.parametrize("ttl", [0.5, 61.0])
    def test_a_ttl_that_the_store_does_not_grant(self, ttl: float) -> None:
        with pytest.raises(ConfigurationError, match="1 to 60 seconds") as refusal:
            Timing(ttl=ttl, capabilities=limits())
        assert f"ttl={ttl:g}" in str(refusal.value)

    @pytest.mark.parametrize("ttl", [1.0, 60.0])
    def test_the_limits_of_the_store_are_granted(self, ttl: float) -> None:
        assert Timing(ttl=ttl, capabilities=limits()).ttl == ttl

    @pytest.mark.parametrize("grace", [6.0, 7.0])
    def test_a_grace_that_leaves_no_belief(self, grace: float) -> None:
        with pytest.raises(ConfigurationError, match="lower it or raise ttl=9") as refusal:
            Timing(ttl=9, stop_grace=grace)
        assert f"stop_grace={grace:g}" in str(refusal.value)
        assert "belief window of 6 s" in str(refusal.value)

    @pytest.mark.parametrize(
        ("heartbeat", "request_timeout"), [(4.0, 2.0), (5.0, 1.0), (5.9, 0.2), (8.0, 0.1)]
    )
    def test_renewals_that_come_too_late_to_be_repeated(
        self, heartbeat: float, request_timeout: float
    ) -> None:
        with pytest.raises(ConfigurationError, match="lower them, or raise ttl=9") as refusal:
            Timing(ttl=9, heartbeat=heartbeat, request_timeout=request_timeout)
        message = str(refusal.value)
        assert f"heartbeat={heartbeat:.3g}" in message
        assert f"request_timeout={request_timeout:.3g}" in message
        assert "less than the belief window of 6 s" in message

    def test_requests_that_do_not_fit_three_times(self) -> None:
        with pytest.raises(ConfigurationError, match="lower it, or raise ttl=9") as refusal:
            Timing(ttl=9, heartbeat=1, request_timeout=2.5)
        assert "request_timeout=2.5" in str(refusal.value)
        assert "three times into the belief window of 6 s" in str(refusal.value)

    def test_a_refusal_is_a_value_error_too(self) -> None:
        with pytest.raises(ValueError, match="ttl"):
            Timing(ttl=-1)

    def test_the_tightest_safe_timing_is_accepted(self) -> None:
        assert Timing(ttl=9, heartbeat=3.9, request_timeout=2).heartbeat == 3.9


def test_a_timing_cannot_be_changed_behind_the_checks() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Timing().ttl = 0.0  # type: ignore[misc]
