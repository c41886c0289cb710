"""etcd:// on a real server: what goes wrong with requests, keys, leases, watches and the server."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from etcd3 import etcdrpc as rpc

from leaderlock import BackendUnavailable, LossReason, connect
from leaderlock.backends.base import Attempt, Granted, Renewal, Waiting
from leaderlock.backends.etcd import target as target_module
from leaderlock.backends.etcd.connection import Talk
from leaderlock.backends.etcd.lease import SharedLease
from leaderlock.backends.etcd.waiting import Watcher
from leaderlock.backoff import Backoff
from leaderlock.testing import FakeClock
from leaderlock.testing.servers.etcd import EtcdServer, encode
from leaderlock.testing.servers.proxy import Fault, Proxy
from leaderlock.testing.servers.web import Refusal
from tests.backends.etcd_tools import (
    TTL,
    asked,
    backend_at,
    delete,
    elector_at,
    keys_of,
    leases_of,
    queue_of,
    revoke_all,
    watchers_of,
)
from tests.backends.tools import attempt_at, win
from tests.elector.tools import Record, eventually, lasts_at_most, our_threads

# Requests


def test_every_verb_takes_few_round_trips(own_etcd: EtcdServer) -> None:
    backend = backend_at(own_etcd.url, ttl=600.0)
    a, b, c = (attempt_at(name=name) for name in "abc")
    for expected, verb in (
        (["grant", "txn"], lambda: backend.campaign(a)),  # the client's first
        (["txn"], lambda: backend.campaign(b)),  # the lease has just been heard of
        (["txn"], lambda: backend.campaign(c)),
        (["keep_alive", "txn"], lambda: backend.renew([a, b, c])),
        (["range"], lambda: backend.leader("e")),
        (["txn"], lambda: backend.release(a)),
        (["txn"], lambda: backend.campaign(b)),  # after its wake: the heartbeat is not long ago
    ):
        with asked() as requests:
            verb()
        assert [verb for verb, _ in requests] == expected
    assert not any(
        op.HasField("request_put") or op.HasField("request_delete_range")
        for op in requests[-1][1].success
    ), "a waiter that looks again writes"
    backend.close()


def test_a_lost_reply_to_the_winning_campaign_costs_nothing(own_etcd: EtcdServer) -> None:
    with Proxy(own_etcd.port) as proxy:
        backend = backend_at(own_etcd.url_at(proxy.port), timeout=0.5)
        proxy.drop_replies(after=b"payload of a")
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        assert queue_of(own_etcd) == ["leaderlock/e/a"]
        revision = int(own_etcd.call("kv/range", {"key": encode("x")})["header"]["revision"])
        proxy.pass_on()
        eventually(lambda: _token(backend, attempt_at()) == revision)
        assert isinstance(backend.campaign(attempt_at(name="b")), Waiting)
        for name in "ba":
            backend.release(attempt_at(name=name))
        assert queue_of(own_etcd) == []
        backend.close()
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])


def test_an_elector_whose_winning_reply_was_lost_leads_once(own_etcd: EtcdServer) -> None:
    record = Record()
    with Proxy(own_etcd.port) as proxy:
        proxy.drop_replies(after=b"leaderlock/e/")
        with elector_at(own_etcd.url_at(proxy.port), record, ttl=6):
            eventually(lambda: queue_of(own_etcd))
            proxy.pass_on()
            record.wait("elected")
            assert len(queue_of(own_etcd)) == 1
    assert record.kinds() == ["elected", "lost"]
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])


def test_a_campaign_carried_out_after_its_release_queues_nobody(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease lives on for others, so that an orphan would block the election for ever."""
    backend = backend_at(own_etcd.url, timeout=0.5)
    win(backend, attempt_at("other", "b"))
    lease = backend._lease.alive(backend._connection.talk())
    with monkeypatch.context() as patch, asked() as requests:
        patch.setattr(SharedLease, "alive", lambda self, talk: lease)
        own_etcd.freeze()
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
    own_etcd.thaw()
    backend.release(attempt_at())
    verb, request = requests[-1]
    assert verb == "txn" and request.success[0].request_put.key == b"leaderlock/e/a"
    # As from the buffer of another server, which was frozen for longer.
    with grpc.insecure_channel(f"127.0.0.1:{own_etcd.port}") as channel:
        assert not rpc.KVStub(channel).Txn(request, timeout=5).succeeded
    assert queue_of(own_etcd) == []
    assert win(backend, attempt_at(name="c"))
    backend.close()
    assert keys_of(own_etcd) == []


