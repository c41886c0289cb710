"""Each invariant: a log that keeps it, and logs that break it and nothing else."""

from __future__ import annotations

import pytest

from leaderlock.testing.chaos.checker import RULES, Traits, check
from leaderlock.testing.chaos.verdicts import Status, Verdict
from tests.chaos.logs import changed, events, without

TRAITS = Traits(belief_window=2.0, request_timeout=0.5, lease=3.0, failover=5.0)

# c1 leads, is cut off, and is followed by c2, which resigns when all is well.
HEALTHY = """
 0.0  run began
 0.1  c1 started
 0.2  c1 attempt attempt="a1"
 0.2  c2 attempt attempt="a2"
 1.0  c1 leads token=10 seen=0.9
 1.0  c1 elected token=10 attempt="a1"
 1.1  c1 writes token=10 number=1
 1.2  resource accepted token=10 by="c1" number=1
 4.0  nemesis fault id=1 name="hold" target="network of c1" whom=["c1"] silences=true
 5.4  c1 still leads token=10 seen=5.4
 5.5  c1 leads not token=10 seen=5.45
 5.5  c1 lost token=10 reason="expired"
 7.0  c2 leads token=20 seen=6.9
 7.0  c2 elected token=20 attempt="a2"
 7.1  c2 writes token=20 number=1
 7.2  resource accepted token=20 by="c2" number=1
 8.0  nemesis healed id=1
 8.1  run calm
14.0  c2 resigned token=20
14.01 c2 leads not token=20 seen=14.0
14.01 c2 lost token=20 reason="resigned"
14.1  c1 attempt attempt="a3"
14.1  c2 attempt attempt="a4"
14.2  c1 leads token=30 seen=14.15
14.2  c1 elected token=30 attempt="a3"
18.0  run queue entries=["key/a3"]
19.0  run ended
19.1  c1 leads not token=30 seen=19.0
19.1  c1 lost token=30 reason="stopped"
19.2  c1 stopped released=true
19.2  c2 stopped released=true
"""


def verdicts(log: str, traits: Traits = TRAITS) -> dict[str, Verdict]:
    return {verdict.invariant: verdict for verdict in check(events(log), traits)}


def violated(log: str) -> set[str]:
    return {name for name, v in verdicts(log).items() if v.status is Status.VIOLATED}


def example(log: str, invariant: str) -> str:
    """The counter-example, as the moments of its events."""
    return " ".join(f"{event.at:g}" for event in verdicts(log)[invariant].counter_example)


@pytest.mark.parametrize("invariant", RULES)
def test_a_healthy_log_keeps_every_invariant(invariant: str) -> None:
    verdict = verdicts(HEALTHY)[invariant]
    assert (verdict.status, verdict.counter_example) == (Status.HELD, ())
    assert verdict.text


def test_only_a_stretch_that_is_long_enough_shows_that_somebody_leads() -> None:
    text = verdicts(HEALTHY)["I6"].text
    assert text == "1 stretches without faults, 0.2 s at most without a leader"


@pytest.mark.parametrize("invariant", RULES)
def test_what_had_no_occasion_has_not_held(invariant: str) -> None:
    assert verdicts("0.0 run began")[invariant].status is Status.NOT_APPLICABLE


