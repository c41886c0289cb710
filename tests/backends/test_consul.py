"""consul://: what is peculiar to Consul, on a real server."""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leaderlock import BackendRefused, BackendUnavailable, LeaderElector, TokenRegression
from leaderlock.backends.base import Attempt, Granted, Reading, Renewal, Waiting
from leaderlock.backends.consul import ConsulBackend
from leaderlock.backends.consul.connection import Connection, Entry
from leaderlock.backends.consul.waiting import Watcher
from leaderlock.backends.layout import unpack
from leaderlock.testing.servers.consul import ConsulServer
from leaderlock.testing.servers.proxy import Proxy
from tests.backends.consul_tools import (
    SOON,
    Make,
    Operator,
    an_attempt,
    backends,
    make_backend,
    maker,
    must_wait,
    new_election,
    renewal,
    win,
    win_soon,
)
from tests.backends.tools import no_descriptors
from tests.elector.tools import eventually


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    with ConsulServer() as server:
        yield server


@pytest.fixture
def operator(server: ConsulServer) -> Operator:
    return Operator(server)


@pytest.fixture
def make(server: ConsulServer) -> Iterator[Make]:
    with maker(server.url) as make:
        yield make


@contextmanager
def before_write(
    backend: ConsulBackend, verb: str, do: Callable[[], object], times: int = 1
) -> Iterator[None]:
    """Do something right before the backend asks for a change of a key."""
    store, left = backend._store, [times]
    write = store.write

    def watched(seen: Entry, wanted: str, value: bytes, **more: Any) -> Any:
        if wanted == verb and left[0]:
            left[0] -= 1
            do()
        return write(seen, wanted, value, **more)

    vars(store)["write"] = watched
    try:
        yield
    finally:
        del vars(store)["write"]


# The session


def test_the_session_has_no_checks_and_gives_keys_back(make: Make, operator: Operator) -> None:
    """With serfHealth, the default, a lapse of the gossip ends every term at once."""
    backend, election = make(ttl=20, namespace="app"), new_election()
    win(backend, an_attempt(election))
    session = Operator(operator.server, "app").holder(election)
    (found,) = [s for s in operator.sessions() if s["ID"] == session]
    assert not found["NodeChecks"] and not found["ServiceChecks"]
    assert (found["Behavior"], found["TTL"], found["LockDelay"]) == ("release", "20000ms", 20e9)
    assert found["Name"] == "leaderlock app"


def test_the_lock_delay_can_be_chosen(make: Make, operator: Operator) -> None:
    backend, election = make(ttl=3, lock_delay=7.5), new_election()
    win(backend, an_attempt(election))
    session = operator.holder(election)
    (found,) = [s for s in operator.sessions() if s["ID"] == session]
    assert found["LockDelay"] == 7.5e9
    limits = backend.capabilities
    assert (limits.hold_off, limits.expiry_factor) == (7.5, 2.0)


