"""BackendConformance: what every backend has to do, as cases for pytest.

Each case is a claim about the `Backend` contract, and says on failure which rule was broken.
Issue numbers name the reports, of other projects, that a case would have prevented.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leaderlock.testing.conformance.election import ElectionCases
from leaderlock.testing.conformance.electors import ElectorCases
from leaderlock.testing.conformance.hygiene import HygieneCases
from leaderlock.testing.conformance.lease import LeaseCases
from leaderlock.testing.conformance.losses import LossCases
from leaderlock.testing.conformance.observing import ObservingCases
from leaderlock.testing.conformance.ownership import OwnershipCases
from leaderlock.testing.conformance.replies import LostReplyCases
from leaderlock.testing.conformance.silence import NoAnswerCases
from leaderlock.testing.conformance.token import TokenCases
from leaderlock.testing.harness import BackendHarness


class BackendConformance(
    ElectionCases,
    LeaseCases,
    TokenCases,
    OwnershipCases,
    LostReplyCases,
    NoAnswerCases,
    ObservingCases,
    HygieneCases,
    ElectorCases,
    LossCases,
):
    """Subclass it, and provide a fixture `harness`: see `BackendHarness`."""

    @pytest.fixture(autouse=True)
    def _close_backends(self, harness: BackendHarness) -> Iterator[None]:
        yield
        harness.close_backends()