def test_an_attempt_that_asks_again_after_such_a_release_has_a_term_of_its_own(
    own_etcd: EtcdServer,
) -> None:
    with Proxy(own_etcd.port) as proxy:
        backend = backend_at(own_etcd.url_at(proxy.port), timeout=0.5)
        proxy.drop_replies(after=b"payload of a")
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        proxy.pass_on()
        _until_answered(lambda: backend.release(attempt_at()))
        assert keys_of(own_etcd) == ["leaderlock/~/a"]
        assert win(backend, attempt_at())
        assert keys_of(own_etcd) == ["leaderlock/e/a"]
        backend.close()


def test_an_elector_stopped_while_the_server_was_frozen_leaves_no_orphan(
    own_etcd: EtcdServer,
) -> None:
    with connect(own_etcd.url, ttl=6) as client, client.elector("other") as leader:
        assert leader.wait_elected(20)
        given_up = client.elector("e")
        own_etcd.freeze()
        given_up.start()
        eventually(lambda: "campaign" in given_up._candidate.outages.failing)
        given_up.stop(0.1)
        own_etcd.thaw()
        with elector_at(own_etcd.url) as heir:
            assert heir.wait_elected(2.0), "an orphan blocks the election"


def test_a_lost_reply_to_the_grant_leaves_one_lease(own_etcd: EtcdServer) -> None:
    with Proxy(own_etcd.port) as proxy:
        backend = backend_at(own_etcd.url_at(proxy.port), timeout=0.5)
        number = backend._lease._next
        proxy.drop_replies(after=rpc.LeaseGrantRequest(TTL=30, ID=number).SerializeToString())
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        assert leases_of(own_etcd) == [number]
        proxy.pass_on()
        eventually(lambda: _token(backend, attempt_at()))
        assert leases_of(own_etcd) == [number]
        backend.close()
    assert leases_of(own_etcd) == []


