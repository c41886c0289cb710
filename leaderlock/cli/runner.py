"""`leaderlock run`: contend, run the command under each term, and see to it that it ends in time.

Three parties, none of which waits for another one:

* the main thread runs the elector, and in each term follows the command and its supervisor;
* the thread of signals passes on what arrives: to the command, or to the wait for a term;
* the supervisor (`leaderlock.cli.supervisor`) is a process of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import ENOENT
from types import FrameType
from typing import Self

from leaderlock.backoff import Backoff
from leaderlock.cli import exits
from leaderlock.cli.supervised import Supervised
from leaderlock.cli.supervisor import now
from leaderlock.elector import LeaderElector
from leaderlock.errors import BackendUnavailable, CampaignTimeout, LeaderLockError
from leaderlock.leadership import Leadership
from leaderlock.machine import LossReason
from leaderlock.observer import LeaderInfo
from leaderlock.telemetry.events import Event, StoreFailing, StoreRecovered
from leaderlock.timing import wait_time

_STOPPING = {signal.SIGTERM, signal.SIGINT}  # the command that gets one is the last
# At the terminal, or by its hanging up: the command gets them without our help.
_TYPED = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
_FOR_COMMANDS = (signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2)  # where there is none: nothing
_LONGEST_WAIT = 0.5
_STOP_AGAIN = 0.1
# A command that ends sooner is not restarted at once.
_LONG_RUN = 10.0
_LONGEST_REST = 4.0
# Somebody else may lead by now: there is no time for a command to end by itself.
_AT_ONCE = (LossReason.TAKEN, LossReason.SESSION_LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a command is to be run.

    Attributes:
        words: the program and its arguments.
        grace: seconds between SIGTERM and SIGKILL.
        timeout: seconds to wait for the first term; None: for ever.
        restart: contend again also when the command has ended by itself.
        resign_on: the signal that has the command end, and this node contend again.
        exit_on_loss: do not contend again when the term was lost.
        quiet: say nothing but errors.
    """

    words: Sequence[str]
    grace: float
    timeout: float | None = None
    restart: bool = False
    resign_on: int | None = None
    exit_on_loss: bool = False
    quiet: bool = False


