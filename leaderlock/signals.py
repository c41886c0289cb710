"""SIGTERM and SIGINT end a block in good order: stop, drain, release, and then leave."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from leaderlock.client import Client
from leaderlock.elector import LeaderElector
from leaderlock.errors import ConfigurationError, LeaderLockError, LeadershipLost
from leaderlock.machine import LossReason

_Handler = Callable[[int, FrameType | None], Any] | int | None

_PERIOD = 0.05


class Signals:
    """What has arrived within a `stop_on_signals` block.

    Attributes:
        received: the first signal that stopped the electors; None: none has.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None


@contextmanager
def stop_on_signals(
    *stopped: LeaderElector | Client,
    signals: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
) -> Iterator[Signals]:
    """Within the block, a signal stops these electors (or closes these clients).

        with stop_on_signals(elector):
            elector.run(work)

    Without it Python dies of a SIGTERM on the spot, and a follower leads only when the lease has
    run out. With it `is_leader` turns False at once, `run()` returns and `observe()` ends (also
    of an elector that the block starts only after the signal); in the
    body of `lead()`, and while it waits, LeadershipLost (or the error of a stopped wait) comes
    up as ever and leaves the block as SystemExit(128 + signal), so that nothing behind the block
    takes half of the work for all of it. Before the block is left, the term has drained and been
    released, or `timing.stop_timeout` is over.

    Work is NOT interrupted: it has to look at its leadership, and a sleep is slept to its end. A
    signal that arrives in the very instant before the main thread begins a call that blocks is seen
    when that call ends: Python runs handlers between its own instructions only.

    The old handlers come back at the end of the block. They also act within it: on a signal that
    arrives while none of the electors contends (there is nothing to hand over), in a forked
    child, and on a SIGINT after the first signal, for whoever will not wait. Any other repetition
    changes nothing. A signal that is ignored stays ignored, as `nohup` asks for.

    Not for servers with handlers of their own (gunicorn, uvicorn, Celery): stop the elector in
    their shutdown hooks.

    Args:
        stopped: electors that are started within the block, or clients that have some.
        signals: those that stop them.

    Raises:
        ConfigurationError: not in the main thread, the only one that may set handlers; no
            elector; or a handler that was set outside Python and could not be put back.
    """
    _require_usable(stopped)
    with ExitStack() as cleanup:
        stopping = _Stopping(stopped)
        cleanup.callback(stopping.finish)  # at last: of signals that have arrived meanwhile
        for number in signals:
            old = signal.getsignal(number)
            if old is None:
                raise ConfigurationError(
                    f"the handler of {signal.Signals(number).name} was not set by Python and "
                    "could not be put back"
                )
            if old is not signal.SIG_IGN:
                handler = stopping.handler(old)
                signal.signal(number, handler)
                cleanup.callback(_put_back, number, old, handler)
        cleanup.callback(stopping.wait)  # at first: a repeated signal must not cut the release off
        try:
            yield stopping.signals
        except LeaderLockError as error:
            if stopping.signals.received is None or not _comes_of_a_stop(error):
                raise
            raise SystemExit(128 + stopping.signals.received) from error


class _Stopping:
    """A thread that stops things when a handler says so.

    A handler may take no lock: the main thread, which it interrupts, may hold it. So it puts the
    signal into a SimpleQueue, whose `put` is made for that, and starts no thread.
    """

    def __init__(self, stopped: Sequence[LeaderElector | Client]) -> None:
        self.signals = Signals()
        self._stopped = stopped
        self._pid = os.getpid()
        self._wishes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._stop_on_wish, name="leaderlock-signal", daemon=True
        )
        self._thread.start()

    def handler(self, old: _Handler) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if os.getpid() != self._pid:  # a child inherits the handler, but not the thread
                _act_as(old, number, frame)
            elif self.signals.received is not None:
                if number == signal.SIGINT:
                    _act_as(old, number, frame)
            elif not any(map(_contends, self._stopped)):
                _act_as(old, number, frame)
            else:
                self.signals.received = signal.Signals(number)
                self._wishes.put(True)

        return handle

    def wait(self) -> None:
        """Until the stop that has been asked for, if any, is done."""
        if self.signals.received is not None:
            self.finish()

    def finish(self) -> None:
        """End the thread, after the stop that has been asked for."""
        if os.getpid() == self._pid:
            self._wishes.put(False)
            self._thread.join()

    def _stop_on_wish(self) -> None:
        wish = self._wishes.get()
        while wish:
            self._stop()
            # A program that was just about to start (another) one does so when we are done.
            with suppress(queue.Empty):
                wish = self._wishes.get(timeout=_PERIOD)
        if self.signals.received is not None:
            self._stop()

    def _stop(self) -> None:
        stops = [
            threading.Thread(
                target=each.close if isinstance(each, Client) else each.stop,
                name="leaderlock-signal",
                daemon=True,
            )
            for each in self._stopped
        ]
        for stop in stops:  # all at the same time: each may have to wait for a store
            stop.start()
        for stop in stops:
            stop.join()


def _require_usable(stopped: Sequence[object]) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "stop_on_signals works in the main thread only: signal handlers run there. Call "
            "elector.stop() from wherever this program learns that it is to end"
        )
    if not stopped:
        raise ConfigurationError("stop_on_signals needs the electors or clients to stop")
    for each in stopped:
        if not isinstance(each, LeaderElector | Client):
            raise ConfigurationError(
                f"stop_on_signals stops electors and clients, not {each!r}; with asyncio, use "
                "loop.add_signal_handler"
            )


def _contends(stopped: LeaderElector | Client) -> bool:
    if isinstance(stopped, Client):
        return stopped.contends
    return stopped._candidate.contends


def _comes_of_a_stop(error: LeaderLockError) -> bool:
    """Whether it is what stop() makes `check()` and a waiting `lead()` raise."""
    if isinstance(error, LeadershipLost):
        return error.reason is LossReason.STOPPED
    return type(error) is LeaderLockError  # "stopped while waiting": all others have a class


def _act_as(old: _Handler, number: int, frame: FrameType | None) -> None:
    """Do with a signal what was done before the block."""
    if callable(old):
        old(number, frame)
    else:  # the default, which only the system can carry out
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _put_back(number: int, old: _Handler, ours: object) -> None:
    if signal.getsignal(number) is ours:  # else somebody has set another one meanwhile
        signal.signal(number, old)