def test_a_term_needs_both_proofs_from_one_raft_term(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deposed server may keep leases alive that nobody else has heard of (etcd#15247)."""
    backend = backend_at(own_etcd.url)
    win(backend, attempt_at())
    original = Talk.ask

    def ask(self: Talk, verb: str, request: Any, **options: Any) -> Any:
        answer = original(self, verb, request, **options)
        if verb == "keep_alive":
            answer.header.raft_term -= 1
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Talk, "ask", ask)
        with pytest.raises(BackendUnavailable, match="another leader"):
            backend.renew([attempt_at()])
        with pytest.raises(BackendUnavailable, match="another leader"):
            backend.campaign(attempt_at())
    assert win(backend, attempt_at())
    backend.close()


def test_what_was_heard_from_an_earlier_leader_of_etcds_proves_no_term(
    own_etcd: EtcdServer,
) -> None:
    backend = backend_at(own_etcd.url, ttl=600.0, timeout=60.0)  # what was heard is not too old
    win(backend, attempt_at())
    own_etcd.restart()  # which makes it the leader of another raft term
    with pytest.raises(BackendUnavailable, match="another leader"):
        _while_unavailable(lambda: backend.campaign(attempt_at("f")))
    assert win(backend, attempt_at("g")), "it goes on to rely on it"
    backend.close()


def test_many_attempts_are_proved_in_few_requests(own_etcd: EtcdServer) -> None:
    """etcd takes 128 operations in one (--max-txn-ops)."""
    backend = backend_at(own_etcd.url)
    attempts = [attempt_at(f"e{number}", f"a{number}") for number in range(300)]
    for attempt in attempts:
        win(backend, attempt)
    delete(own_etcd, "leaderlock/e200/a200")
    with asked() as requests:
        renewed = backend.renew(attempts)
    assert [verb for verb, _ in requests] == ["keep_alive", "txn", "txn", "txn"]
    taken = [key for key, outcome in renewed.outcomes.items() if outcome is not Renewal.RENEWED]
    assert taken == ["a200"] and len(renewed.outcomes) == 300
    assert len(leases_of(own_etcd)) == 1
    backend.close()


def test_what_has_its_proof_is_renewed_though_the_rest_got_no_answer(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_at(own_etcd.url)
    attempts = [attempt_at(f"e{number}", f"a{number}") for number in range(130)]
    for attempt in attempts:
        win(backend, attempt)
    original, txns = Talk.txn, []

    def txn(self: Talk, **parts: Any) -> Any:
        txns.append(parts)
        if len(txns) == 2:
            raise BackendUnavailable("the test cut the connection")
        return original(self, **parts)

    monkeypatch.setattr(Talk, "txn", txn)
    assert set(backend.renew(attempts).outcomes) == {f"a{number}" for number in range(128)}
    backend.close()


def test_the_ttl_is_rounded_up_to_what_etcd_grants(own_etcd: EtcdServer) -> None:
    for ttl, granted_ttl in (2.0, 2.0), (2.5, 3.0), (1.0, 2.0):
        backend = backend_at(own_etcd.url, ttl=ttl)
        granted = backend.campaign(attempt_at())
        assert isinstance(granted, Granted) and granted.ttl == granted_ttl
        assert backend.renew([attempt_at()]).ttl == granted_ttl
        backend.close()


def test_a_grant_counts_from_before_the_keep_alive(own_etcd: EtcdServer) -> None:
    backend = backend_at(own_etcd.url)
    clock = FakeClock()
    object.__setattr__(backend.settings, "clock", clock)
    win(backend, attempt_at())
    original, moved = Talk.ask, []

    def ask(self: Talk, verb: str, request: Any, **options: Any) -> Any:
        clock.advance(1.0)
        moved.append(verb)
        return original(self, verb, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Talk, "ask", ask)
        for call in (lambda: backend.campaign(attempt_at()), lambda: backend.renew([attempt_at()])):
            clock.advance(backend.settings.request_timeout)  # what was heard is too old
            before = clock.now()
            answer = call()
            assert isinstance(answer, Waiting) is False and answer.sent_at == before  # type: ignore[union-attr]
    backend.close()


def test_a_term_begins_with_what_was_heard_not_long_before(own_etcd: EtcdServer) -> None:
    """It has two thirds of its belief at least, as terms have when a heartbeat is due."""
    backend = backend_at(own_etcd.url, timeout=2.0)
    clock = FakeClock()
    object.__setattr__(backend.settings, "clock", clock)
    names = iter("bcdefg")

    def elect(waiting: Attempt | None = None) -> tuple[list[str], Any]:
        """The requests, and how old the proof is."""
        with asked() as requests:
            granted = backend.campaign(waiting or attempt_at(name := next(names), name))
        assert isinstance(granted, Granted) and granted.sent_at is not None
        return [verb for verb, _ in requests], clock.now() - granted.sent_at

    assert elect() == (["grant", "txn"], 0.0)
    clock.advance(0.9)
    assert elect() == (["txn"], pytest.approx(0.9))
    clock.advance(0.2)  # more than half a request_timeout after the grant
    assert elect() == (["keep_alive", "txn"], 0.0)

    win(backend, attempt_at())
    waiting = [attempt_at(name=name) for name in "xy"]
    for attempt in waiting:
        assert isinstance(backend.campaign(attempt), Waiting)
    backend.renew(waiting)
    backend.release(attempt_at())
    clock.advance(1.9)  # heartbeats go on, for whoever waits
    assert elect(waiting[0]) == (["txn"], pytest.approx(1.9))
    backend.release(waiting[0])
    clock.advance(0.2)
    assert elect(waiting[1]) == (["keep_alive", "txn"], 0.0)
    backend.close()


# Keys and leases


def test_an_operator_who_ends_a_term_ends_it_for_its_leader_and_the_token_rises(
    own_etcd: EtcdServer,
) -> None:
    record = Record()
    with elector_at(own_etcd.url, record):
        record.wait("elected")
        delete(own_etcd, queue_of(own_etcd)[0])
        record.wait("elected", 2)
        revoke_all(own_etcd)
        record.wait("elected", 3)
    tokens = record.of("elected")
    assert tokens == sorted(set(tokens)), f"{tokens} do not rise"  # type: ignore[type-var]
    assert record.of("lost")[:2] == [LossReason.TAKEN, LossReason.SESSION_LOST]


def test_the_death_of_the_lease_is_told_to_all_its_attempts(own_etcd: EtcdServer) -> None:
    """etcd says so with a ttl of 0, not with an error (python-etcd3, tooz LP#1975524)."""
    backend = backend_at(own_etcd.url)
    attempts = [attempt_at("e1", "a"), attempt_at("e2", "b"), attempt_at("e1", "c")]
    for attempt in attempts:
        backend.campaign(attempt)
    revoke_all(own_etcd)
    assert backend.renew(attempts).outcomes == dict.fromkeys("abc", Renewal.SESSION_LOST)
    assert win(backend, attempt_at("e1", "d"))  # under a new lease
    assert backend.renew(attempts).outcomes == dict.fromkeys("abc", Renewal.SESSION_LOST)
    assert backend.renew([attempt_at("e1", "d")]).outcomes == {"d": Renewal.RENEWED}
    assert isinstance(backend.campaign(attempts[2]), Waiting), "it queues anew, behind the leader"
    assert queue_of(own_etcd, "e1") == ["leaderlock/e1/d", "leaderlock/e1/c"]
    backend.close()


@pytest.mark.parametrize(
    "write", [{"value": encode("me")}, {"value": encode("me"), "ignore_lease": True}]
)
def test_what_others_write_to_a_leaders_key_ends_its_term(
    own_etcd: EtcdServer, write: dict[str, Any]
) -> None:
    """A plain put takes the key off its lease: it would stay when everybody is gone."""
    record = Record()
    with elector_at(own_etcd.url, record), elector_at(own_etcd.url, record):
        record.wait("elected")
        eventually(lambda: len(queue_of(own_etcd)) == 2)
        own_etcd.call("kv/put", {"key": encode(queue_of(own_etcd)[0]), **write})
        record.wait("elected", 2)
        assert record.kinds()[:3] == ["elected", "lost", "elected"]
        assert record.of("lost") == [LossReason.TAKEN]
    assert keys_of(own_etcd) == []


def test_what_others_write_to_a_waiters_key_costs_it_its_place(own_etcd: EtcdServer) -> None:
    backend = backend_at(own_etcd.url)
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b"))
    backend.campaign(attempt_at(name="c"))
    own_etcd.call("kv/put", {"key": encode("leaderlock/e/b"), "value": encode("me")})
    assert backend.renew([attempt_at(name="b")]).outcomes == {"b": Renewal.TAKEN}
    assert isinstance(backend.campaign(attempt_at(name="b")), Waiting)
    assert queue_of(own_etcd) == [f"leaderlock/e/{name}" for name in "acb"]
    backend.close()


@pytest.mark.parametrize("owner", ["nobody", "a leader that died"])
def test_a_key_that_nobody_keeps_does_not_block_the_queue_for_ever(
    own_etcd: EtcdServer, owner: str
) -> None:
    if owner == "nobody":
        own_etcd.call("kv/put", {"key": encode("leaderlock/e/stray"), "value": encode("me")})
    else:
        dead = backend_at(own_etcd.url)
        win(dead, attempt_at(name="dead"))
        own_etcd.call("kv/put", {"key": encode("leaderlock/e/dead"), "value": encode("me")})
        dead.close()
    assert len(queue_of(own_etcd)) == 1
    with backend_closed(own_etcd) as backend:
        reading = backend.leader("e")
        assert reading.payload is None, "it is shown as a leader"
        began = time.monotonic()
        for _ in range(3):
            assert isinstance(backend.campaign(attempt_at()), Waiting)
        assert len(queue_of(own_etcd)) == 2, "it was removed at once"
    with elector_at(own_etcd.url) as elector:
        assert elector.wait_elected(20)
        assert time.monotonic() - began > TTL, "it may have been the key of a living leader"


def backend_closed(server: EtcdServer) -> Any:
    return contextlib.closing(backend_at(server.url, ttl=TTL))


def test_a_waiter_whose_key_or_lease_is_gone_queues_anew(own_etcd: EtcdServer) -> None:
    """Neither a zombie that waits for ever, nor a phantom that leads (etcd#19597, #11777)."""
    record = Record()
    with elector_at(own_etcd.url) as leader:
        assert leader.wait_elected(20)
        with elector_at(own_etcd.url, record) as waiter:
            for harm in delete, _revoke:
                eventually(lambda: len(queue_of(own_etcd)) == 2)
                own = queue_of(own_etcd)[1]
                harm(own_etcd, own)
                eventually(lambda: len(queue_of(own_etcd)) == 2, "it does not queue anew")
                assert own not in queue_of(own_etcd)
                assert not waiter.is_leader and leader.is_leader
            leader.stop()
            assert waiter.wait_elected(5)
            assert len(queue_of(own_etcd)) == 1
    assert record.kinds() == ["elected", "lost"]


def test_close_leaves_nothing(own_etcd: EtcdServer) -> None:
    backend, other = backend_at(own_etcd.url), backend_at(own_etcd.url)
    win(backend, attempt_at())
    win(other, attempt_at("other", "x"))
    backend.campaign(attempt_at(name="b"))
    backend.close()
    assert keys_of(own_etcd) == ["leaderlock/other/x"] and len(leases_of(own_etcd)) == 1
    other.close()


def test_200_terms_and_20_clients_leave_nothing(own_etcd: EtcdServer) -> None:
    backend = backend_at(own_etcd.url)
    _terms(backend, 5)
    before = _files(), set(threading.enumerate()), watchers_of(own_etcd), leases_of(own_etcd)
    _terms(backend, 200)
    eventually(lambda: watchers_of(own_etcd) == before[2])
    assert keys_of(own_etcd) == [] and leases_of(own_etcd) == before[3]
    assert set(threading.enumerate()) == before[1] and _files() <= before[0]
    for _ in range(20):
        another = backend_at(own_etcd.url)
        _terms(another, 1)
        another.close()
    eventually(lambda: set(threading.enumerate()) <= before[1] and _files() <= before[0])
    assert leases_of(own_etcd) == before[3]
    backend.close()


def test_keys_move_to_a_lease_that_no_earlier_leader_of_etcds_knows(own_etcd: EtcdServer) -> None:
    """One that was paused revokes what it takes for expired when it comes back (etcd#15247)."""
    backend, woken = backend_at(own_etcd.url), threading.Event()
    attempts = [attempt_at(name="a"), attempt_at(name="b", wake=woken.set)]
    attempts += [attempt_at(f"e{number}", f"c{number}") for number in range(150)]
    tokens = [backend.campaign(attempt) for attempt in attempts]
    (old,) = leases_of(own_etcd)
    backend.renew(attempts)
    assert leases_of(own_etcd) == [old], "it moves for no reason"
    own_etcd.restart()  # which makes it the leader of another raft term
    eventually(lambda: _renewed(backend, attempts))
    assert woken.wait(10)  # the stream broke
    own_etcd.call("lease/revoke", {"ID": old})
    with asked() as requests:
        assert _renewed(backend, attempts)
    assert [verb for verb, _ in requests] == ["keep_alive", "txn", "txn"]
    again = backend.campaign(attempts[0])
    assert isinstance(again, Granted) and again.token == tokens[0].token  # type: ignore[union-attr]
    assert isinstance(backend.campaign(attempts[1]), Waiting)
    assert queue_of(own_etcd) == ["leaderlock/e/a", "leaderlock/e/b"]
    backend.close()
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])


