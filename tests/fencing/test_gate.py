"""FenceGate: threads at one gate, and what outlives it."""

from __future__ import annotations

import random
import threading
from functools import partial

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from leaderlock import StaleToken
from leaderlock.fencing import FenceGate, RedisFence
from leaderlock.tokens import FencingToken
from tests.elector.tools import PATIENCE, eventually, in_child, in_thread
from tests.fencing.databases import token
from tests.servers.external import Shared

OLD, NEW, NEXT = token(5), token(6), token(7)


class Block:
    """A `hold` on a thread of its own, to be entered and ended by the test."""

    def __init__(self, gate: FenceGate, shown: FencingToken) -> None:
        self.gate, self.shown = gate, shown
        self.entered, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        with self.gate.hold(self.shown):
            self.entered.set()
            assert self.over.wait(PATIENCE)


def test_a_successor_waits_for_the_blocks_of_its_predecessor() -> None:
    gate = FenceGate("spool")
    first, second = Block(gate, OLD), Block(gate, OLD)
    with in_thread(first.run), in_thread(second.run):
        assert first.entered.wait(PATIENCE) and second.entered.wait(PATIENCE)  # beside each other
        with in_thread(partial(gate.advance, NEW)) as advancing:
            eventually(lambda: gate.highest() == NEW)
            first.over.set()
            with pytest.raises(TimeoutError, match="lower token"):  # the other one is still at it
                gate.advance(NEW, timeout=0.05)
            assert advancing.is_alive()
            with pytest.raises(StaleToken), gate.hold(OLD):  # nobody else is let in meanwhile
                pytest.fail("the block was run")
            second.over.set()


def test_a_block_under_a_higher_token_waits_too() -> None:
    gate = FenceGate("spool")
    old, new = Block(gate, OLD), Block(gate, NEW)
    with in_thread(old.run):
        assert old.entered.wait(PATIENCE)
        with in_thread(new.run):
            eventually(lambda: gate.highest() == NEW)
            assert not new.entered.is_set()
            old.over.set()
            assert new.entered.wait(PATIENCE)
            new.over.set()


def test_who_waits_to_enter_is_refused_when_a_higher_token_comes_meanwhile() -> None:
    gate = FenceGate("spool")
    old = Block(gate, OLD)
    refused = threading.Event()

    def enter() -> None:
        with pytest.raises(StaleToken), gate.hold(NEW):
            pytest.fail("the block was run")
        refused.set()

    with in_thread(old.run):
        assert old.entered.wait(PATIENCE)
        with in_thread(enter), in_thread(partial(gate.advance, NEXT)):
            eventually(lambda: gate.highest() == NEXT)
            old.over.set()
    assert refused.is_set()


def test_a_block_that_raises_lets_the_successor_in() -> None:
    gate = FenceGate("spool")
    with pytest.raises(RuntimeError), gate.hold(OLD):
        raise RuntimeError("no")
    gate.advance(NEW, timeout=0)
    with pytest.raises(StaleToken):
        gate.check(OLD)


def test_threads_of_any_order_never_write_a_lower_token_after_a_higher_one() -> None:
    gate = FenceGate("spool")
    written: list[int] = []

    def lead(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(300):
            shown = token(rng.randrange(1, 400))
            try:
                with gate.hold(shown):
                    written.append(shown.value)
            except StaleToken:
                pass

    with in_thread(partial(lead, 1)), in_thread(partial(lead, 2)), in_thread(partial(lead, 3)):
        pass
    assert written == sorted(written)
    assert len(set(written)) > 1


def test_a_store_makes_the_gate_survive_a_restart(redis: Shared) -> None:
    with redis_py.Redis.from_url(redis.url) as client:
        first = FenceGate("spool", store=RedisFence(client, "spool of a gate"))
        with first.hold(NEW):
            pass
        second = FenceGate("spool", store=RedisFence(client, "spool of a gate"))
        with pytest.raises(StaleToken), second.hold(OLD):
            pytest.fail("the block was run")
        second.advance(NEXT)
        with pytest.raises(StaleToken):  # though it has not seen the higher one itself
            first.check(NEW)


def test_a_store_that_does_not_answer_lets_nobody_through() -> None:
    client = redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0))
    gate = FenceGate("spool", store=RedisFence(client, "spool"))
    with pytest.raises(redis_py.ConnectionError), gate.hold(OLD):
        pytest.fail("the block was run")
    assert gate.highest() is None


def test_a_forked_child_has_a_gate_of_its_own() -> None:
    gate = FenceGate("spool")
    gate.advance(OLD)

    def child() -> None:
        with pytest.raises(StaleToken):
            gate.check(token(4))  # what was known at the fork is known
        gate.advance(NEW, timeout=0)  # and blocks of the parent are the parent's

    with gate.hold(OLD):
        assert in_child(child) == ""
    assert gate.highest() == OLD


def test_a_fork_within_a_block_ends_it_on_both_sides() -> None:
    gate = FenceGate("spool")

    def child() -> None:
        block.__exit__(None, None, None)
        gate.advance(NEW, timeout=0)

    block = gate.hold(OLD)
    block.__enter__()
    with gate._changed:  # as another thread of the parent's may, at the moment of the fork
        assert in_child(child) == ""
    block.__exit__(None, None, None)
    gate.advance(NEW, timeout=0)
