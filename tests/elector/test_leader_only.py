"""leader_only: what runs on the leader, and what a call does elsewhere."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from leaderlock import (
    Client,
    ConfigurationError,
    LeaderElector,
    Leadership,
    NotLeader,
    leader_only,
)
from leaderlock.client import _open
from tests.elector.tools import PATIENCE, Store, eventually, in_thread, our_threads


@pytest.fixture
def leader(client: Client) -> LeaderElector:
    elector = client.elector("e")
    elector.start()
    assert elector.wait_elected(PATIENCE)
    return elector


@pytest.fixture
def follower(store: Store, clients: Callable[..., Client], leader: LeaderElector) -> LeaderElector:
    elector = clients(store.sibling()).elector("e", candidate_id="follower")
    elector.start()
    return elector


def test_it_runs_on_the_leader(leader: LeaderElector) -> None:
    @leader.leader_only
    def job(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert job(1) == 3
    assert job(1, b=4) == 5
    assert (job.__name__, job.__doc__) == ("job", "Adds.")


def test_elsewhere_it_is_skipped_by_default(follower: LeaderElector, client: Client) -> None:
    for elector in (follower, client.elector("e")):

        @elector.leader_only
        def job() -> str:
            raise AssertionError("ran")

        @elector.leader_only(default="nothing")
        def other() -> str:
            raise AssertionError("ran")

        assert job() is None
        assert other() == "nothing"


def test_elsewhere_it_raises_if_asked_to(follower: LeaderElector, client: Client) -> None:
    @follower.leader_only(otherwise="raise")
    def job() -> None:
        raise AssertionError("ran")

    with pytest.raises(NotLeader, match="'follower' does not lead election 'e'"):
        job()

    @client.elector("e").leader_only(otherwise="raise")
    def idle() -> None:
        raise AssertionError("ran")

    with pytest.raises(NotLeader, match="has not been started"):
        idle()


def test_elsewhere_it_waits_if_asked_to(leader: LeaderElector, follower: LeaderElector) -> None:
    ran = threading.Event()

    @follower.leader_only(otherwise="wait")
    def job() -> bool:
        ran.set()
        return follower.is_leader

    answers: list[bool] = []
    with in_thread(lambda: answers.append(job())):
        assert not ran.wait(0.1)
        leader.stop()
    assert answers == [True]


def test_waiting_on_an_elector_that_is_not_started_or_is_stopped_raises(
    client: Client, follower: LeaderElector
) -> None:
    @client.elector("e").leader_only(otherwise="wait")
    def job() -> None:
        raise AssertionError("ran")

    with pytest.raises(NotLeader, match="has not been started"):
        job()

    @follower.leader_only(otherwise="wait")
    def other() -> None:
        raise AssertionError("ran")

    def call() -> None:
        with pytest.raises(NotLeader):
            other()

    with in_thread(call):
        follower.stop()


class TestTheLeadershipParameter:
    @pytest.fixture(autouse=True)
    def set_up(self, leader: LeaderElector) -> None:
        self.guard = leader.leader_only
        self.term = leader.leadership

    def test_is_filled_in_wherever_it_stands(self) -> None:
        @self.guard
        def alone(leadership: Leadership) -> object:
            return leadership

        @self.guard
        def first(leadership: Leadership, a: int, b: int = 2) -> object:
            return leadership, a, b

        @self.guard
        def middle(a: int, leadership: Leadership, b: int = 2) -> object:
            return a, leadership, b

        @self.guard
        def last(a: int, b: int = 2, leadership: Leadership | None = None) -> object:
            return a, b, leadership

        @self.guard
        def keyword(a: int, *rest: int, leadership: Leadership) -> object:
            return a, rest, leadership

        @self.guard
        def positional(a: int, leadership: Leadership, /, b: int = 2) -> object:
            return a, leadership, b

        @self.guard
        def before_rest(leadership: Leadership, *rest: int, **named: int) -> object:
            return leadership, rest, named

        call: Any = alone
        assert call() is self.term
        call = first
        assert call(1) == call(a=1) == call(1, 2) == call(1, b=2) == (self.term, 1, 2)
        call = middle
        assert call(1) == call(a=1) == call(1, 2) == call(1, b=2) == (1, self.term, 2)
        call = last
        assert call(1) == call(1, 2) == call(b=2, a=1) == (1, 2, self.term)
        call = keyword
        assert call(1) == (1, (), self.term)
        assert call(1, 2, 3) == (1, (2, 3), self.term)
        call = positional
        assert call(1) == call(1, 2) == call(1, b=2) == (1, self.term, 2)
        call = before_rest
        assert call(1, 2, x=3) == (self.term, (1, 2), {"x": 3})
        assert call() == (self.term, (), {})

    def test_is_not_part_of_the_signature_that_callers_see(self) -> None:
        @self.guard
        def job(a: int, leadership: Leadership, b: int = 2) -> None: ...

        assert list(inspect.signature(job).parameters) == ["a", "b"]

    def test_works_on_methods_static_methods_and_class_methods(self) -> None:
        guard = self.guard

        class Service:
            name = "class"

            def __init__(self) -> None:
                self.name = "object"

            @guard
            def plain(self, a: int) -> object:
                return self.name, a

            @guard
            def method(self, a: int, leadership: Leadership) -> object:
                return self.name, a, leadership

            @staticmethod
            @guard
            def static(leadership: Leadership, a: int) -> object:
                return a, leadership

            @classmethod
            @guard
            def of_class(cls, leadership: Leadership, a: int) -> object:
                return cls.name, a, leadership

        service: Any = Service()
        assert service.plain(1) == ("object", 1)
        assert service.method(1) == service.method(a=1) == ("object", 1, self.term)
        assert service.static(1) == service.static(a=1) == (1, self.term)
        assert service.of_class(1) == ("class", 1, self.term)

    def test_may_be_given_by_hand(self) -> None:
        @self.guard
        def job(a: int, leadership: object) -> object:
            return a, leadership

        call: Any = job
        assert call(1, leadership="mine") == (1, "mine")

    def test_a_missing_argument_is_the_callers_usual_error(self) -> None:
        @self.guard
        def job(a: int, leadership: Leadership) -> None: ...

        call: Any = job
        with pytest.raises(TypeError):
            call()
        assert call(1) is None, "and the term is not held for ever"


def generator() -> Any:
    yield


async def async_generator() -> Any:
    yield


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (generator, "generator function"),
        (async_generator, "asynchronous generator function"),
        (partial(generator), "generator function"),
        (42, "decorates a function"),
        (classmethod(lambda cls: None), "decorates a function"),
        (dict.fromkeys, None),
        (type, "parameters"),
    ],
)
def test_what_it_cannot_guard_is_refused(client: Client, function: Any, words: str | None) -> None:
    elector = client.elector("e")
    if words is None:
        elector.leader_only(function)
        return
    with pytest.raises(ConfigurationError, match=words):
        elector.leader_only(function)
    with pytest.raises(ConfigurationError, match=words):
        elector.leader_only(otherwise="raise")(function)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"otherwise": "retry"}, "'retry' must be one of 'skip', 'raise', 'wait'"),
        ({"otherwise": None}, "must be one of"),
        ({"otherwise": "raise", "default": 1}, "only of use with otherwise='skip'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    client: Client, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        client.elector("e").leader_only(**arguments)
    with pytest.raises(ConfigurationError, match=words):
        leader_only("memory://", "e", **arguments)


def test_what_the_function_raises_comes_out_and_the_term_goes_on(
    store: Store, leader: LeaderElector
) -> None:
    @leader.leader_only
    def job() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        job()
    assert leader.is_leader
    assert leader.resign(), "nothing holds the term"


def test_a_resignation_waits_for_the_function(store: Store, leader: LeaderElector) -> None:
    entered, finish = threading.Event(), threading.Event()

    @leader.leader_only
    def job() -> None:
        entered.set()
        finish.wait(PATIENCE)

    with in_thread(job):
        assert entered.wait(PATIENCE)
        leader.stop(timeout=0)
        assert not leader.is_leader
        assert store.calls["release"] == 0
        finish.set()
    eventually(lambda: store.calls["release"] == 1)


def test_guarded_functions_may_call_each_other_and_run_at_once(leader: LeaderElector) -> None:
    both = threading.Barrier(2)

    @leader.leader_only
    def inner() -> int:
        both.wait(PATIENCE)
        return 1

    @leader.leader_only
    def outer() -> int | None:
        return inner()

    answers: list[object] = []
    with in_thread(lambda: answers.append(outer())), in_thread(lambda: answers.append(outer())):
        pass
    assert answers == [1, 1]
    assert leader.resign()


class TestWithoutAnElector:
    @pytest.fixture(autouse=True)
    def close(self) -> Any:
        yield
        for client in list(_open):
            client.close()
        eventually(lambda: not our_threads())

    def test_it_begins_to_contend_at_the_first_call_and_goes_on(self) -> None:
        before = len(_open)

        @leader_only("memory://lazy?ttl=3", "e")
        def job(leadership: Leadership) -> Leadership:
            return leadership

        assert len(_open) == before, "nothing has been connected yet"
        first = job()
        assert isinstance(first, Leadership) and first.is_valid
        assert job() is first
        assert first.election == "e"

    def test_where_another_leads_the_first_call_is_skipped_with_the_stores_word(self) -> None:
        with LeaderElector("memory://lazy-2?ttl=3", "e") as rival:
            assert rival.wait_elected(PATIENCE)

            @leader_only("memory://lazy-2?ttl=3", "e", default="skipped")
            def job() -> str:
                return "ran"

            assert job() == "skipped"
            rival.stop()
            eventually(lambda: job() == "ran")

    def test_it_takes_a_client_or_a_backend(self, store: Store, client: Client) -> None:
        targets: list[Client | Store] = [client, store]
        for number, target in enumerate(targets):

            @leader_only(target, f"e-{number}")
            def job() -> str:
                return "ran"

            assert job() == "ran"

    def test_settings_are_those_of_an_elector(self) -> None:
        @leader_only("memory://lazy-3", "e", ttl=3, candidate_id="me", otherwise="raise")
        def job(leadership: Leadership) -> str:
            return leadership.leader_id

        assert job() == "me"
        with pytest.raises(ConfigurationError, match="unknown keyword 'tll'"):
            leader_only("memory://", "e", tll=3)

    def test_faults_are_told_at_decoration(self) -> None:
        with pytest.raises(ConfigurationError):
            leader_only("nowhere", "e")
        with pytest.raises(ConfigurationError):
            leader_only("memory://", "")
        with pytest.raises(ConfigurationError):
            leader_only("memory://", "e")(generator)

    def test_a_dead_store_does_not_block_the_first_call_for_longer_than_two_requests(
        self, store: Store
    ) -> None:
        store.hang("campaign")

        @leader_only(store, "e", default="skipped")
        def job() -> str:
            return "ran"

        assert job() == "skipped"
        store.let_go()

    def test_calls_on_many_threads_make_one_candidate(self, store: Store) -> None:
        @leader_only(store, "e", otherwise="wait")
        def job() -> str:
            return "ran"

        answers: list[object] = []
        ready = threading.Barrier(8)

        def call() -> None:
            ready.wait(PATIENCE)
            answers.append(job())

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert answers == ["ran"] * 8
        assert store.calls["campaign"] == 1
