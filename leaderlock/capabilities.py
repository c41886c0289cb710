"""What a store promises, in numbers that the timing is computed from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The facts about one store that the core has to know.

    Attributes:
        linearizable: at most one leader even when a server of the store fails over.
        fifo: candidates are served in the order in which they came.
        event_driven: a waiting candidate is woken by the store, not by asking again and again.
        min_ttl: the shortest lease that the store grants, in seconds.
        max_ttl: the longest lease that the store grants, in seconds.
        belief_ratio: the share of the ttl for which a leader may believe in its term after the
            last proof. The rest is the margin for clock-rate drift: 2/3 tolerates clocks that
            run 1.5 times faster at the store than at the leader.
        expiry_factor: a dead leader's lease ends at most ``expiry_factor * ttl + expiry_slack``
            seconds after its last renewal.
        expiry_slack: see expiry_factor.
        hold_off: seconds after an expiry during which the store lets nobody in (a lock-delay).
        hold_off_option: the option that sets hold_off, where a leader that lost its lease may rely
            on nothing else: it must last for ``belief_ratio * ttl``. Empty: it need not.
        notice: how long at the most, in seconds, until a waiting candidate learns of a free term.
        renews_waiting: waiting candidates are part of a heartbeat round too, because they hold a
            place in a queue that can be lost.
    """

    linearizable: bool
    event_driven: bool
    min_ttl: float
    max_ttl: float
    fifo: bool = False
    belief_ratio: float = 2 / 3
    expiry_factor: float = 1.0
    expiry_slack: float = 0.0
    hold_off: float = 0.0
    hold_off_option: str = ""
    notice: float = 0.0
    renews_waiting: bool = False