def test_a_lost_reply_to_such_a_move_costs_nothing(own_etcd: EtcdServer) -> None:
    with Proxy(own_etcd.port) as proxy:
        backend = backend_at(own_etcd.url_at(proxy.port), timeout=0.5)
        token = win(backend, attempt_at())
        (old,) = leases_of(own_etcd)
        own_etcd.restart()
        proxy.drop_replies(after=b"payload of a")
        eventually(lambda: _renewed(backend, [attempt_at()]) and proxy.fault is not Fault.NONE)
        assert len(leases_of(own_etcd)) == 2, "it was not the reply to a move that was lost"
        proxy.pass_on()
        for _ in range(2):
            eventually(lambda: _renewed(backend, [attempt_at()]))
        own_etcd.call("lease/revoke", {"ID": old})
        assert _renewed(backend, [attempt_at()])
        assert win(backend, attempt_at()) == token
        backend.close()
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])


def test_what_could_not_be_released_runs_out_though_its_lease_served_others(
    own_etcd: EtcdServer,
) -> None:
    """The core gives up when the longest lease is over, or at once if etcd refuses."""
    with Proxy(own_etcd.port) as proxy:
        backend = backend_at(own_etcd.url_at(proxy.port), ttl=TTL, timeout=0.5)
        kept, given_up = attempt_at("other", "b"), attempt_at()
        token = win(backend, kept)
        win(backend, given_up)
        proxy.reset()
        with pytest.raises(BackendUnavailable):
            backend.release(given_up)
        proxy.pass_on()
        assert queue_of(own_etcd) == ["leaderlock/e/a"], "it was released after all"
        eventually(lambda: _renewed(backend, [kept]) and not queue_of(own_etcd))
        assert win(backend, kept) == token
        backend.close()
    assert (keys_of(own_etcd), leases_of(own_etcd)) == ([], [])