BROKEN = {
    "an older term writes": (
        "I1",
        HEALTHY
        + '7.3 c1 writes token=10 number=2\n7.4 resource accepted token=10 by="c1" number=2',
        "1.2 7.2 7.4",
    ),
    "a token is accepted that nobody wrote with": (
        "I1",
        HEALTHY + '7.3 resource accepted token=21 by="c2" number=2',
        "7.3",
    ),
    "a lower token is accepted that was never accepted before": (
        "I1",
        HEALTHY
        + '7.3 c1 writes token=15 number=2\n7.4 resource accepted token=15 by="c1" number=2',
        "7.2 7.4",
    ),
    "two candidates have one token": (
        "I2",
        HEALTHY + '19.3 c3 elected token=30 attempt="a5"\n19.4 c3 lost token=30 reason="expired"',
        "14.2 19.3",
    ),
    "two attempts have one token": (
        "I2",
        HEALTHY + '19.12 c1 elected token=30 attempt="a5"\n19.13 c1 lost token=30 reason="taken"',
        "14.2 19.12",
    ),
    "a later term has a lower token": (
        "I3",
        HEALTHY.replace("token=30", "token=15"),
        "7 14.2",
    ),
    "a term is revived": (
        "I3",
        HEALTHY + "14.05 c1 leads token=10 seen=14.03\n14.08 c1 leads not token=10 seen=14.07",
        "7 14.05",
    ),
    "two believe at the same time": (
        "I4",
        changed(HEALTHY, "7.0  c2 leads token=20 seen=6.9", "5.3  c2 leads token=20 seen=5.2"),
        "1 5.3 5.5 14.01",
    ),
    "a loss is not told": ("I5", without(HEALTHY, "c1 lost token=30"), "14.2 19.2"),
    "an election comes before the loss": ("I5", without(HEALTHY, "c1 lost token=10"), "1 14.2"),
    "a loss is told twice": ("I5", HEALTHY + '6.0 c1 lost token=10 reason="expired"', "6"),
    "a loss is told late": (
        "I5",
        changed(HEALTHY, "5.5  c1 lost", "6.5  c1 lost"),
        "5.5 6.5",
    ),
    "a belief outlasts its window in silence": (
        "I5",
        HEALTHY.replace("5.5  c1", "6.6  c1").replace("seen=5.45", "seen=6.5"),
        "1 4 6.6",
    ),
    "a belief outlasts its window without a quorum": (
        "I5",
        HEALTHY + "2.0 run quorum reachable=false\n5.0 run quorum reachable=true",
        "1 5.5",
    ),
    "nobody leads when the faults are over": (
        "I6",
        HEALTHY.replace("14.01 c2", "8.5 c2").replace("seen=14.0", "seen=8.4"),
        "8.5 14.2 14.2",
    ),
    "something is left": ("I7", HEALTHY + '23.0 run left entry="key/a3"', "23"),
    "an attempt that has ended is queued": (
        "I8",
        changed(HEALTHY, '["key/a3"]', '["key/a3", "key/a2"]'),
        "14.1 18",
    ),
    "somebody unknown is queued": (
        "I8",
        changed(HEALTHY, '["key/a3"]', '["key/a3", "key/zz"]'),
        "18",
    ),
    "a killed candidate is queued": (
        "I8",
        HEALTHY
        + """0.2 c3 attempt attempt="a9"
        2.0 nemesis fault id=2 name="kill" target="c3" whom=["c3"]
        2.1 nemesis healed id=2
        18.1 run queue entries=["key/a9"]""",
        "2 18.1",
    ),
    "somebody is elected while cut off": (
        "I9",
        HEALTHY
        + """5.6 c1 leads token=15 seen=5.55
        5.6 c1 elected token=15 attempt="a8"
        5.7 c1 leads not token=15 seen=5.65
        5.7 c1 lost token=15 reason="expired" """,
        "4 5.6",
    ),
    "somebody is elected without a quorum": (
        "I9",
        HEALTHY + "5.8 run quorum reachable=false\n7.5 run quorum reachable=true",
        "5.8 7",
    ),
    "a resignation hands over late": (
        "I10",
        HEALTHY.replace("14.2  c1 leads token=30 seen=14.15", "15.4 c1 leads token=30 seen=15.3"),
        "14 15.4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_log_that_breaks_an_invariant_is_condemned_for_just_that(what: str) -> None:
    invariant, log, moments = BROKEN[what]
    assert violated(log) == {invariant}
    assert example(log, invariant) == moments


def test_a_forked_child_that_believes_is_another_leader_with_the_same_token() -> None:
    log = HEALTHY + (
        "2.0 c1.fork1 leads token=10 seen=1.9\n2.2 c1.fork1 still leads token=10 seen=2.1"
    )
    assert violated(log) == {"I2", "I3", "I4"}
    assert example(log, "I4") == "1 2 2.2 5.5"


def test_nobody_takes_over_from_a_second_leader_that_resigns() -> None:
    """The first one leads on: that breaks I4, and not I10."""
    beside = "13.5 c3 leads token=29 seen=13.4\n18.0 c3 leads not token=29 seen=17.9"
    log = f"{changed(HEALTHY, '14.2  c1 leads token=30', '19.0  c1 leads token=30')}{beside}"
    assert violated(log) >= {"I4"}
    assert "I10" not in violated(log)


def test_every_invariant_has_a_log_that_breaks_it() -> None:
    assert {invariant for invariant, _, _ in BROKEN.values()} == set(RULES)


ALLOWED = {
    "the belief of a process that was paused ends with what it last saw": changed(
        HEALTHY, "5.5  c1 leads not", "7.5  c1 leads not"
    ).replace("5.5  c1 lost", "7.5 c1 lost"),
    "a paused process is told late": changed(HEALTHY, "5.5  c1 lost", "6.5  c1 lost")
    + """5.5 nemesis fault id=2 name="pause" target="c1" whom=["c1"]
    6.5 nemesis healed id=2""",
    "a killed candidate believes until it was last heard of": HEALTHY
    + """6.0 c3 leads token=18 seen=5.9
    6.5 c3 still leads token=18 seen=6.5
    6.55 nemesis fault id=2 name="kill" target="c3" whom=["c3"]
    7.9 nemesis healed id=2""",
    "the ended attempt's entry may be there for as long as its lease": changed(
        HEALTHY, '18.0  run queue entries=["key/a3"]', '17.0 run queue entries=["key/a3", "key/a2"]'
    ),
    "a resignation under faults may take longer": HEALTHY.replace(
        "14.2  c1 leads token=30 seen=14.15", "15.4 c1 leads token=30 seen=15.3"
    )
    + """13.5 nemesis fault id=2 name="pause" target="c9" whom=["c9"]
    15.0 nemesis healed id=2""",
    "two terms without an order may have any tokens": HEALTHY
    + """6.95 c9 leads token=25 seen=6.8
    6.96 c9 leads not token=25 seen=6.94""",
    "an election may be on its way when the quorum is lost": HEALTHY
    + "6.4 run quorum reachable=false\n7.5 run quorum reachable=true",
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_only_looks_like_a_violation_is_none(what: str) -> None:
    assert violated(ALLOWED[what]) == set()


OVERLAP = changed(HEALTHY, "7.0  c2 leads token=20 seen=6.9", "5.3  c2 leads token=20 seen=5.2")


@pytest.mark.parametrize(
    ("at", "excuses", "status"),
    [
        ("5.2", '["I4"]', Status.REPORTED),
        ("5.2", "[]", Status.VIOLATED),
        ("2.0", '["I4"]', Status.VIOLATED),  # its consequences are over
        ("5.4", '["I4"]', Status.VIOLATED),  # came after it
    ],
)
def test_a_fault_excuses_only_what_it_causes(at: str, excuses: str, status: Status) -> None:
    log = f"""{OVERLAP}{at} nemesis fault id=2 name="flush" target="store" whom=[] excuses={excuses}
    {float(at) + 0.01} nemesis healed id=2"""
    assert verdicts(log)["I4"].status is status


def test_a_store_that_does_not_promise_an_invariant_is_reported_for_it() -> None:
    traits = Traits(
        belief_window=2.0,
        request_timeout=0.5,
        lease=3.0,
        failover=5.0,
        reported=frozenset({"I4"}),
        not_applicable=frozenset({"I9"}),
    )
    found = verdicts(OVERLAP, traits)
    assert (found["I4"].status, found["I9"].status) == (Status.REPORTED, Status.NOT_APPLICABLE)
    assert found["I4"].counter_example


def test_writes_without_tokens_are_told_apart_by_their_terms() -> None:
    log = """
    0.0 run began
    1.0 c1 leads token=null seen=0.9
    1.1 c1 writes token=null number=1
    1.2 resource accepted token=null by="c1" number=1
    1.3 c1 writes token=null number=2
    2.0 c2 leads token=null seen=1.9
    2.1 c2 writes token=null number=1
    2.2 resource accepted token=null by="c2" number=1
    """
    assert verdicts(log)["I1"].status is Status.HELD
    log += '2.3 resource accepted token=null by="c1" number=2'
    assert verdicts(log)["I1"].status is Status.VIOLATED
    assert example(log, "I1") == "1.2 2.2 2.3"
