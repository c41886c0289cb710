"""What a monitor shows Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from leaderlock.monitor.alarms import Kind
from leaderlock.monitor.state import State
from leaderlock.monitor.webhook import Webhook

_PLACE = ("store", "namespace")
_ELECTION = (*_PLACE, "election")


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"leaderlock_monitor_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(f"leaderlock_monitor_{name}", text, labels=labels)


class MonitorCollector(Collector):
    """The state as metrics. Who leads is left out while the store does not tell it."""

    def __init__(self, state: State, store: str, webhook: Webhook | None) -> None:
        self._state = state
        self._place = (store, state.namespace)
        self._webhook = webhook

    def page(self, now: float) -> bytes:
        """The text that Prometheus reads."""
        registry = CollectorRegistry()
        self._now = now
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing: names cannot clash in a registry of one collector."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield from self._own()
        yield from self._alarms()
        if self._state.store_error is None:
            yield from self._elections()
        yield from self._beliefs()

    def _own(self) -> Iterator[Metric]:
        state, up = self._state, self._state.store_error is None
        for name, text, value in (
            ("store_up", "1 while the store answers the monitor, else 0.", int(up)),
            ("elections", "How many elections are watched.", len(state.elections)),
            ("elections_left_out", "How many were too many.", state.left_out),
            ("nodes", "How many nodes report what they believe.", len(state.nodes)),
        ):
            gauge = _gauge(name, text, _PLACE)
            gauge.add_metric(self._place, value)
            yield gauge
        counts = [("reports", "Reports of nodes.", state.reports)]
        if self._webhook is not None:
            counts += [
                ("webhook_failures", "Requests in vain.", self._webhook.failures),
                ("webhook_dropped", "Changes that were never told.", self._webhook.dropped),
            ]
        for name, text, value in counts:
            counter = _counter(name, text, _PLACE)
            counter.add_metric(self._place, value)
            yield counter

    def _alarms(self) -> Iterator[Metric]:
        present = _gauge("alarm", "1 for each alarm that is raised.", (*_ELECTION, "kind"))
        for kind, election in self._state.alarms.present:
            present.add_metric((*self._place, election, kind.value), 1)
        yield present
        raised = _counter("alarms", "Alarms raised since the start.", (*_PLACE, "kind"))
        for kind in Kind:
            raised.add_metric((*self._place, kind.value), self._state.alarms.counts[kind])
        yield raised

    def _elections(self) -> Iterator[Metric]:
        has_leader = _gauge("has_leader", "1 while somebody leads, else 0.", _ELECTION)
        leader = _gauge("leader", "1 for who leads.", (*_ELECTION, "candidate"))
        token = _gauge("token", "The leader's fencing token.", (*_ELECTION, "epoch"))
        seconds = _gauge("term_seconds", "How long the term has been seen.", _ELECTION)
        leaderless = _gauge("leaderless_seconds", "For how long nobody has led.", _ELECTION)
        terms = _counter("terms", "Terms seen since the start.", _ELECTION)
        for election in self._state.elections.values():
            if election.read_at is None or election.failing is not None:
                continue
            labels = (*self._place, election.name)
            info, term = election.leader, election.present_term
            has_leader.add_metric(labels, int(info is not None))
            gone_at = self._now if election.gone_at is None else election.gone_at
            leaderless.add_metric(labels, max(0.0, self._now - gone_at))
            terms.add_metric(labels, election.term_count)
            if info is not None and term is not None:
                leader.add_metric((*labels, info.candidate_id), 1)
                token.add_metric((*labels, str(info.token.epoch)), info.token.value)
                seconds.add_metric(labels, max(0.0, self._now - term.began))
        yield from (has_leader, leader, token, seconds, leaderless, terms)

    def _beliefs(self) -> Iterator[Metric]:
        believers = _gauge("believers", "How many nodes believe to lead.", _ELECTION)
        for election in self._state.elections.values():
            count = sum(belief.is_open for belief in election.beliefs)
            believers.add_metric((*self._place, election.name), count)
        yield believers