# Watches


def test_only_the_next_in_the_queue_is_woken(own_etcd: EtcdServer) -> None:
    backend = backend_at(own_etcd.url)
    win(backend, attempt_at())
    woken = [threading.Event(), threading.Event(), threading.Event()]
    for number, event in enumerate(woken):
        backend.campaign(attempt_at(name=f"w{number}", wake=event.set))
    eventually(lambda: watchers_of(own_etcd) == 3)
    backend.release(attempt_at())
    assert woken[0].wait(10)
    time.sleep(0.2)
    assert not woken[1].is_set() and not woken[2].is_set(), "the whole herd was woken"
    backend.close()


def test_watches_of_nobody_are_cancelled(own_etcd: EtcdServer) -> None:
    backend = backend_at(own_etcd.url)
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b"))
    unwatch = backend.watch("other", lambda: None)
    eventually(lambda: watchers_of(own_etcd) == 2)
    unwatch()
    backend.release(attempt_at(name="b"))
    eventually(lambda: watchers_of(own_etcd) == 0)
    assert our_threads() == ["leaderlock-etcd-watch"]
    backend.close()
    assert our_threads() == []


def test_watches_are_made_anew_after_the_stream_has_broken(own_etcd: EtcdServer) -> None:
    """etcd3's are not, and nobody is told (python-etcd3#1227)."""
    with Proxy(own_etcd.port) as proxy:
        other, backend = backend_at(own_etcd.url), backend_at(own_etcd.url_at(proxy.port))
        woken, seen = threading.Event(), threading.Event()
        win(other, attempt_at())
        backend.campaign(attempt_at(name="b", wake=woken.set))
        backend.watch("e", seen.set)
        assert seen.wait(10)
        for fault in (proxy.reset, own_etcd.restart):
            woken.clear()
            seen.clear()
            fault()
            proxy.pass_on()
            assert woken.wait(10) and seen.wait(10), "nobody was woken after the gap"
        time.sleep(0.3)
        woken.clear()
        seen.clear()
        time.sleep(0.3)
        assert not woken.is_set() and not seen.is_set(), "woken, though nothing happened"
        other.release(attempt_at())
        assert woken.wait(10) and seen.wait(10)
        backend.close()
        other.close()


