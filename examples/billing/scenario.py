"""The story: four servers bill one day, and three of their leaders come to grief."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.billing.board import Board, Fault, Server, Term
from examples.billing.database import Subscription, SubscriptionDatabase, generate
from examples.billing.events import Event, Kind, now
from examples.billing.ledger import Decision, Ledger
from examples.billing.processes import Processes
from examples.billing.settings import Mode, Settings
from examples.billing.view import View

SERVERS = ("server-1", "server-2", "server-3", "server-4")
KILL_AT, PAUSE_AT, RESIGN_AT = 0.25, 0.45, 0.75  # of the due customers
LATENCY = 0.015  # seconds per charge: slow enough to watch, and to be caught in the middle of one
TICK = 0.1  # seconds between two looks at the clock and two pictures


class ScenarioFailed(Exception):
    """The story did not come to its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, and what the files say afterwards: all that the report needs."""

    settings: Settings
    board: Board
    began: float  # when the servers were told to start
    ended: float
    due: list[Subscription]
    subscriptions: list[Subscription]  # as the database has them in the end
    accepted: list[Decision]
    refused: list[Decision]
    failure: str


def run(settings: Settings, view: View) -> Outcome:
    """Run the whole story; ends all processes whatever comes."""
    generated = generate(settings.subscriptions, settings.day, settings.seed)
    due = [subscription for subscription in generated if subscription.expires_on <= settings.day]
    SubscriptionDatabase.create(settings.database, generated)
    board = Board(due=len(due), servers={name: Server() for name in SERVERS})
    failure = ""
    with (
        Processes(settings.folder, {"LEADERLOCK_URL": settings.url}) as processes,
        view,
    ):
        story = Story(settings, processes, board, view)
        began = now()
        try:
            story.start()
            began = now()
            story.play()
        except ScenarioFailed as error:
            failure = str(error)
        ended = now()
    ledger = Ledger(settings.ledger)
    with SubscriptionDatabase.open(settings.database) as database:
        outcome = Outcome(
            settings=settings,
            board=board,
            began=began,
            ended=ended,
            due=due,
            subscriptions=database.all(),
            accepted=ledger.decisions(accepted=True),
            refused=ledger.decisions(accepted=False),
            failure=failure,
        )
    ledger.close()
    return outcome


class Story:
    """The orchestrator: waits for events, and does to the leaders what the story asks for."""

    def __init__(self, settings: Settings, processes: Processes, board: Board, view: View) -> None:
        self._settings = settings
        self._processes = processes
        self._board = board
        self._view = view

    def start(self) -> None:
        """Start the payment service and the servers, and tell the servers to begin."""
        fence = [] if self._settings.mode is Mode.FENCED else ["--no-fence"]
        options = ["--ledger", str(self._settings.ledger), "--latency", str(LATENCY), *fence]
        self._processes.start("payments", ["examples.billing.payments", *options])
        ready = self._next(lambda event: event.kind is Kind.READY)
        for name in SERVERS:
            self._start_server(name, f"http://127.0.0.1:{ready.detail}")
        servers = self._board.servers.values()
        self._wait_until(lambda: all(server.state != "starting" for server in servers))
        self._view.begin(now())
        for name in SERVERS:
            self._processes[name].send("start")

    def play(self) -> None:
        """From the first election to the last charge."""
        if self._settings.mode is Mode.NO_ELECTION:
            self._until_all_have_finished()
        else:
            self._kill_a_leader()
            self._pause_a_leader()
            self._let_a_leader_resign()
            self._until_finished()
        self._stop()

    def _start_server(self, name: str, payments: str) -> None:
        settings = self._settings
        options = ["--name", name, "--day", str(settings.day), "--ttl", str(settings.ttl)]
        options += ["--election", settings.election]
        options += ["--database", str(settings.database), "--payments", payments]
        if settings.mode is Mode.NO_ELECTION:
            options.append("--no-election")
        self._processes.start(name, ["examples.billing.server", *options])

    def _kill_a_leader(self) -> None:
        charge = self._next_charge_after(KILL_AT)
        leader = charge.server
        # Its next charge is half way then: made in the end, while nobody lives to record it.
        self._let_pass(LATENCY / 2)
        self._processes[leader].kill()
        self._board.did(Fault.KILLED, leader, now())
        self._view.note(f"{leader} is KILLED (SIGKILL)")
        self._next_leader_after(leader)

    def _pause_a_leader(self) -> None:
        """SIGSTOP in mid-batch; SIGCONT only when a successor has charged what is left of it."""
        term = None
        while term is None:
            batch = self._next(
                lambda event: event.kind is Kind.BATCH_STARTED and self._board.progress >= PAUSE_AT
            )
            term = self._pause_during(batch)
        leader = term.leader
        self._wait_until(lambda: now() > term.asked + self._settings.ttl)
        self._board.woke(term, now())
        self._processes[leader].resume()
        self._view.note(f"{leader} WAKES UP (SIGCONT) and goes on with its batch")
        self._wait_until(lambda: leader not in self._board.unfinished)

    def _pause_during(self, batch: Event) -> Term | None:
        """Pause the leader until it is overtaken; None if it was a bad moment, and it goes on.

        Stopped inside a write transaction, it keeps every other process from writing: SQLite's
        nature, and not our subject. Stopped with its last charge on the way, it has none left to
        make late. In neither case there would be anything to see.
        """
        leader = batch.server
        self._processes[leader].pause()
        term = self._board.did(Fault.PAUSED, leader, now())
        if not self._holds_a_file_lock():
            self._view.note(f"{leader} is PAUSED (SIGSTOP) in the middle of a batch")
            seen = self._next(lambda event: _overtakes(event, batch) or _ends(event, batch))
            if seen.server != leader:
                return term
        self._board.mistimed(term)
        self._processes[leader].resume()
        self._view.note(f"{leader} goes on (SIGCONT): that was no good moment")
        return None

    def _let_a_leader_resign(self) -> None:
        charge = self._next_charge_after(RESIGN_AT)
        leader = charge.server
        self._processes[leader].send("resign")
        self._board.did(Fault.RESIGNED, leader, now())
        self._view.note(f"{leader} is asked to RESIGN")
        self._next_leader_after(leader)

    def _until_finished(self) -> None:
        self._next(lambda event: event.kind is Kind.FINISHED)

    def _until_all_have_finished(self) -> None:
        self._view.note("all four servers go to work, without an election")
        self._wait_until(
            lambda: all(server.state == "done" for server in self._board.servers.values())
        )

    def _stop(self) -> None:
        running = [name for name in SERVERS if not self._processes[name].expected_to_end]
        for name in running:
            self._processes[name].expected_to_end = True
            self._processes[name].send("stop")
        servers = [self._board.servers[name] for name in running]
        self._wait_until(lambda: all(server.state == "ended" for server in servers))

    def _next_charge_after(self, progress: float) -> Event:
        return self._next(
            lambda event: event.kind is Kind.CHARGED and self._board.progress >= progress
        )

    def _next_leader_after(self, leader: str) -> Event:
        token = next(term.token for term in reversed(self._board.terms) if term.leader == leader)
        return self._next(lambda event: event.kind is Kind.ELECTED and event.token != token)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._take()

    def _let_pass(self, seconds: float) -> None:
        """For choosing the moment of a fault; nothing that comes later relies on it."""
        until = now() + seconds
        while (left := until - now()) > 0:
            self._take(left)

    def _next(self, wanted: Callable[[Event], bool]) -> Event:
        """The next event that is `wanted`; whatever else happens goes to board and view too."""
        while True:
            event = self._take()
            if event is not None and wanted(event):
                return event

    def _take(self, patience: float = TICK) -> Event | None:
        """Wait for one event, or until patience ends; raises ScenarioFailed when time is up."""
        deadline = self._settings.deadline
        if now() > self._settings.began + deadline:
            raise ScenarioFailed(f"not done after {deadline:.0f} s: {self._where()}")
        try:
            event = self._processes.events.get(timeout=patience)
        except queue.Empty:
            self._view.refresh(self._board)
            return None
        self._board.saw(event)
        self._view.show(event, self._board)
        if event.kind is Kind.GONE and not self._processes[event.server].expected_to_end:
            raise self._processes[event.server].crash()
        return event

    def _where(self) -> str:
        servers = ", ".join(
            f"{name} {server.state}" for name, server in self._board.servers.items()
        )
        return f"{self._board.progress:.0%} charged; {servers}"

    def _holds_a_file_lock(self) -> bool:
        files = (self._settings.database, self._settings.election_file)
        return any(file.exists() and _locked(file) for file in files)


def _overtakes(event: Event, stalled: Event) -> bool:
    """Whether another server has got past the end of the stalled batch."""
    return (
        event.kind is Kind.BATCH_DONE
        and event.server != stalled.server
        and event.subscriptions[-1] >= stalled.subscriptions[-1]
    )


def _ends(event: Event, batch: Event) -> bool:
    """Whether the batch is as good as done: its last charge may be on its way already."""
    return (
        event.kind is Kind.CHARGED
        and event.server == batch.server
        and event.subscriptions[-1] in batch.subscriptions[-2:]
    )


def _locked(file: Path) -> bool:
    """Whether somebody holds on to the file's write lock."""
    connection = sqlite3.connect(file, timeout=0.2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False
