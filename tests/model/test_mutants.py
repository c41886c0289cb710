"""The checks bite: every wrong rule is caught, and the right ones pass the very same runs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from leaderlock.machine import Candidacy
from tests.model.checked import Violation
from tests.model.cluster import Cluster, check_runs
from tests.model.mutants import MUTANTS, Mutant
from tests.model.test_machine_stateful import AnyOrder

SEEDS = range(500)

ANY_ORDER = settings(
    max_examples=2000,  # the first that breaks a rule ends it: the hardest takes some hundreds
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

WRONG_MACHINES = sorted({m.machine for m in MUTANTS} - {Candidacy}, key=lambda m: m.__name__)


def first_violation(mutant: Mutant) -> Violation | None:
    """The first one that is the mutant's own; what else it breaks on the way is passed over."""
    for seed in SEEDS:
        cluster = Cluster(
            seed,
            machine=mutant.machine,
            store=mutant.store,
            operator=mutant.operator,
            lenient=mutant.lenient,
        )
        try:
            cluster.run()
        except Violation as violation:
            if violation.rule in mutant.caught_by:
                return violation
    return None


def run_in_any_order(machine: type[Candidacy]) -> None:
    variant = type("Variant", (AnyOrder,), {"machine_type": machine})
    run_state_machine_as_test(variant, settings=ANY_ORDER)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_caught_in_a_cluster(mutant: Mutant) -> None:
    assert first_violation(mutant) is not None, f"{mutant.name} passes"


@pytest.mark.parametrize("machine", WRONG_MACHINES, ids=lambda machine: machine.__name__)
def test_a_wrong_machine_is_caught_in_any_order(machine: type[Candidacy]) -> None:
    with pytest.raises(Violation):
        run_in_any_order(machine)


def test_the_right_rules_pass_the_same_runs() -> None:
    check_runs(SEEDS)
    check_runs(SEEDS, operator=True)  # in any order: see test_machine_stateful