def test_a_stream_that_is_dead_in_silence_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By gRPC's pings, which need all three options: otherwise it takes more than a minute."""
    times = ("keepalive_time_ms", "keepalive_timeout_ms", "http2.ping_timeout_ms")
    for name in times:
        assert 0 < target_module._CHANNEL[f"grpc.{name}"] <= 10_000
        monkeypatch.setitem(target_module._CHANNEL, f"grpc.{name}", 400)
    often = ("--grpc-keepalive-min-time=100ms",)
    with EtcdServer(arguments=often) as server, Proxy(server.port) as proxy:
        backend, seen = backend_at(server.url_at(proxy.port)), threading.Event()
        backend.watch("e", seen.set)
        assert seen.wait(10)
        seen.clear()
        proxy.hold()
        eventually(lambda: backend._watcher._stream is None, "the stream is still taken for alive")
        proxy.reset()
        proxy.pass_on()
        assert seen.wait(10)
        backend.close()


def test_a_server_that_is_gone_is_not_asked_without_a_pause(own_etcd: EtcdServer) -> None:
    """etcd3's watcher takes all of the processor (python-etcd3#291)."""
    backend, seen = backend_at(own_etcd.url), threading.Event()
    backend.watch("e", seen.set)
    assert seen.wait(10)
    own_etcd.kill()
    began = time.process_time()
    time.sleep(1.5)
    assert time.process_time() - began < 0.3
    seen.clear()
    own_etcd.start()
    assert seen.wait(15)
    backend.close()


