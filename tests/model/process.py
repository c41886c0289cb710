"""One simulated process: a candidacy, and a driver that does what the runtime does for it.

The driver sends the request that is due, one at a time; renews in a heartbeat; ticks at the
deadline; asks again after a silence, with a back-off; and lets the work of a lost term take a
while to drain. While the process is paused none of its events is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from leaderlock.machine import Elected, LossReason, Lost, Notice, Orphaned, Regressed, State, Verb
from tests.model.checked import Checked
from tests.model.store import Answer, Ask, Said

if TYPE_CHECKING:
    from tests.model.cluster import Cluster

_ASKS = {Verb.CAMPAIGN: Ask.CAMPAIGN, Verb.RELEASE: Ask.RELEASE}


class Process:
    """Its clock reads `offset + rate * t` at the global time `t`."""

    def __init__(
        self, cluster: Cluster, name: str, checked: Checked, rate: float, offset: float
    ) -> None:
        self.cluster = cluster
        self.name = name
        self.checked = checked
        self.machine = checked.machine
        self.rate = rate
        self.offset = offset
        self.alive = True
        self.paused = False
        self.is_child = False
        self.cut_requests_until = 0.0  # global times of a partition that cuts one direction
        self.cut_replies_until = 0.0
        self._backlog: list[Callable[[], None]] = []
        self._calls = 0
        self._outstanding = 0  # the number of the call that the worker waits for
        self._resting: tuple[State, str] | None = None  # what a pause of the worker was meant for
        self._rests = 0
        self._failures = 0
        self._woken = False
        self._renewing_until = 0.0
        self._tick_at = float("inf")

    def local(self) -> float:
        return self.offset + self.rate * self.cluster.now

    def believes(self) -> bool:
        return self.machine.believes(self.offset + self.rate * self.cluster.now)

    # How events reach the process

    def run(self, what: Callable[[], None]) -> None:
        """Handle an event now, or after the pause, or never."""
        if self.paused:
            self._backlog.append(what)
        elif self.alive:
            what()
            self._follow_up()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Handle an event when so much time has passed on the clock of this process."""
        cluster = self.cluster
        cluster.at(cluster.now + seconds / self.rate + cluster.lag(), self.run, what)

    def resume(self) -> None:
        """Handle what was missed, in any order: who of its threads runs first is open."""
        self.paused = False
        backlog, self._backlog = self._backlog, []
        self.cluster.rng.shuffle(backlog)
        for what in backlog:
            self.run(what)
            self.cluster.check()

    # What the user does

    def start(self) -> None:
        self.checked.start()

    def stop(self) -> None:
        self._tell(self.checked.stop(self.local()))

    def resign(self) -> None:
        self._tell(self.checked.resign(self.local()))

    def fork(self, name: str) -> Process:
        """The child: a copy of the memory, without any thread, timer or request of the parent."""
        checked, notices = self.checked.fork(self.local())
        child = Process(self.cluster, name, checked, self.rate, self.offset)
        child.is_child = True
        child._tell(notices)
        return child

    # The worker: campaigns and releases

    def _follow_up(self) -> None:
        self._pump()
        deadline = self.machine.deadline
        if deadline < self._tick_at:
            self._tick_at = deadline
            # A little later than computed: rounding must not call it before the deadline.
            self.after(max(0.0, deadline - self.local()) + 1e-9, self._tick)

    def _pump(self) -> None:
        if self._outstanding:
            return
        if self._resting == (self.machine.state, self.machine.attempt_id):
            return
        self._resting = None
        now = self.local()
        request = self.checked.take_request(now)
        if request is None:
            return
        undrained = self.checked.undrained
        if request.verb is Verb.RELEASE and request.attempt_id == undrained:
            self.cluster.count("release before the drain")
        self._woken = False
        self._calls += 1
        self._outstanding = call = self._calls
        self.cluster.send(self, _ASKS[request.verb], request.attempt_id, call)
        self.after(self.checked.timing.request_timeout, lambda: self._time_out(call))

    def _time_out(self, call: int) -> None:
        if call == self._outstanding:
            self._outstanding = 0
            self.cluster.count("request timed out")
            self._failures += 1
            longest = self.checked.timing.max_backoff
            pause = min(longest, longest / 16 * 2**self._failures)
            self._rest(pause * self.cluster.rng.uniform(0.5, 1.0))

    def _rest(self, seconds: float) -> None:
        """Ask nothing for a while, unless there is something else to ask."""
        self._resting = (self.machine.state, self.machine.attempt_id)
        self._rests += 1
        rest = self._rests
        self.after(seconds, lambda: self._end_rest(rest))

    def _end_rest(self, rest: int) -> None:
        if rest == self._rests:
            self._resting = None

    def wake(self) -> None:
        """The store says that the election may be free."""
        self._woken = True
        if self._failures == 0:
            self._resting = None

    # The heartbeat

    def _beat(self, attempt_id: str) -> None:
        if not self.machine.holds_lease or self.machine.attempt_id != attempt_id:
            return
        now, timing = self.local(), self.checked.timing
        if now < self._renewing_until:  # the round before has neither been answered nor timed out
            self.after(self._renewing_until - now + 1e-9, lambda: self._beat(attempt_id))
            return
        self._renewing_until = now + timing.request_timeout
        self.cluster.send(self, Ask.RENEW, attempt_id, 0)
        self.after(timing.heartbeat, lambda: self._beat(attempt_id))

    # The watchdog

    def _tick(self) -> None:
        self._tick_at = float("inf")
        self._tell(self.checked.tick(self.local()))

    # The answers of the store

    def on_answer(self, answer: Answer, call: int, sent_at: float) -> None:
        now, machine = self.local(), self.checked
        attempt_id = answer.attempt_id
        if call and call == self._outstanding:
            self._outstanding = 0
            self._failures = 0
            if answer.said is Said.WAITING and not self._woken:
                timing = machine.timing
                notice = timing.capabilities.notice
                # Not more often than this, whatever the difference of the clocks suggests.
                self._rest(min(max(answer.retry_after, 0.05 * timing.ttl), notice))
        if answer.said is Said.GRANTED:
            self._on_granted(answer, sent_at, now)
        elif answer.said is Said.RENEWED:
            self._renewing_until = 0.0
            if attempt_id != machine.open:
                self.cluster.count("renewal confirmed too late")
            self._tell(
                machine.renewed(attempt_id, sent_at=sent_at, ttl=machine.timing.ttl, now=now)
            )
        elif answer.said is Said.TAKEN:
            self._renewing_until = 0.0
            self.cluster.count("renewal refused")
            self._tell(machine.refused(attempt_id, LossReason.TAKEN, now))
        elif answer.said is Said.RELEASED:
            machine.released(attempt_id)

    def _on_granted(self, answer: Answer, sent_at: float, now: float) -> None:
        timing = self.checked.timing
        is_due = (self.machine.state, self.machine.attempt_id) == (
            State.CAMPAIGNING,
            answer.attempt_id,
        )
        notices = self.checked.granted(
            answer.attempt_id,
            answer.token,
            source=answer.source,
            sent_at=sent_at,
            ttl=timing.ttl,
            now=now,
        )
        self._tell(notices)
        if not notices:
            self.cluster.count("late grant" if is_due else "grant answered twice")
        elif isinstance(notices[0], Elected):
            attempt_id = answer.attempt_id
            self._renewing_until = 0.0
            first = max(0.0, sent_at + timing.heartbeat - now)
            self.after(first, lambda: self._beat(attempt_id))

    # What the machine says

    def _tell(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            cluster = self.cluster
            cluster.note(self, notice)
            if isinstance(notice, Elected):
                cluster.count("elected in a child" if self.is_child else "elected")
                cluster.elected(self, notice.token)
            elif isinstance(notice, Lost):
                cluster.count(f"lost: {notice.reason.value}")
                self._let_work_end(notice.attempt_id)
            elif isinstance(notice, Orphaned):
                cluster.count("orphaned")
                # Once: when it is lost too, the lease runs out by itself.
                cluster.send(self, Ask.RELEASE, notice.attempt_id, 0)
            elif isinstance(notice, Regressed):
                cluster.count("regressed")

    def _let_work_end(self, attempt_id: str) -> None:
        if self.checked.undrained:
            seconds = self.cluster.work_seconds()
            self.after(seconds, lambda: self._end_work(attempt_id))

    def _end_work(self, attempt_id: str) -> None:
        self.checked.drained(attempt_id, self.local())
