"""The events of a client of leaderlock.aio, on the loop that somebody listens on."""

from __future__ import annotations

import threading

import pytest

from leaderlock import ConfigurationError, LeaderLockError, LossReason
from leaderlock.aio import connect
from leaderlock.telemetry.events import Event, Heartbeat, Renewed, TermEnded, TermStarted
from tests.aio.tools import eventually, run
from tests.elector.tools import Store


def test_a_client_tells_of_all_its_electors_on_the_loop(store: Store) -> None:
    async def main() -> None:
        told, threads = list[Event](), set[str]()

        def note(event: Event) -> None:
            told.append(event)
            threads.add(threading.current_thread().name)

        async with connect(store) as client:
            assert client.subscribe(note, TermStarted, TermEnded, Heartbeat) == note
            for name in "a", "b":
                async with client.elector(name).lead(timeout=20):
                    pass
            elector = client.elector("c")
            async with elector:
                await eventually(lambda: any(isinstance(e, Heartbeat) for e in told))
        await eventually(lambda: sum(isinstance(event, TermEnded) for event in told) == 3)
        reasons = [event.reason for event in told if isinstance(event, TermEnded)]
        assert reasons == [LossReason.RESIGNED, LossReason.RESIGNED, LossReason.STOPPED]
        assert threads == {threading.current_thread().name}

    run(main())


def test_an_elector_tells_a_coroutine_function_the_kinds_that_it_names(store: Store) -> None:
    async def main() -> None:
        told: list[Event] = []

        async def note(event: Event) -> None:
            told.append(event)

        async with connect(store) as client:
            elector = client.elector("e")
            elector.subscribe(note, Renewed)
            async with elector:
                await eventually(lambda: len(told) >= 2)
        assert {type(event) for event in told} == {Renewed}

    run(main())


def test_what_a_listener_raises_is_logged_and_the_others_are_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        told: list[Event] = []

        def raises(event: Event) -> None:
            raise ValueError("a fault of the listener")

        async with connect(store) as client:
            client.subscribe(raises)
            client.subscribe(told.append)
            async with client.elector("e").lead(timeout=20):
                await eventually(lambda: told)

    run(main())
    assert "leaderlock.callback_failed callback=listener" in caplog.text


def test_it_is_refused_where_no_loop_runs_and_for_what_cannot_listen(store: Store) -> None:
    client = connect(store)
    with pytest.raises(LeaderLockError, match="where the event loop runs"):
        client.subscribe(print)
    with pytest.raises(ConfigurationError, match="1 positional"):
        client.subscribe(lambda: None)  # type: ignore[arg-type, misc]
