"""etcd:// with so many elections that a heartbeat lists keys instead of asking for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from leaderlock.backends.base import Attempt, Granted, Renewal
from leaderlock.backends.etcd import queue
from leaderlock.backends.etcd.backend import EtcdBackend
from leaderlock.testing.servers.etcd import EtcdServer, encode
from tests.backends.etcd_tools import asked, backend_at, delete, revoke_all
from tests.backends.tools import attempt_at

MANY = 30


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """Of as many elections; more than are asked for one by one, and than one page holds."""
    monkeypatch.setattr(queue, "_MANY", MANY // 2)
    monkeypatch.setattr(queue, "_CHUNK", 4)
    monkeypatch.setattr(queue, "_PAGE", 20)
    return [attempt_at(f"e-{number:02}", f"a-{number:02}") for number in range(MANY)]


@pytest.fixture
def backend(own_etcd: EtcdServer, attempts: list[Attempt]) -> Iterator[EtcdBackend]:
    backend = backend_at(own_etcd.url, ttl=600.0)
    for attempt in attempts:
        assert isinstance(backend.campaign(attempt), Granted)
    yield backend
    backend.close()


def outcomes(backend: EtcdBackend, attempts: list[Attempt]) -> tuple[Counter[str], set[str]]:
    """Of one round: the requests by verb, and the elections that are ours no more."""
    with asked() as requests:
        answer = backend.renew(attempts)
    assert answer.outcomes.keys() == {attempt.attempt_id for attempt in attempts}
    taken = {a.election for a in attempts if answer.outcomes[a.attempt_id] is Renewal.TAKEN}
    return Counter(verb for verb, _ in requests), taken


def test_many_campaigns_ask_for_their_lease_once(
    own_etcd: EtcdServer, attempts: list[Attempt]
) -> None:
    backend = backend_at(own_etcd.url, ttl=600.0)
    with asked() as requests:
        for attempt in attempts:
            backend.campaign(attempt)
    assert Counter(verb for verb, _ in requests) == {"grant": 1, "txn": MANY}
    backend.close()


def test_a_campaign_under_a_lease_that_has_just_gone_gets_another(
    own_etcd: EtcdServer, backend: EtcdBackend
) -> None:
    revoke_all(own_etcd)
    assert isinstance(backend.campaign(attempt_at("new", "a")), Granted)


def test_a_heartbeat_of_many_elections_takes_two_pages_of_keys(
    backend: EtcdBackend, attempts: list[Attempt]
) -> None:
    assert outcomes(backend, attempts) == ({"keep_alive": 1, "range": 2}, set())


def test_a_page_that_is_the_same_is_not_gone_through_again(
    own_etcd: EtcdServer,
    backend: EtcdBackend,
    attempts: list[Attempt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages: list[int] = []
    intact = queue._intact

    def note(awaited: Any, answer: Any) -> Any:
        pages.append(len(answer.kvs))
        return intact(awaited, answer)

    monkeypatch.setattr(queue, "_intact", note)
    for expected in [20, 10], [], []:
        assert outcomes(backend, attempts)[1] == set()
        assert pages == expected
        pages.clear()
    delete(own_etcd, f"leaderlock/{attempts[-1].election}/{attempts[-1].attempt_id}")
    assert outcomes(backend, attempts)[1] == {attempts[-1].election}
    assert pages == [9], "the other page is as it was"


def test_what_is_known_of_a_page_holds_for_the_places_that_were_there(
    backend: EtcdBackend, attempts: list[Attempt]
) -> None:
    assert outcomes(backend, attempts)[1] == set()
    attempt_id = attempts[3].attempt_id
    place = backend._queue.places[attempt_id]
    backend._queue.places[attempt_id] = place._replace(modified=place.modified + 1)
    assert attempt_id not in backend.renew(attempts).outcomes


def test_a_heartbeat_of_many_elections_finds_those_that_are_not_ours_any_more(
    own_etcd: EtcdServer, backend: EtcdBackend, attempts: list[Attempt]
) -> None:
    odd = [attempts[at] for at in (0, 7, -1)]  # where pages begin or end, and in between
    first, second, last = (f"leaderlock/{a.election}/{a.attempt_id}" for a in odd)
    delete(own_etcd, first)
    delete(own_etcd, last)
    own_etcd.call("kv/put", {"key": encode(second), "value": encode("of somebody else")})
    requests, taken = outcomes(backend, attempts)
    assert taken == {attempt.election for attempt in odd}
    assert requests == {"keep_alive": 1, "range": 2, "txn": 1}  # which looks at these three


def test_a_key_that_was_deleted_and_made_anew_is_not_ours(
    own_etcd: EtcdServer, backend: EtcdBackend, attempts: list[Attempt]
) -> None:
    place = backend._queue.places[attempts[3].attempt_id]
    delete(own_etcd, place.key.decode())
    own_etcd.call("kv/put", {"key": encode(place.key.decode()), "lease": str(place.lease)})
    assert outcomes(backend, attempts)[1] == {attempts[3].election}


def test_keys_of_others_in_the_same_namespace_are_not_listed_without_end(
    own_etcd: EtcdServer, backend: EtcdBackend, attempts: list[Attempt]
) -> None:
    for number in range(4 * MANY):
        own_etcd.call("kv/put", {"key": encode(f"leaderlock/other/{number}"), "value": ""})
    requests, taken = outcomes(backend, attempts)
    assert not taken
    assert requests == {"keep_alive": 1, "range": 1, "txn": -(-MANY // 4)}


def test_who_may_not_read_all_elections_asks_for_his_own(attempts: list[Attempt]) -> None:
    with EtcdServer(login=("app", "secret")) as server:
        own = {"key": encode("leaderlock/e"), "range_end": encode("leaderlock/f")}
        late = {"key": encode("leaderlock/~"), "range_end": encode("leaderlock0")}
        server.call("auth/role/add", {"name": "some"})
        for keys in own, late:
            perm = {"permType": "READWRITE", **keys}
            server.call("auth/role/grant", {"name": "some", "perm": perm})
        server.call("auth/user/revoke", {"name": "app", "role": "everything"})
        server.call("auth/user/grant", {"user": "app", "role": "some"})
        backend = backend_at(server.url, ttl=600.0)
        for attempt in attempts:
            assert isinstance(backend.campaign(attempt), Granted)
        requests, taken = outcomes(backend, attempts)
        assert not taken
        assert requests["txn"] == -(-MANY // 4)
        backend.close()
