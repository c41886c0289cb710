"""One candidacy, and anything that may happen to it in any order.

Where the cluster simulates a store that behaves, here every answer is possible that the contract
of a store allows, and replies come as late and as often as hypothesis likes. `Checked` holds each
answer against the rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from leaderlock.capabilities import Capabilities
from leaderlock.machine import Candidacy, Elected, LossReason, Lost, Notice, Regressed, State, Verb
from leaderlock.timing import Timing
from tests.model.checked import Checked, Violation

Sent = tuple[str, float]
"""An attempt, and when a request for it was sent."""

Grant = tuple[int, str]
"""How far the token is ahead of the highest that elected, and which store issued it."""

UNLIMITED = Capabilities(linearizable=True, event_driven=True, min_ttl=0.0, max_ttl=1e6)
TIMINGS = (
    Timing(ttl=9.0, capabilities=UNLIMITED),
    Timing(ttl=9.0, stop_grace=2.0, drain_timeout=20.0, capabilities=UNLIMITED),
    Timing(
        ttl=9.0,
        drain_timeout=0.5,
        capabilities=Capabilities(
            linearizable=True,
            event_driven=True,
            min_ttl=0.0,
            max_ttl=1e6,
            expiry_factor=2.0,
            hold_off=3.0,
        ),
    ),
)
GRANTS = st.sampled_from(
    ((1, "store"), (1, "store"), (5, "store"), (0, "store"), (-1, "store"), (1, "another store"))
)
SLOW = st.sampled_from((0.0, 0.1, 0.7, 1.2))  # of a belief window
STEPS = st.one_of(st.sampled_from((0.5, 3.0, 6.0, 9.0)), st.floats(0.0, 30.0))


class AnyOrder(RuleBasedStateMachine):
    """What is sent stays in a list: every entry may be answered at any time, and again."""

    machine_type: ClassVar[type[Candidacy]] = Candidacy

    @initialize(timing=st.sampled_from(TIMINGS), granted=st.sampled_from((0.5, 1.0, 3.0)))
    def begin(self, timing: Timing, granted: float) -> None:
        numbers = itertools.count(1)
        machine = self.machine_type(timing, lambda: f"a{next(numbers)}")
        self.checked = Checked(machine, timing, set(), store_intact=False)
        self.timing = timing
        self.ttl = timing.ttl * granted  # what the store grants, whatever it is asked for
        self.now = 1000.0
        self.highest = 10
        self.source = ""
        self.elected = 0
        self.lost = 0
        self.campaigns: list[Sent] = []
        self.renewals: list[Sent] = []
        self.attempts: list[str] = []

    # Time

    @rule(seconds=STEPS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def tick(self) -> None:
        self.tell(self.checked.tick(self.now))

    @precondition(lambda self: self.checked.machine.deadline < float("inf"))
    @rule()
    def the_deadline_comes(self) -> None:
        self.now = max(self.now, self.checked.machine.deadline)
        self.tell(self.checked.tick(self.now))

    # The user

    @rule()
    def start(self) -> None:
        self.checked.start()

    @rule()
    def stop(self) -> None:
        self.tell(self.checked.stop(self.now))

    @rule()
    def resign(self) -> None:
        self.tell(self.checked.resign(self.now))

    @rule()
    def abandon(self) -> None:
        self.checked.abandon()

    @precondition(lambda self: self.checked.undrained)
    @rule()
    def the_work_ends(self) -> None:
        self.checked.drained(self.checked.undrained, self.now)

    @rule()
    def fork(self) -> None:
        """Go on as the child. No call of the parent is answered there: its threads are gone."""
        parent = self.checked
        before = parent.machine.state, parent.machine.valid_until, parent.machine.attempt_id
        self.checked, notices = parent.fork(self.now)
        assert before == (
            parent.machine.state,
            parent.machine.valid_until,
            parent.machine.attempt_id,
        )
        self.tell(notices)
        self.campaigns, self.renewals, self.attempts = [], [], []

    # Requests and answers

    @rule()
    def send_request(self) -> None:
        request = self.checked.take_request(self.now)
        if request is not None:
            self.attempts.append(request.attempt_id)
            if request.verb is Verb.CAMPAIGN:
                self.campaigns.append((request.attempt_id, self.now))

    @precondition(lambda self: self.checked.machine.holds_lease)
    @rule()
    def send_renewal(self) -> None:
        self.renewals.append((self.checked.machine.attempt_id, self.now))

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data(), grant=GRANTS)
    def answer_granted(self, data: st.DataObject, grant: Grant) -> None:
        attempt_id, sent_at = data.draw(st.sampled_from(self.campaigns))
        self.answer_grant(attempt_id, grant, sent_at)

    @precondition(lambda self: self.renewals)
    @rule(data=st.data())
    def answer_renewed(self, data: st.DataObject) -> None:
        attempt_id, sent_at = data.draw(st.sampled_from(self.renewals))
        self.tell(self.checked.renewed(attempt_id, sent_at=sent_at, ttl=self.ttl, now=self.now))

    @precondition(lambda self: self.attempts)
    @rule(
        data=st.data(),
        reason=st.sampled_from((LossReason.TAKEN, LossReason.SESSION_LOST)),
    )
    def answer_refused(self, data: st.DataObject, reason: LossReason) -> None:
        attempt_id = data.draw(st.sampled_from(self.attempts))
        self.tell(self.checked.refused(attempt_id, reason, self.now))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def answer_released(self, data: st.DataObject) -> None:
        self.checked.released(data.draw(st.sampled_from(self.attempts)))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def the_work_of_another_term_ends(self, data: st.DataObject) -> None:
        attempt_id = data.draw(st.sampled_from(self.attempts))
        if attempt_id != self.checked.machine.attempt_id:
            self.checked.drained(attempt_id, self.now)

    # Shortcuts, to get far in few steps

    @precondition(
        lambda self: self.checked.machine.state in (State.IDLE, State.CAMPAIGNING, State.FORKED)
    )
    @rule(slow=SLOW, grant=GRANTS)
    def be_granted(self, slow: float, grant: Grant) -> None:
        self.checked.start()
        self.send_request()
        sent_at = self.now
        self.now += slow * self.timing.window_for(self.ttl)
        self.answer_grant(self.checked.machine.attempt_id, grant, sent_at)

    @precondition(lambda self: self.checked.machine.holds_lease)
    @rule(slow=SLOW)
    def be_renewed(self, slow: float) -> None:
        self.send_renewal()
        attempt_id, sent_at = self.renewals[-1]
        self.now += slow * self.timing.window_for(self.ttl)
        self.tell(self.checked.renewed(attempt_id, sent_at=sent_at, ttl=self.ttl, now=self.now))

    @precondition(lambda self: self.checked.machine.believes(self.now))
    @rule()
    def be_renewed_at_the_very_end(self) -> None:
        """Sent while the term was believed, answered at the instant of its deadline."""
        end = self.checked.machine.valid_until
        self.now = (self.now + end) / 2
        self.send_renewal()
        attempt_id, sent_at = self.renewals[-1]
        self.now = end
        self.tell(self.checked.renewed(attempt_id, sent_at=sent_at, ttl=self.ttl, now=self.now))

    @precondition(lambda self: self.checked.machine.state is State.RELEASING)
    @rule()
    def be_released(self) -> None:
        self.send_request()
        if self.checked.undrained:
            self.checked.drained(self.checked.undrained, self.now)
        self.checked.released(self.checked.machine.attempt_id)

    # What has to hold

    def answer_grant(self, attempt_id: str, grant: Grant, sent_at: float) -> None:
        ahead, source = grant
        token = self.highest + ahead
        progress = not self.source or (ahead > 0 and source == self.source)
        notices = self.checked.granted(
            attempt_id, token, source=source, sent_at=sent_at, ttl=self.ttl, now=self.now
        )
        self.tell(notices)
        for notice in notices:
            if isinstance(notice, Elected):
                self.highest, self.source = token, source
            if isinstance(notice, Elected | Regressed) and progress != isinstance(notice, Elected):
                raise Violation("tokens rise", f"{notice} after {self.highest} {self.source}")

    def tell(self, notices: Sequence[Notice]) -> None:
        self.elected += sum(isinstance(notice, Elected) for notice in notices)
        self.lost += sum(isinstance(notice, Lost) for notice in notices)
        if self.elected - self.lost != bool(self.checked.open):
            raise Violation("pairing", f"{self.elected} elected, {self.lost} lost")

    @invariant()
    def only_a_leader_believes(self) -> None:
        machine = self.checked.machine
        if machine.state is not State.LEADING:
            assert not machine.believes(self.now)

    def teardown(self) -> None:
        """Stopped, with a store that never answers again, and work that ends, it comes to rest."""
        if not hasattr(self, "checked") or self.checked.broken:
            return  # what went wrong must not be hidden by what follows from it
        self.tell(self.checked.stop(self.now))
        for _ in range(5):
            if self.checked.undrained:
                self.checked.drained(self.checked.undrained, self.now)
            self.checked.take_request(self.now)
            if self.checked.machine.deadline < float("inf"):
                self.the_deadline_comes()
        if self.checked.machine.state not in (State.IDLE, State.FORKED):
            raise Violation("it comes to rest", f"still {self.checked.machine.state}")
        assert self.elected == self.lost


AnyOrder.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAnyOrder = AnyOrder.TestCase