class Runner:
    """Runs a command under each term of an elector."""

    def __init__(self, elector: LeaderElector, wish: Wish, facts: Mapping[str, str]) -> None:
        self._elector = elector
        self._wish = wish
        self._facts = facts
        self._status: int | None = None  # the exit code, once it is certain
        self._error: LeaderLockError | None = None
        self._has_led = False
        self._is_last = False  # after the present command, none is started
        self._is_resigning = False  # the present command has been told to end, to hand over
        self._rest = 0.0  # seconds before this node contends again
        self._backoff = Backoff(_LONGEST_REST)
        self._decided = threading.Event()  # this node will contend no more
        self._over = threading.Event()
        self._failing: dict[str, Exception] = {}
        self._lock = threading.Lock()  # no signal is lost between the wait and the command
        self._command: Supervised | None = None
        self._ring, self._bell = socket.socketpair()
        self._ring.setblocking(False)
        elector.on_lost(self._on_lost)
        elector.on_leader_change(self._on_leader_change)
        elector.subscribe(self._on_event)

    def run(self) -> int:
        """Returns the exit code.

        Raises:
            LeaderLockError: the store refuses, or has lost data; or there was no term in time.
        """
        timeout = wait_time(self._wish.timeout)
        timer = threading.Timer(timeout or 0.0, self._on_timeout)
        timer.daemon = True
        with self._ring, self._bell, _Signals(self._on_signal):
            if timeout is not None:
                timer.start()
            try:
                while not self._decided.wait(self._rest):
                    self._rest = 0.0
                    self._elector.run(self._work)
            finally:
                timer.cancel()
                self._over.set()
        if self._error is not None:
            raise self._error
        return self._status or 0

    # One term, on the main thread

    def _work(self, leadership: Leadership) -> None:
        self._say(f"leads {self._elector.election!r} under token {leadership.token}")
        environment = {**os.environ, **self._facts, "LEADERLOCK_TOKEN": str(leadership.token)}
        with self._lock:
            if self._decided.is_set() or not leadership.is_valid:
                return
            self._has_led, self._is_resigning = True, False
            try:
                self._command = command = Supervised(environment)
            except OSError as error:
                self._finish(self._not_started(error.errno or 0, error.strerror or str(error)))
                return
        began = time.monotonic()
        with command:
            code = self._follow(leadership, command)
            with self._lock:
                self._command = None
        self._conclude(leadership, code, time.monotonic() - began)

    def _follow(self, leadership: Leadership, command: Supervised) -> int | None:
        """The exit code of the command; None: the term was over before it could be started."""
        pause = min(_LONGEST_WAIT, self._elector.timing.heartbeat / 4)
        until = 0.0
        while True:
            for news in command.listen(pause, self._bell):
                match news:
                    case {"ready": _}:
                        if not leadership.is_valid:
                            return None
                        until = _end_of(leadership)
                        command.start(self._wish.words, until, self._wish.grace)
                    case {"failed": number, "text": text}:
                        return self._not_started(number, text)
                    case {"stopped": _, "terminal": True}:
                        # Stop like the command, as a job of the shell; and go on as one.
                        os.kill(0, signal.SIGTSTP)
                        command.resume()
                    case {"ended": int(code)}:
                        if -code in _TYPED:
                            self._is_last = True
                        return code if code >= 0 else exits.SIGNAL - code
            known, until = until, _end_of(leadership)
            if until > known:
                command.extend(until)
            elif not leadership.is_valid:
                command.end(at_once=leadership.reason in _AT_ONCE)

    def _not_started(self, number: int, text: str) -> int:
        self._is_last = True
        exits.say(f"cannot run {self._wish.words[0]!r}: {text}")
        return exits.NOT_FOUND if number == ENOENT else exits.CANNOT_RUN

    def _conclude(self, leadership: Leadership, code: int | None, took: float) -> None:
        """Decide whether to contend again, after the seconds that the command took."""
        if (lost := not leadership.is_valid) and code is not None:
            self._say(f"the command has been ended with {code}")
        if lost and self._wish.exit_on_loss and not self._is_last:
            self._finish(exits.LOST)
        elif self._is_last or not (lost or self._is_resigning or self._wish.restart):
            self._finish(code or 0)
        elif not lost:
            self._say(f"the command has ended with {code}; contending again")
            if took >= _LONG_RUN:
                self._backoff.reset()
            elif not self._is_resigning:  # others may have more luck with it
                self._rest = self._backoff.pause()
                self._elector.stop()

    def _finish(self, status: int) -> None:
        if self._status is None:
            self._status = status
        self._decided.set()
        self._elector.stop()

    def _contend_no_more(self) -> None:
        """A stop just before the elector starts would be lost: so again, until it is heard."""
        while not self._over.is_set():
            self._elector.stop()
            self._over.wait(_STOP_AGAIN)

    # On other threads

    def _on_signal(self, number: int) -> None:
        with self._lock:
            command = self._command
            if command is not None:
                if number == signal.SIGCONT:
                    command.resume()
                else:
                    if number in _STOPPING:
                        self._is_last = True
                    if number == self._wish.resign_on:
                        self._is_resigning, number = True, signal.SIGTERM
                    command.send(number)
                return
            if number in (*_FOR_COMMANDS, self._wish.resign_on):
                return
            if self._decided.is_set():  # whoever will not wait: nothing of the command is left
                os._exit(exits.SIGNAL + number)
            self._status = exits.SIGNAL + number
            self._decided.set()
        threading.Thread(target=self._contend_no_more, daemon=True).start()

    def _on_timeout(self) -> None:
        with self._lock:
            if self._has_led or self._decided.is_set():
                return
            text = f"not elected in {self._elector.election!r} within {self._wish.timeout:g} s"
            self._error = CampaignTimeout(text)
            for failure in self._failing.values():
                self._error = BackendUnavailable(f"{text}: {exits.sentence(failure)}")
            self._decided.set()
        self._contend_no_more()

    def _on_lost(self, leadership: Leadership, reason: LossReason) -> None:
        if reason not in (LossReason.RESIGNED, LossReason.STOPPED):
            self._say(f"lost the term under token {leadership.token}: {reason.value}")
        with suppress(OSError):  # it rings already, or all is over
            self._ring.send(b"!")

    def _on_leader_change(self, info: LeaderInfo | None) -> None:
        if info is not None and info.candidate_id != self._elector.candidate_id:
            self._say(f"{info.candidate_id} leads {self._elector.election!r}; waiting")

    def _on_event(self, event: Event) -> None:
        if isinstance(event, StoreFailing):
            if not self._failing:
                self._say(exits.sentence(event.error))
            self._failing[event.operation] = event.error
        elif isinstance(event, StoreRecovered) and self._failing:
            self._failing.pop(event.operation, None)
            if not self._failing:
                self._say("the store answers again")

    def _say(self, text: str) -> None:
        if not self._wish.quiet:
            exits.say(text)


def _end_of(leadership: Leadership) -> float:
    """Until when a term is believed, on the clock; never too late."""
    before = now()  # a pause between the two must not prolong it
    return before + leadership.remaining()


class _Signals:
    """Has a thread told of signals, in place of what Python does with them."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._old: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._writer, self._reader = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT"):
            number = getattr(signal, name)
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
                self._old[number] = signal.signal(number, _nothing)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, old in self._old.items():
            signal.signal(number, old)
        self._writer.close()
        self._thread.join()
        self._reader.close()

    def _listen(self) -> None:
        while numbers := self._reader.recv(64):
            for number in numbers:
                self._tell(number)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