def test_a_fault_of_the_watcher_ends_no_watch(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    follow, faults = Watcher._follow, [LookupError("a fault")]

    def follow_badly(self: Watcher, backoff: Backoff) -> None:
        if faults:
            raise faults.pop()
        follow(self, backoff)

    monkeypatch.setattr(Watcher, "_follow", follow_badly)
    backend, woken = backend_at(own_etcd.url), threading.Event()
    backend.watch("e", woken.set)
    eventually(woken.is_set)
    woken.clear()
    win(backend, attempt_at())
    eventually(woken.is_set)
    assert "a fault" in caplog.text
    backend.close()


def test_without_a_thread_nobody_is_watched_until_there_is_one(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, woken = backend_at(own_etcd.url), threading.Event()

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(BackendUnavailable, match="can't start new thread"):
            backend.watch("e", woken.set)
    assert not backend._watcher._watches
    backend.watch("e", woken.set)
    eventually(woken.is_set)
    backend.close()


def test_a_compaction_costs_no_wake(own_etcd: EtcdServer) -> None:
    backend, woken = backend_at(own_etcd.url), threading.Event()
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b", wake=woken.set))
    for number in range(20):
        own_etcd.call("kv/put", {"key": encode("x"), "value": encode(str(number))})
    revision = int(own_etcd.call("kv/range", {"key": encode("x")})["header"]["revision"])
    own_etcd.call("kv/compaction", {"revision": revision})
    backend.release(attempt_at())
    assert woken.wait(10)
    # From a revision that is not there any more: it was away for longer.
    late = threading.Event()
    backend._watcher.watch(b"leaderlock/e/a", b"", late.set, since=2)
    assert late.wait(10), "a watch that was compacted away waits for ever (patroni#3426)"
    assert win(backend, attempt_at(name="b"))
    backend.close()


def test_a_release_before_the_watch_begins_is_heard(own_etcd: EtcdServer) -> None:
    backend, woken = backend_at(own_etcd.url), threading.Event()
    win(backend, attempt_at())
    original = backend._watcher.watch

    def watch(*args: Any, **options: Any) -> Any:
        backend_at_once.release(attempt_at())
        return original(*args, **options)

    backend_at_once = backend
    backend._watcher.watch = watch  # type: ignore[method-assign]
    assert isinstance(backend.campaign(attempt_at(name="b", wake=woken.set)), Waiting)
    assert woken.wait(10)
    backend.close()


# The server


def test_the_term_is_lost_on_time_while_the_server_is_frozen(own_etcd: EtcdServer) -> None:
    record = Record()
    with elector_at(own_etcd.url, record) as elector:
        record.wait("elected")
        own_etcd.freeze()
        began = time.monotonic()
        record.wait("lost")
        assert time.monotonic() - began < elector.timing.belief_window + 1.0
        assert record.of("lost") == [LossReason.EXPIRED]
        time.sleep(TTL)
        own_etcd.thaw()
        record.wait("elected", 2)
    first, second = record.of("elected")
    assert second > first  # type: ignore[operator]
    assert keys_of(own_etcd) == []


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_leader_keeps_its_term_over_a_restart_that_keeps_the_data(
    own_etcd: EtcdServer, how: str
) -> None:
    record = Record()
    with elector_at(own_etcd.url, record, ttl=10) as elector:
        record.wait("elected")
        if how == "restart":
            own_etcd.restart()
        else:
            own_etcd.kill()
            own_etcd.start()
        time.sleep(elector.timing.heartbeat + 0.5)
        assert elector.is_leader and record.kinds() == ["elected"]


def test_stop_returns_in_time_when_the_server_is_gone(own_etcd: EtcdServer) -> None:
    leader, waiter = elector_at(own_etcd.url), elector_at(own_etcd.url)
    for end in own_etcd.freeze, own_etcd.kill:
        leader.start()
        assert leader.wait_elected(20)
        waiter.start()
        end()
        for elector in leader, waiter:
            with lasts_at_most(0.3):
                elector.stop(0.3)
        if own_etcd.running:
            own_etcd.thaw()


def test_an_election_that_is_full_of_keys_does_not_stop_leaders() -> None:
    """A store without space renews leases and takes no new keys."""
    with EtcdServer(arguments=("--quota-backend-bytes=200000",)) as server:
        record = Record()
        with elector_at(server.url, record) as elector:
            record.wait("elected")
            eventually(lambda: _is_full(server))
            backend = backend_at(server.url)
            with pytest.raises(BackendUnavailable, match="space"):
                backend.campaign(attempt_at())
            backend.close()
            time.sleep(1.5 * TTL)
            assert elector.is_leader and record.kinds() == ["elected"]


def _renewed(backend: Any, attempts: Any, count: int | None = None) -> bool:
    try:
        outcomes = backend.renew(attempts).outcomes
    except BackendUnavailable:
        return False
    assert set(outcomes.values()) <= {Renewal.RENEWED}, outcomes
    return len(outcomes) == (len(attempts) if count is None else count)


def _is_full(server: EtcdServer) -> bool:
    try:
        server.call("kv/put", {"key": encode(uuid.uuid4().hex), "value": "A" * 20_000})
        return False
    except Refusal as error:
        return "space" in str(error)


def _token(backend: Any, attempt: Any) -> int:
    try:
        answer = backend.campaign(attempt)
    except BackendUnavailable:
        return 0
    return answer.token if isinstance(answer, Granted) else 0


def _until_answered(call: Any) -> None:
    def answered() -> bool:
        try:
            call()
            return True
        except BackendUnavailable:
            return False

    eventually(answered)


def _while_unavailable(call: Any) -> None:
    """The first error that is not about the connection."""

    def answered() -> bool:
        try:
            call()
            return True
        except BackendUnavailable as error:
            if "another leader" in str(error):
                raise
            return False

    eventually(answered)


def _revoke(server: EtcdServer, key: str) -> None:
    (kv,) = server.call("kv/range", {"key": encode(key)})["kvs"]
    server.call("lease/revoke", {"ID": kv["lease"]})


def _terms(backend: Any, count: int) -> None:
    for number in range(count):
        leader, waiter = attempt_at(name=f"l{number}"), attempt_at(name=f"w{number}")
        win(backend, leader)
        backend.campaign(waiter)
        backend.release(leader)
        win(backend, waiter)
        backend.release(waiter)


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
