"""The APIs that electors are used through: the cases are written once, and run on each."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Self, TypeVar

from leaderlock.aio.elector import LeaderElector as LoopElector
from leaderlock.any_elector import AnyElector
from leaderlock.backends.base import Backend
from leaderlock.elector import LeaderElector

T = TypeVar("T")


class Front(ABC):
    """One elector, waited for by blocking the case. Everything else is asked of `elector`."""

    losses: ClassVar[int] = 20
    elector: AnyElector[Any]

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self, timeout: float | None = None) -> bool: ...

    @abstractmethod
    def resign(self, timeout: float | None = None) -> bool: ...

    @property
    def is_leader(self) -> bool:
        return self.elector.is_leader

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return repr(self.elector)


class ThreadedFront(Front):
    """`leaderlock.LeaderElector`."""

    def __init__(self, backend: Backend, election: str, **keywords: Any) -> None:
        self.elector: LeaderElector = LeaderElector(backend, election, **keywords)

    def start(self) -> None:
        self.elector.start()

    def stop(self, timeout: float | None = None) -> bool:
        return self.elector.stop(timeout)

    def resign(self, timeout: float | None = None) -> bool:
        return self.elector.resign(timeout)


class LoopFront(Front):
    """`leaderlock.aio.LeaderElector`, on an event loop of its own, with coroutine callbacks."""

    losses = 6  # each kind once: the threads below are those of the other front

    def __init__(self, backend: Backend, election: str, **keywords: Any) -> None:
        callbacks: dict[str, Any] = {
            name: _as_coroutine(value) if callable(value) else value
            for name, value in keywords.items()
        }
        self.elector: LoopElector = LoopElector(backend, election, **callbacks)

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="conformance-loop")
        self._thread.start()
        self._call(self.elector.__aenter__())

    def stop(self, timeout: float | None = None) -> bool:
        return self._call(self.elector.stop(timeout))

    def resign(self, timeout: float | None = None) -> bool:
        return self._call(self.elector.resign(timeout))

    def __exit__(self, *exc_info: object) -> None:
        try:
            super().__exit__(*exc_info)
            self._call(self._outlast_callbacks())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @staticmethod
    async def _outlast_callbacks() -> None:
        """A stop that was given too little time leaves some to be run."""
        own = asyncio.current_task()
        while others := [task for task in asyncio.all_tasks() if task is not own]:
            await asyncio.wait(others)


FRONTS: dict[str, type[ThreadedFront] | type[LoopFront]] = {
    "threads": ThreadedFront,
    "asyncio": LoopFront,
}


def _as_coroutine(callback: Callable[..., object]) -> Callable[..., Coroutine[Any, Any, object]]:
    async def awaited(*args: Any) -> object:
        await asyncio.sleep(0)
        return callback(*args)

    return awaited
