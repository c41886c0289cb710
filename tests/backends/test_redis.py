"""redis:// on real servers: what goes wrong with requests, keys, servers and processes.

Most tests switch the quarantine off, because their server is young; the last ones are about it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    LeaderElector,
    LossReason,
    connect,
)
from leaderlock.backends.base import Granted, Renewal, Settings, Waiting
from leaderlock.backends.redis import RedisBackend
from leaderlock.backends.redis import backend as backend_module
from leaderlock.backends.redis import waiting as waiting_module
from leaderlock.backends.redis.target import target_of
from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing import FakeClock
from leaderlock.testing.servers.proxy import Proxy
from leaderlock.testing.servers.redis import RedisServer, ValkeyServer
from leaderlock.url import StoreURL
from tests.backends.redis_tools import (
    OF_CAMPAIGNS,
    TTL,
    backend_at,
    elector_at,
    keys_of,
    prepare,
    scripts_run,
)
from tests.backends.store_peer import Peer
from tests.backends.tools import attempt_at, win
from tests.elector.tools import Record, eventually, lasts_at_most, our_threads

# Requests


def test_a_lost_reply_to_the_winning_campaign_costs_nothing(own_redis: RedisServer) -> None:
    """And it is sent once: redis-py would send it again (redis-py#3559)."""
    with Proxy(own_redis.port) as proxy:
        backend = backend_at(own_redis.url_at(proxy.port), timeout=1.0)
        prepare(backend)
        before = scripts_run(own_redis)
        proxy.drop_replies(after=OF_CAMPAIGNS)
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        assert scripts_run(own_redis) - before == 1
        token = own_redis.call("HGET", "{leaderlock:e}:leader", "token")
        proxy.pass_on()
        assert win(backend, attempt_at()) == int(str(token))
        assert isinstance(backend.campaign(attempt_at(name="b")), Waiting)
        backend.release(attempt_at())
        backend.close()
    assert "{leaderlock:e}:leader" not in keys_of(own_redis)


def test_an_elector_whose_winning_reply_was_lost_leads_once(own_redis: RedisServer) -> None:
    record = Record()
    with contextlib.closing(backend_at(own_redis.url)) as another:
        prepare(another)
    with Proxy(own_redis.port) as proxy:
        proxy.drop_replies(after=OF_CAMPAIGNS)
        with elector_at(own_redis.url_at(proxy.port), record):
            eventually(lambda: "{leaderlock:e}:leader" in keys_of(own_redis))
            token = own_redis.call("HGET", "{leaderlock:e}:leader", "token")
            proxy.pass_on()
            record.wait("elected")
            # More if its lease had run out before it was heard of.
            assert record.of("elected")[0] >= int(str(token))  # type: ignore[operator]
    assert record.kinds() == ["elected", "lost"]
    assert "{leaderlock:e}:leader" not in keys_of(own_redis)


@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
def test_a_server_that_has_forgotten_the_scripts_is_told_again(kind: type[RedisServer]) -> None:
    with kind() as server, contextlib.closing(backend_at(server.url)) as backend:
        for _ in range(3):
            server.call("SCRIPT", "FLUSH")
            win(backend, attempt_at())
            server.call("SCRIPT", "FLUSH")
            backend.release(attempt_at())
            assert backend.leader("e").payload is None
        before = scripts_run(server)
        win(backend, attempt_at())
        backend.release(attempt_at())
        assert scripts_run(server) - before == 3, "what it knows is sent in full all the same"


def test_a_campaign_carried_out_late_elects_nobody(own_redis: RedisServer) -> None:
    """The client has given up and said so, the request still lies in the server's buffers."""
    backend = backend_at(own_redis.url)
    backend.campaign(attempt_at("warm up"))
    own_redis.freeze()
    with pytest.raises(BackendUnavailable):
        backend.campaign(attempt_at())
    own_redis.thaw()
    backend.release(attempt_at())
    # The buffers of a test are empty by now: send it once more.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_module, "_RETIRED_MS", 0)
        late = backend.campaign(attempt_at())
    assert isinstance(late, Waiting) and late.retry_after is not None and late.retry_after > 30
    assert keys_of(own_redis).count("{leaderlock:e}:leader") == 0
    assert isinstance(backend.campaign(attempt_at(name="b")), Granted)
    backend.close()


def test_what_is_kept_of_attempts_ends_also_when_no_release_is_answered(
    own_redis: RedisServer,
) -> None:
    """The core asks for one until the lease is over, and the store may be dead for longer."""
    clock = FakeClock()
    settings = Settings(ttl=30.0, request_timeout=0.3, clock=clock)
    backend = RedisBackend(target_of(StoreURL.parse(own_redis.url)), settings)
    own_redis.kill()
    for number in range(20):
        attempt = attempt_at(name=str(number))
        with pytest.raises(BackendUnavailable):
            backend.campaign(attempt)
        with pytest.raises(BackendUnavailable):
            backend.release(attempt)
        clock.advance(10.0)
    assert 3 <= len(backend._unanswered) <= 10
    assert not backend._subscriber._waiting
    backend.close()


@pytest.mark.parametrize("number", ["nan", "inf", "1e300", "9223372036854775807"])
def test_a_fence_that_is_no_token_elects_nobody(own_redis: RedisServer, number: str) -> None:
    own_redis.call("SET", "{leaderlock:e}:fence", number)
    backend = backend_at(own_redis.url)
    with pytest.raises(BackendRefused, match="fence"):
        backend.campaign(attempt_at())
    assert keys_of(own_redis) == ["{leaderlock:e}:fence"]
    backend.close()


def test_a_user_who_may_not_set_an_expiry_leaves_no_key_without_one() -> None:
    with RedisServer(users=["app on >x ~* &* +@all -pexpire"]) as server:
        backend = backend_at(f"redis://app:x@127.0.0.1:{server.port}")
        with pytest.raises(BackendRefused):
            backend.campaign(attempt_at())
        assert keys_of(server) == ["{leaderlock:e}:fence"]
        backend.close()


def test_an_elector_stopped_while_the_server_was_frozen_leaves_no_orphan(
    own_redis: RedisServer,
) -> None:
    with connect(own_redis.url, ttl=TTL, quarantine=False) as client:
        leader = client.elector("other")
        with leader:
            assert leader.wait_elected(20)
            given_up = client.elector("e")
            own_redis.freeze()
            given_up.start()
            eventually(lambda: "campaign" in given_up._candidate.outages.failing)
            given_up.stop(0.1)
            own_redis.thaw()
            heir = elector_at(own_redis.url)
            with heir:
                assert heir.wait_elected(1.0), "an orphan blocks the election"


def test_every_step_of_a_call_has_one_deadline(own_redis: RedisServer) -> None:
    """Connecting takes five round trips: each within the time is not all within the time."""
    with Proxy(own_redis.port) as proxy:
        backend = backend_at(own_redis.url_at(proxy.port), timeout=0.5)
        proxy.delay(0.12)
        with lasts_at_most(0.5), pytest.raises(BackendUnavailable):
            backend.campaign(attempt_at())
        proxy.hold()
        with lasts_at_most(0.5), pytest.raises(BackendUnavailable):
            backend.leader("e")
        backend.close()


@pytest.mark.parametrize(("setting", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_server_that_cannot_write_now_is_unavailable(
    own_redis: RedisServer, setting: str, value: str
) -> None:
    backend = backend_at(own_redis.url)
    own_redis.call("CONFIG", "SET", setting, value)
    with pytest.raises(BackendUnavailable, match="cannot do it now"):
        backend.campaign(attempt_at())
    own_redis.call("CONFIG", "SET", setting, "0")
    assert win(backend, attempt_at())
    backend.close()


def test_a_connection_that_the_server_has_closed_is_not_used(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    token = win(backend, attempt_at())
    own_redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert win(backend, attempt_at()) == token
    own_redis.restart()
    assert win(backend, attempt_at()) == token
    backend.close()


# Keys


def test_an_operator_who_deletes_the_key_ends_the_term_and_the_token_rises(
    own_redis: RedisServer,
) -> None:
    record = Record()
    with elector_at(own_redis.url, record) as elector:
        for ways, command in enumerate((["DEL", "{leaderlock:e}:leader"], ["FLUSHALL"]), start=1):
            record.wait("elected", ways)
            own_redis.call(*command)
            record.wait("lost", ways)
        assert elector.wait_elected(20)
    tokens = record.of("elected")
    assert tokens == sorted(set(tokens)), f"{tokens} do not rise"  # type: ignore[type-var]
    assert record.of("lost")[:2] == [LossReason.TAKEN] * 2


def test_the_token_rises_also_when_the_servers_clock_was_set_back(own_redis: RedisServer) -> None:
    """As far as the counter is there: here it is ahead of the clock."""
    backend, ahead = backend_at(own_redis.url), 2**52
    own_redis.call("SET", "{leaderlock:e}:fence", str(ahead))
    assert backend.leader("e").token == ahead
    for term in 1, 2:
        assert win(backend, attempt_at()) == ahead + term
        backend.release(attempt_at())
    backend.close()


def test_a_waiter_is_woken_when_the_leader_notices_that_its_key_was_deleted(
    own_redis: RedisServer,
) -> None:
    """Long before the lease that it has seen would have run out."""
    backend, woken = backend_at(own_redis.url), threading.Event()
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b", wake=woken.set))
    assert woken.wait(10)
    woken.clear()
    own_redis.call("DEL", "{leaderlock:e}:leader")
    assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.TAKEN}
    backend.release(attempt_at())  # as the core does after a loss
    assert woken.wait(10)
    backend.close()


@pytest.mark.parametrize(
    "write",
    [
        ["SET", "{leaderlock:e}:leader", "me"],
        ["HSET", "{leaderlock:e}:leader", "who", "me"],
        ["SET", "{leaderlock:e}:fence", "no number"],
        ["LPUSH", "{leaderlock:e}:fence", "no number"],
    ],
)
def test_what_others_write_to_the_keys_is_refused_and_left_alone(
    own_redis: RedisServer, write: list[str]
) -> None:
    backend = backend_at(own_redis.url)
    win(backend, attempt_at())
    win(backend, attempt_at("other", "b"))
    own_redis.call("DEL", "{leaderlock:e}:leader", "{leaderlock:e}:fence")
    own_redis.call(*write)
    outcomes = backend.renew([attempt_at(), attempt_at("other", "b")]).outcomes
    assert outcomes == {"a": Renewal.TAKEN, "b": Renewal.RENEWED}
    backend.release(attempt_at())
    with pytest.raises(BackendRefused, match="something else has written"):
        backend.campaign(attempt_at())
    assert write[1] in keys_of(own_redis)
    backend.close()


def test_a_foreign_leader_is_not_shown(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    own_redis.call("SET", "{leaderlock:e}:leader", "me")
    with pytest.raises(BackendRefused, match="something else has written"):
        backend.leader("e")
    own_redis.call("DEL", "{leaderlock:e}:leader")
    for fields in ("id", "x"), ("token", "y", "meta", "z"):
        own_redis.call("HSET", "{leaderlock:e}:leader", *fields)
        with pytest.raises(BackendRefused, match="something else has written"):
            backend.leader("e")
    backend.close()


def test_a_lease_that_ends_early_is_a_term_that_is_lost(own_redis: RedisServer) -> None:
    """What a step of the server's wall clock does, seen from outside."""
    record = Record()
    with elector_at(own_redis.url, record):
        record.wait("elected")
        own_redis.call("PEXPIRE", "{leaderlock:e}:leader", "1")
        record.wait("lost")
        assert record.of("lost") == [LossReason.TAKEN]


def test_a_lease_without_an_end_does_not_stop_the_asking(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url, ttl=3)
    win(backend, attempt_at())
    own_redis.call("PERSIST", "{leaderlock:e}:leader")
    waiting = backend.campaign(attempt_at(name="b"))
    assert isinstance(waiting, Waiting) and waiting.retry_after and waiting.retry_after < 4
    reading = backend.leader("e")
    assert reading.recheck_after == 3
    backend.close()


# Servers


def test_the_term_is_lost_on_time_while_the_server_is_frozen(own_redis: RedisServer) -> None:
    record = Record()
    with elector_at(own_redis.url, record) as elector:
        record.wait("elected")
        own_redis.freeze()
        began = time.monotonic()
        record.wait("lost")
        assert time.monotonic() - began < elector.timing.belief_window + 1.0
        assert record.of("lost") == [LossReason.EXPIRED]
        own_redis.thaw()
        record.wait("elected", 2)
    first, second = record.of("elected")
    assert second > first  # type: ignore[operator]


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_leader_keeps_its_term_over_a_restart_that_keeps_the_data(
    own_redis: RedisServer, how: str
) -> None:
    record = Record()
    with elector_at(own_redis.url, record, ttl=6) as elector:
        record.wait("elected")
        if how == "restart":
            own_redis.restart()
        else:
            own_redis.kill()
            own_redis.start()
        time.sleep(2 * elector.timing.heartbeat)
        assert elector.is_leader and record.kinds() == ["elected"]


def test_stop_returns_in_time_when_the_server_is_gone(own_redis: RedisServer) -> None:
    leader, waiter = elector_at(own_redis.url), elector_at(own_redis.url)
    for end in own_redis.freeze, own_redis.kill:
        leader.start()
        assert leader.wait_elected(20)
        waiter.start()
        end()
        for elector in leader, waiter:
            with lasts_at_most(0.3):
                elector.stop(0.3)
        if own_redis.running:
            own_redis.thaw()


def test_messages_are_heard_again_after_the_connection_for_them_was_lost(
    own_redis: RedisServer,
) -> None:
    backend, woken = backend_at(own_redis.url), threading.Event()
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b", wake=woken.set))
    for how in "kill", "restart":
        assert woken.wait(10), "it was not woken on the first subscription, or after a new one"
        eventually(lambda: channels(own_redis) != [])
        woken.clear()
        if how == "kill":
            own_redis.call("CLIENT", "KILL", "TYPE", "pubsub")
        else:
            own_redis.restart()
    assert woken.wait(10)
    woken.clear()
    backend.release(attempt_at())
    assert woken.wait(10), "the message of the release was not heard"
    backend.close()


def test_a_silent_connection_for_messages_is_replaced(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "_LONGEST_SILENCE", 0.2)
    woken = threading.Event()
    with Proxy(own_redis.port) as proxy:
        backend = backend_at(own_redis.url_at(proxy.port), timeout=0.3)
        unwatch = backend.watch("e", woken.set)
        assert woken.wait(10)
        time.sleep(0.6)  # some PINGs are answered
        woken.clear()
        time.sleep(0.6)
        assert not woken.is_set(), "it was woken, though nothing happened"
        proxy.hold()  # no end, no reset: only silence
        time.sleep(1.0)
        proxy.pass_on()
        assert woken.wait(10), "nobody was woken after the silence"
        unwatch()
        backend.close()


def test_channels_of_nobody_are_unsubscribed(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    unwatch = backend.watch("e", lambda: None)
    eventually(lambda: "{leaderlock:e}:wake" in channels(own_redis))
    unwatch()
    eventually(lambda: "{leaderlock:e}:wake" not in channels(own_redis))
    backend.close()
    eventually(lambda: channels(own_redis) == [])


def channels(server: RedisServer) -> list[object]:
    found = server.call("PUBSUB", "CHANNELS")
    assert isinstance(found, list)
    return list(found)


def test_followers_hear_of_a_new_leader_at_once(own_redis: RedisServer) -> None:
    """Not when a lease would have run out."""
    backend, woken = backend_at(own_redis.url), threading.Event()
    backend.watch("e", woken.set)
    assert woken.wait(10)
    woken.clear()
    win(backend, attempt_at())
    assert woken.wait(10)
    backend.close()


def test_who_waits_does_not_listen_to_the_election(own_redis: RedisServer) -> None:
    """Else everybody would ask whenever anything happens."""
    backend, woken = backend_at(own_redis.url), threading.Event()
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b", wake=woken.set))
    assert woken.wait(10)
    assert "{leaderlock:e}:wake" not in channels(own_redis)
    backend.close()


# Processes


def peer_url(server: RedisServer) -> str:
    return server.url + "?quarantine=false"


def test_a_killed_leader_is_succeeded_when_its_lease_has_run_out(own_redis: RedisServer) -> None:
    with Peer(peer_url(own_redis), "e", TTL) as leader:
        before = leader.wait_for("elected")
        record = Record()
        with elector_at(own_redis.url, record) as heir:
            eventually(lambda: heir._candidate.answered)
            leader.kill()
            killed_at = time.monotonic()
            record.wait("elected")
            assert time.monotonic() - killed_at < heir.timing.worst_case_failover + 1.0
        assert record.of("elected")[0] > before["token"]


def test_a_paused_leader_knows_that_it_is_over_when_it_goes_on(own_redis: RedisServer) -> None:
    with Peer(peer_url(own_redis), "e", TTL) as leader:
        before = leader.wait_for("elected")
        leader.pause()
        record = Record()
        with elector_at(own_redis.url, record):
            record.wait("elected")
            elected_at = BOOT_CLOCK.now()
            leader.go_on()
            lost = leader.wait_for("lost")
            assert lost["reason"] == "expired"
            told = [e for e in leader.of("is_leader") if e["value"] and e["at"] > elected_at]
            assert told == [], "it took itself for the leader after another one was elected"
        again = leader.wait_for("elected", 2)
        assert before["token"] < record.of("elected")[0] < again["token"]


def test_a_forked_child_leads_nothing_and_harms_nothing(own_redis: RedisServer) -> None:
    with Peer(peer_url(own_redis), "e", TTL) as leader:
        leader.wait_for("elected")
        for _ in range(3):
            answer = leader.tell("fork")
            assert (answer["child"], answer["status"]) == ("does not lead", 0)
        time.sleep(TTL)
        assert [event["value"] for event in leader.of("is_leader")] == [True]
        assert leader.tell("stop")["released"]
    assert "{leaderlock:e}:leader" not in keys_of(own_redis)


def test_a_backend_abandoned_in_a_child_works_there(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    win(backend, attempt_at())
    backend.campaign(attempt_at(name="b"))
    eventually(lambda: channels(own_redis) != [])
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        try:
            backend.abandon()
            here = threading.Event()
            assert isinstance(backend.campaign(attempt_at(name="c", wake=here.set)), Waiting)
            assert here.wait(5)
            backend.close()
            os.write(writer, b"ok")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"ok"
    os.waitpid(child, 0)
    assert backend.renew([attempt_at()]).outcomes == {"a": Renewal.RENEWED}
    backend.close()


def test_two_hundred_terms_leave_nothing_behind(own_redis: RedisServer) -> None:
    with connect(own_redis.url, ttl=20, quarantine=False) as client:
        elector = client.elector("e")

        def cycle() -> None:
            with elector.lead(timeout=20):
                pass

        for _ in range(5):
            cycle()
        before = measure(own_redis)
        for _ in range(200):
            cycle()
        eventually(lambda: measure(own_redis) <= before, f"{measure(own_redis)} after {before}")
    eventually(lambda: our_threads() == [])
    assert keys_of(own_redis) == ["{leaderlock:e}:fence"]


def test_fifty_clients_leave_nothing_behind(own_redis: RedisServer) -> None:
    def cycle() -> None:
        leader, waiter = elector_at(own_redis.url, ttl=20), elector_at(own_redis.url, ttl=20)
        with leader:
            assert leader.wait_elected(20)
            with waiter:
                eventually(lambda: waiter._candidate.answered)

    cycle()
    before = measure(own_redis)
    for _ in range(50):
        cycle()
    eventually(lambda: measure(own_redis) <= before, f"{measure(own_redis)} after {before}")


def measure(server: RedisServer) -> tuple[int, int, int, int]:
    """Threads and files here; connections and keys there."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    clients = len(str(server.call("CLIENT", "LIST")).splitlines())
    return threading.active_count(), files, clients, len(keys_of(server))


def test_a_thousand_elections_take_few_connections_and_requests(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    attempts = [attempt_at(f"e{number}", f"a{number}") for number in range(1200)]
    for attempt in attempts:
        win(backend, attempt)
    woken: set[str] = set()
    for number in range(1200):
        backend.watch(f"e{number}", partial(woken.add, f"e{number}"))
    before = scripts_run(own_redis)
    assert set(backend.renew(attempts).outcomes.values()) == {Renewal.RENEWED}
    assert scripts_run(own_redis) - before == 3
    eventually(lambda: len(woken) == 1200)
    assert measure(own_redis)[2] <= 4  # with that of the test
    backend.close()


# The quarantine


def test_nobody_is_elected_soon_after_a_restart_that_lost_the_data() -> None:
    """Else: two leaders, the first of which still has most of its lease."""
    with RedisServer(appendonly=False) as server:
        first, second = Record(), Record()
        leader = elector_at(server.url, first, ttl=3)
        with leader:
            first.wait("elected")
            server.kill()
            server.start()
            started = time.monotonic()
            heir = LeaderElector(server.url, "e", ttl=3, on_elected=second.elected)
            with heir:
                while time.monotonic() < started + 2.0:
                    assert not heir.is_leader, "a second leader"
                    time.sleep(0.05)
                first.wait("lost")
                leader.stop()
                second.wait("elected")
                assert time.monotonic() - started > 2.9
    assert second.of("elected")[0] > first.of("elected")[0]  # type: ignore[operator]


@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
def test_the_quarantine_tells_when_to_ask_again_and_ends(
    kind: type[RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        kind() as server,
        contextlib.closing(backend_at(server.url, ttl=3, quarantine=True)) as backend,
    ):
        waiting = backend.campaign(attempt_at())
        assert isinstance(waiting, Waiting) and waiting.retry_after is not None
        assert 0 < waiting.retry_after <= 4.2  # ttl + 1, and jitter
        assert keys_of(server) == ["{leaderlock:e}:queue"]
        eventually(lambda: isinstance(backend.campaign(attempt_at()), Granted), timeout=8)
    told = [r.levelname for r in caplog.records if "redis_quarantine" in r.getMessage()]
    assert told == ["WARNING"]  # seen also without any set-up of logging, and once


def test_a_server_that_has_just_saved_its_data_is_not_taken_for_a_young_one() -> None:
    """A start counts as a save, and is asked for first."""
    with (
        RedisServer() as server,
        contextlib.closing(backend_at(server.url, ttl=0.3, quarantine=True)) as backend,
    ):
        eventually(lambda: isinstance(backend.campaign(attempt_at()), Granted), timeout=8)
        backend.release(attempt_at())
        server.call("SAVE")
        assert win(backend, attempt_at())


def test_the_quarantine_is_over_when_it_was_said_to_be() -> None:
    """Not up to a second earlier, as whole seconds of uptime would have it."""
    with RedisServer() as server:
        backend = backend_at(server.url, ttl=1.3, quarantine=True)
        eventually(lambda: 0.4 < time.time() % 1 < 0.6)  # the server's seconds are those
        asked = time.monotonic()
        waiting = backend.campaign(attempt_at())
        assert isinstance(waiting, Waiting) and waiting.retry_after is not None
        eventually(lambda: isinstance(backend.campaign(attempt_at()), Granted), timeout=4)
        assert abs(time.monotonic() - asked - waiting.retry_after) < 0.3
        backend.close()


def test_a_held_election_is_not_in_quarantine(own_redis: RedisServer) -> None:
    """A leader whose data was kept goes on, and those who wait are told for how long."""
    leader = backend_at(own_redis.url)
    win(leader, attempt_at())
    own_redis.restart()
    token = win(leader, attempt_at())
    other = backend_at(own_redis.url, quarantine=True)
    waiting = other.campaign(attempt_at(name="b"))
    assert isinstance(waiting, Waiting) and waiting.retry_after and waiting.retry_after > 20
    assert token == other.leader("e").token
    leader.close()
    other.close()