def test_a_client_has_one_session_for_all_that_it_leads_and_waits_for(
    make: Make, operator: Operator
) -> None:
    leader, waiter, elections = make(), make(), [new_election() for _ in range(6)]
    before = len(operator.sessions())
    threads = [
        threading.Thread(target=win, args=(leader, an_attempt(election))) for election in elections
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for election in elections:
        must_wait(waiter, an_attempt(election))
    assert len(operator.sessions()) == before + 2
    assert len({operator.holder(election) for election in elections}) == 1
    assert len({heir for election in elections for heir in operator.heirs(election)}) == 1


def test_a_heartbeat_is_two_requests_however_many_terms_it_renews(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make()
    attempts = [an_attempt(new_election()) for _ in range(7)]
    for attempt in attempts:
        win(backend, attempt)
    asked = []
    exchange = backend._store._http._exchange

    def counted(method: str, target: str, body: bytes) -> Any:
        asked.append((method, target.split("?")[0].rpartition("/")[0]))
        return exchange(method, target, body)

    monkeypatch.setattr(backend._store._http, "_exchange", counted)
    outcomes = backend.renew(attempts).outcomes
    assert set(outcomes.values()) == {Renewal.RENEWED}
    assert asked == [("PUT", "/v1/session/renew"), ("GET", "/v1/kv/leaderlock")]


def test_a_ttl_below_that_of_the_servers_is_refused_with_the_remedy() -> None:
    with ConsulServer(settings={"session_ttl_min": "10s"}) as server:
        backend = make_backend(server.url, ttl=5)
        with backends(backend), pytest.raises(BackendRefused, match="raise ttl, to 10 seconds"):
            backend.campaign(an_attempt("e"))


def test_a_session_destroyed_by_an_operator_is_lost_and_the_lock_delay_is_waited_out(
    make: Make, operator: Operator
) -> None:
    """A blocking query does not return at the end of a lock-delay: the waiting ask again."""
    leader, heir, election = make(ttl=2.0), make(ttl=2.0), new_election()
    first, woken = an_attempt(election), threading.Event()
    token = win(leader, first).token
    second = an_attempt(election, woken.set)
    must_wait(heir, second)
    begin = time.monotonic()
    operator.destroy(operator.holder(election))
    assert renewal(leader, first) is Renewal.SESSION_LOST
    assert woken.wait(5), "nobody told the waiting"
    answer = heir.campaign(second)
    while isinstance(answer, Waiting):
        assert answer.retry_after is not None and 0 < answer.retry_after <= 1.0
        time.sleep(answer.retry_after)
        answer = heir.campaign(second)
    assert 1.9 < time.monotonic() - begin < 6.0
    assert answer.token > token
    assert renewal(leader, first) is Renewal.SESSION_LOST
    leader.release(first)
    assert renewal(heir, second) is Renewal.RENEWED


def test_a_candidate_whose_session_has_ended_gets_another_one(
    make: Make, operator: Operator
) -> None:
    backend, rival = make(), make()
    kept, election = an_attempt(new_election()), new_election()
    win(backend, kept)
    holder = an_attempt(election)
    win(rival, holder)
    waiting = an_attempt(election)
    must_wait(backend, waiting)
    operator.destroy(operator.holder(kept.election))
    rival.release(holder)
    win(backend, waiting)
    outcomes = backend.renew([kept, waiting]).outcomes
    assert outcomes == {
        kept.attempt_id: Renewal.SESSION_LOST,
        waiting.attempt_id: Renewal.RENEWED,
    }


@pytest.mark.parametrize(("ttl", "is_news"), [(2, False), (600, True)])
def test_belief_begins_before_the_session_is_asked_for(
    make: Make, server: ConsulServer, ttl: float, is_news: bool
) -> None:
    """Not with the answer, and not with the lock, which renews nothing.

    What is not older than 2 % of a ttl needs not be asked again, and belief begins with it.
    """
    with Proxy(server.port) as proxy:
        backend = make(server.url_at(proxy.port), ttl=ttl, request_timeout=5)
        attempt = an_attempt("belief")
        win(backend, an_attempt(new_election()))
        proxy.delay(0.1)
        clock = backend.settings.clock
        win(backend, attempt)
        begin = clock.now()
        renewed = backend.renew([attempt])
        end = clock.now()
        assert renewed.sent_at is not None
        assert begin <= renewed.sent_at <= end - 0.4  # two requests, there and back
        begin = clock.now()
        again = win(backend, an_attempt(new_election()))
        end = clock.now()
        assert again.sent_at is not None
        if is_news:
            assert renewed.sent_at <= again.sent_at < begin
        else:
            assert begin + 0.2 <= again.sent_at <= end - 0.4
        backend.release(attempt)
        backend.close()


# The token


def test_the_token_is_the_modify_index_of_the_lock_and_stays_it(
    make: Make, operator: Operator
) -> None:
    backend, election = make(), new_election()
    attempt = an_attempt(election)
    granted = win(backend, attempt)
    entry = operator.entry(election)
    assert entry and granted.token == entry["ModifyIndex"]
    assert entry["Value"] == attempt.attempt_id.encode() + b" " + attempt.payload

    # Only the flags change: still our lock and our value, under another ModifyIndex.
    operator.put(election, entry["Value"].decode(), "?flags=7")
    changed = operator.entry(election)
    assert changed and changed["ModifyIndex"] > granted.token
    assert win(backend, attempt).token == granted.token
    assert renewal(backend, attempt) is Renewal.RENEWED


@pytest.mark.parametrize("value", ["foreign", "two words"])
def test_a_foreign_write_ends_the_term_and_the_next_token_is_higher(
    make: Make, operator: Operator, value: str
) -> None:
    """It resets LockIndex to 0 while the lock is held: no token can be made of that."""
    backend, rival, election = make(), make(), new_election()
    first, second = an_attempt(election), an_attempt(election)
    token = win(backend, first).token
    session = operator.holder(election)
    operator.put(election, value)
    entry = operator.entry(election)
    assert entry and (entry["LockIndex"], entry["Session"]) == (0, session)
    must_wait(rival, second)  # for Consul, the session still holds the key
    assert renewal(backend, first) is Renewal.TAKEN
    assert operator.holder(election), "another one may lead before the leader was told"
    backend.release(first)
    assert not operator.holder(election)
    assert win(rival, second).token > token


def test_a_lock_released_by_an_operator_is_taken(make: Make, operator: Operator) -> None:
    backend, election = make(), new_election()
    attempt, other = an_attempt(election), an_attempt(election)
    token = win(backend, attempt).token
    operator.put(election, "x", f"?release={operator.holder(election)}")
    assert renewal(backend, attempt) is Renewal.TAKEN
    # Also by another attempt of the same session, which Consul cannot tell apart.
    assert win(backend, other).token > token
    assert renewal(backend, attempt) is Renewal.TAKEN
    backend.release(attempt)
    assert renewal(backend, other) is Renewal.RENEWED


@pytest.mark.parametrize("first", ["a heartbeat", "a grant"])
def test_a_deleted_key_is_taken_and_a_deleted_tree_keeps_its_source(
    make: Make, operator: Operator, first: str
) -> None:
    """Whatever a client that has led in this cluster does first puts the source back."""
    namespace = f"tree-{new_election()}"
    backend, election = make(namespace=namespace), new_election()
    attempt = an_attempt(election)
    before = win(backend, attempt)
    operator.delete(f"/v1/kv/{namespace}/?recurse")
    if first == "a heartbeat":
        assert renewal(backend, attempt) is Renewal.TAKEN
    else:
        win(backend, an_attempt(new_election()))
    backend.release(attempt)
    newcomer = make(namespace=namespace)
    again = win(newcomer, an_attempt(election))
    assert again.source == before.source and again.token > before.token


def fill(server: ConsulServer, up_to: int) -> None:
    """Write until Consul has carried out so many changes."""
    modified = 0
    while modified < up_to:
        server.call("PUT", "/v1/kv/other", modified)  # the same value again would change nothing
        modified = server.call("GET", "/v1/kv/other")[0]["ModifyIndex"]


def source_index(server: ConsulServer) -> int:
    return int(server.call("GET", "/v1/kv/leaderlock/source")[0]["ModifyIndex"])


def renumbered(server: ConsulServer, index: int) -> bool:
    """Replace the cluster by one whose source is the change of the same number.

    That happens by itself, for one server that begins anew does the same as it did before.
    """
    server.restart(keep_data=False)
    fill(server, index - 1)
    server.call("PUT", "/v1/kv/leaderlock/source", "new")
    return source_index(server) == index  # Consul may have changed something of its own


@pytest.mark.parametrize("named", [False, True], ids=["no name yet", "named at the same index"])
def test_who_outlives_the_loss_of_all_data_leads_under_the_new_name(named: bool) -> None:
    """Tokens of both clusters under one name would be compared, and say nothing."""
    with ConsulServer() as server:
        fill(server, 50)
        backend, observer = make_backend(server.url), make_backend(server.url)
        with backends(backend, observer):
            before = win(backend, an_attempt("e"))
            assert observer.leader("e").source == before.source
            index = source_index(server)
            if named:
                eventually(lambda: renumbered(server, index), "the same index", 60)
            else:
                server.restart(keep_data=False)
            attempt = an_attempt("e")
            after = win_soon(backend, attempt)
            assert after.source != before.source
            assert observer.leader("e") == Reading(
                payload=attempt.payload, token=after.token, source=after.source
            )
            newcomer = make_backend(server.url)
            with backends(newcomer):
                assert win(newcomer, an_attempt("other")).source == after.source


def test_an_elector_that_led_before_the_loss_of_all_data_stops() -> None:
    """Also when the new cluster is ahead of the old one: its tokens would look like later terms."""
    with ConsulServer() as server, Proxy(server.port) as proxy:
        elector = LeaderElector(server.url_at(proxy.port), "e", ttl=3)
        elector.start()
        assert elector.wait_elected(SOON)
        assert elector.leadership is not None
        token = elector.leadership.token.value
        proxy.reset()
        server.restart(keep_data=False)
        fill(server, token + 50)
        eventually(lambda: not elector.is_leader, "it believes for less than a ttl")
        proxy.pass_on()
        with pytest.raises(TokenRegression, match="was replaced"):
            elector.wait_elected(SOON)
        elector.stop()


def test_two_clusters_are_two_sources(make: Make) -> None:
    with ConsulServer() as other:
        stranger = make_backend(other.url)
        with backends(stranger):
            ours = win(make(), an_attempt(new_election())).source
            theirs = win(stranger, an_attempt(new_election())).source
    assert ours.startswith("consul:") and theirs.startswith("consul:") and ours != theirs


def test_a_reading_of_a_free_election_has_the_last_token(make: Make) -> None:
    backend, election = make(), new_election()
    assert backend.leader(election) == Reading(token=0, source=backend.leader(election).source)
    attempt = an_attempt(election)
    granted = win(backend, attempt)
    backend.release(attempt)
    assert backend.leader(election).token == granted.token


# Requests that are lost, or come late


def lose_the_grant(proxy: Proxy, backend: ConsulBackend, attempt: Attempt) -> None:
    """A campaign that is carried out, and whose answer does not come."""
    proxy.drop_replies(after=b'"lock"')
    with pytest.raises(BackendUnavailable):
        backend.campaign(attempt)
    proxy.pass_on()


def test_a_lost_reply_to_the_lock_neither_blocks_nor_elects_twice(
    make: Make, server: ConsulServer, operator: Operator
) -> None:
    with Proxy(server.port) as proxy:
        backend, election = make(server.url_at(proxy.port), request_timeout=0.5), new_election()
        attempt = an_attempt(election)
        lose_the_grant(proxy, backend, attempt)
        assert operator.holder(election), "the lock was to be carried out"
        granted = win(backend, attempt)
        entry = operator.entry(election)
        assert entry and entry["ModifyIndex"] == granted.token and entry["LockIndex"] == 1
        must_wait(backend, an_attempt(election))
        assert renewal(backend, attempt) is Renewal.RENEWED
        backend.release(attempt)
        win(make(), an_attempt(election))
        backend.close()


def test_a_grant_whose_reply_was_lost_is_taken_back(
    make: Make, server: ConsulServer, operator: Operator
) -> None:
    with Proxy(server.port) as proxy:
        backend, election = make(server.url_at(proxy.port), request_timeout=0.5), new_election()
        attempt = an_attempt(election)
        lose_the_grant(proxy, backend, attempt)
        backend.release(attempt)
        assert operator.entry(election) and not operator.holder(election)
        backend.close()


def late_lock(proxy: Proxy, backend: ConsulBackend, attempt: Attempt) -> None:
    """A campaign whose lock request stays in the network."""
    with before_write(backend, "lock", proxy.hold), pytest.raises(BackendUnavailable):
        backend.campaign(attempt)


def let_it_arrive(proxy: Proxy) -> None:
    """The held request, whose sender has hung up. Nothing tells when Consul has carried it out."""
    proxy.pass_on()
    eventually(lambda: proxy.open_connections <= 1, "the late request has arrived")
    time.sleep(0.2)


@pytest.mark.parametrize("known", [True, False], ids=["known key", "new key"])
def test_a_lock_that_arrives_after_its_release_does_nothing(
    make: Make, server: ConsulServer, operator: Operator, known: bool
) -> None:
    """Our session lives on for another term: what it locked late would be locked for ever."""
    election, kept = new_election(), an_attempt(new_election())
    with Proxy(server.port) as proxy:
        both = f"{server.url_at(proxy.port)},127.0.0.1:{server.port}"
        backend = make(both, request_timeout=0.5)
        win(backend, kept)
        if known:
            before = an_attempt(election)
            win(backend, before)
            backend.release(before)
        given_up = an_attempt(election)
        late_lock(proxy, backend, given_up)
        backend.release(given_up)  # by the other host
        let_it_arrive(proxy)
        assert not operator.holder(election)
        heir = make()
        win(heir, an_attempt(election))
        assert renewal(backend, kept) is Renewal.RENEWED
        backend.close()


@pytest.mark.parametrize("first", ["the late one", "the leader"])
def test_a_lock_that_arrives_late_does_not_touch_a_later_term_of_the_same_session(
    make: Make, server: ConsulServer, operator: Operator, first: str
) -> None:
    """To Consul, both are the session's: a lock taken again succeeds and changes the value."""
    election = new_election()
    with Proxy(server.port) as proxy:
        both = f"{server.url_at(proxy.port)},127.0.0.1:{server.port}"
        backend = make(both, request_timeout=0.5)
        win(backend, an_attempt(new_election()))
        given_up, leader = an_attempt(election), an_attempt(election)
        late_lock(proxy, backend, given_up)
        token = win(backend, leader).token
        let_it_arrive(proxy)
        entry = operator.entry(election)
        assert entry and entry["ModifyIndex"] == token
        found = unpack(entry["Value"])
        assert found and found[0] == leader.attempt_id
        if first == "the late one":
            backend.release(given_up)
            assert renewal(backend, leader) is Renewal.RENEWED
        backend.release(leader)
        assert not operator.holder(election)
        backend.release(given_up)
        backend.close()


def test_a_release_that_arrives_late_does_not_end_a_later_term_of_the_same_session(
    make: Make, server: ConsulServer
) -> None:
    """A release has no lock-delay: another one would lead at once, beside us."""
    election = new_election()
    with Proxy(server.port) as proxy:
        both = f"{server.url_at(proxy.port)},127.0.0.1:{server.port}"
        backend = make(both, request_timeout=0.5)
        first, second = an_attempt(election), an_attempt(election)
        win(backend, first)
        with before_write(backend, "unlock", proxy.hold), pytest.raises(BackendUnavailable):
            backend.release(first)
        backend.release(first)
        win(backend, second)
        let_it_arrive(proxy)
        assert renewal(backend, second) is Renewal.RENEWED
        must_wait(make(), an_attempt(election))
        backend.close()


def test_a_frozen_server_that_locks_late_leaves_no_orphan() -> None:
    """The server, not the network, has the request in its buffers."""
    with ConsulServer() as server:
        operator, election = Operator(server), new_election()
        backend = make_backend(server.url, request_timeout=0.5)
        kept, given_up = an_attempt(new_election()), an_attempt(election)
        with backends(backend):
            win(backend, kept)
            with (
                before_write(backend, "lock", server.freeze),
                pytest.raises(BackendUnavailable),
            ):
                backend.campaign(given_up)
            with pytest.raises(BackendUnavailable):
                backend.release(given_up)
            server.thaw()
            eventually(lambda: _released(backend, given_up), "the release gets an answer")
            time.sleep(0.3)  # what lay in its buffers has been carried out by then
            assert not operator.holder(election)
            assert renewal(backend, kept) is Renewal.RENEWED
            other = make_backend(server.url)
            with backends(other):
                win(other, an_attempt(election))


def _released(backend: ConsulBackend, attempt: Any) -> bool:
    try:
        backend.release(attempt)
    except BackendUnavailable:
        return False
    return True


def test_what_could_not_be_released_is_given_back_with_a_heartbeat(
    make: Make, server: ConsulServer, operator: Operator
) -> None:
    """The core gives up when a lease has run out; the session that all share does not run out."""
    election, kept = new_election(), an_attempt(new_election())
    with Proxy(server.port) as proxy:
        backend = make(server.url_at(proxy.port), request_timeout=0.5)
        win(backend, kept)
        given_up = an_attempt(election)
        win(backend, given_up)
        proxy.reset()
        with pytest.raises(BackendUnavailable):
            backend.release(given_up)
        proxy.pass_on()
        assert operator.holder(election)
        assert renewal(backend, kept) is Renewal.RENEWED
        assert not operator.holder(election)
        backend.close()


def test_what_was_given_up_is_forgotten_with_a_heartbeat(make: Make, server: ConsulServer) -> None:
    """Nobody asks for its release again. It would be kept for as long as the client lives."""
    kept, granted, unheard = (an_attempt(new_election()) for _ in range(3))
    with Proxy(server.port) as proxy:
        backend = make(server.url_at(proxy.port), request_timeout=0.5)
        win(backend, kept)
        win(backend, granted)
        lose_the_grant(proxy, backend, unheard)
        proxy.hold()
        for given_up in (granted, unheard):
            with pytest.raises(BackendUnavailable):
                backend.release(given_up)
        proxy.pass_on()
        assert renewal(backend, kept) is Renewal.RENEWED
        assert [claim.attempt for claim in backend._locks.all()] == [kept]
        backend.close()


# Waiting


def test_a_hand_over_takes_no_lock_delay(make: Make) -> None:
    """Released before the session is destroyed: reversed, it would cost the successor 30 s."""
    leader, heir, election = make(ttl=30), make(ttl=30), new_election()
    woken = threading.Event()
    win(leader, an_attempt(election))
    attempt = an_attempt(election, woken.set)
    must_wait(heir, attempt)
    begin = time.monotonic()
    leader.close()
    assert woken.wait(5)
    win(heir, attempt)
    assert time.monotonic() - begin < 2.0


def test_closing_ends_the_session_and_what_it_holds(make: Make, operator: Operator) -> None:
    backend, elections = make(), [new_election() for _ in range(3)]
    for election in elections:
        win(backend, an_attempt(election))
    session = operator.holder(elections[0])
    backend.close()
    assert session not in [s["ID"] for s in operator.sessions()]
    for election in elections:
        win(make(), an_attempt(election))  # without a lock-delay


def test_waiting_for_many_takes_one_thread_and_one_connection(
    make: Make, server: ConsulServer
) -> None:
    leader, elections = make(), [new_election() for _ in range(20)]
    for election in elections:
        win(leader, an_attempt(election))
    with Proxy(server.port) as proxy:
        waiter = make(server.url_at(proxy.port))
        for election in elections:
            must_wait(waiter, an_attempt(election))
            waiter.watch(election, lambda: None)
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("leaderlock-consul") == 1
        eventually(lambda: proxy.open_connections == 2, "one to ask, one to wait")
        waiter.close()


@pytest.mark.parametrize(("answered", "continued"), [(9, 9), (8, 0), (0, 0)])
def test_an_index_that_runs_backwards_begins_anew(
    server: ConsulServer, monkeypatch: pytest.MonkeyPatch, answered: int, continued: int
) -> None:
    backend = make_backend(server.url)
    with backends(backend):
        watcher = backend._watcher
        monkeypatch.setattr(
            watcher._connection, "wait_for_change", lambda prefix, index, wait: (answered, {})
        )
        assert watcher._look(9, {}, 5.0)[0] == continued


def test_after_a_gap_observers_are_woken_and_heirs_of_what_is_free(
    server: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, woken = make_backend(server.url), []
    with backends(backend):
        watcher = backend._watcher
        monkeypatch.setattr(Watcher, "_start", lambda self: None)
        watcher.watch("n/held/leader", lambda: woken.append("observer"))
        for name in ("held", "free"):
            backend._line.join(f"n/{name}/", an_attempt(name, partial(woken.append, name)))
            backend._heirs._places[f"n/{name}/"] = "ours"
        found = {
            "n/held/leader": Entry("n/held/leader", 5, "session"),
            "n/free/leader": Entry("n/free/leader", 4),
        }
        monkeypatch.setattr(
            watcher._connection, "wait_for_change", lambda prefix, index, wait: (5, found)
        )
        assert watcher._look(0, {}, 5.0) == (5, found, 5.0)
        assert sorted(woken) == ["free", "observer"]
        assert watcher._look(5, found, 5.0) == (5, found, 5.0)
        assert len(woken) == 2, "nothing has changed"


def test_a_long_poll_outlives_the_request_timeout_and_ends_with_the_client(
    make: Make, server: ConsulServer
) -> None:
    backend = make(request_timeout=0.3)
    unwatch = backend.watch(new_election(), lambda: None)
    time.sleep(0.7)  # the poll is under way, for longer than a request may be
    (thread,) = [t for t in threading.enumerate() if t.name == "leaderlock-consul"]
    begin = time.monotonic()
    backend.close()
    thread.join(5)
    assert not thread.is_alive() and time.monotonic() - begin < 2.0
    unwatch()


# Processes


def test_many_cycles_leave_nothing_behind(make: Make, operator: Operator) -> None:
    backend, rival, election = make(), make(), new_election()

    def cycle() -> None:
        leader, waiter = an_attempt(election), an_attempt(election)
        win(backend, leader)
        must_wait(rival, waiter)
        renewal(backend, leader)
        backend.release(leader)
        rival.release(waiter)

    def client() -> None:
        other = make_backend(operator.server.url)
        with backends(other):
            attempt = an_attempt(election)
            win(other, attempt)
            other.watch(election, lambda: None)

    def left() -> tuple[int, int, int, int]:
        files = len(list(Path("/proc/self/fd").iterdir()))
        keys = operator.server.call("GET", "/v1/kv/leaderlock/?keys")
        return threading.active_count(), files, len(operator.sessions()), len(keys)

    for work, count in ((cycle, 200), (client, 20)):
        work()
        before = left()
        for _ in range(count):
            work()
        eventually(
            lambda: all(now <= then for now, then in zip(left(), before, strict=True)),  # noqa: B023
            f"threads, files, sessions, keys: {before} before",
        )
    assert not backend._locks.all() and not rival._locks.all()
    for each in (backend, rival):
        assert not each._line.folders() and not each._heirs and not each._heirs._freed


def test_a_forked_child_sends_not_a_byte_on_the_parents_connections(
    make: Make, server: ConsulServer
) -> None:
    backend, election = make(), new_election()
    attempt = an_attempt(election)
    win(backend, attempt)
    backend.watch(election, lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            connections = [*backend._store._http._open]
            backend.abandon()
            dropped = all(connection.sock.fileno() == -1 for connection in connections)
            other = make_backend(server.url)
            waits = isinstance(other.campaign(an_attempt(election)), Waiting)
            other.close()
            own = isinstance(backend.campaign(an_attempt(new_election())), Granted)
            backend.close()
            status = 0 if connections and dropped and waits and own else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert renewal(backend, attempt) is Renewal.RENEWED
    must_wait(make(), an_attempt(election))


def test_a_connection_is_used_again(server: ConsulServer) -> None:
    with Proxy(server.port) as proxy:
        backend = make_backend(server.url_at(proxy.port))
        with backends(backend):
            store: Connection = backend._store
            for _ in range(5):
                store.read("leaderlock/nothing")
            assert proxy.open_connections == 1
            proxy.reset()
            proxy.pass_on()
            assert store.read("leaderlock/nothing").index == 0  # the dead one was noticed


def test_a_leader_without_file_descriptors_renews_on_its_open_connection(
    make: Make,
) -> None:
    backend, attempt = make(), an_attempt(new_election())
    win(backend, attempt)
    http = backend._store._http
    before = dict(http._open)
    assert len(before) == 1
    with no_descriptors():
        for _ in range(3):
            assert renewal(backend, attempt) is Renewal.RENEWED
    assert http._open == before and http._idle == list(before)


def test_a_connection_that_ended_makes_room_for_another_one_without_file_descriptors(
    make: Make,
) -> None:
    backend, attempt = make(), an_attempt(new_election())
    win(backend, attempt)
    http = backend._store._http
    (ended,) = http._open
    ended.sock.shutdown(socket.SHUT_RDWR)
    with no_descriptors():
        assert renewal(backend, attempt) is Renewal.RENEWED
    assert list(http._open) == http._idle != [ended]
