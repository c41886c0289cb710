"""Who wants to be told that something has happened, without waiting for it on a thread."""

from __future__ import annotations

from collections.abc import Callable

Wake = Callable[[], object]


class Listeners:
    """Wakes, which only schedule something, on whichever thread they are called."""

    __slots__ = ("_wakes",)

    def __init__(self) -> None:
        self._wakes: dict[object, Wake] = {}

    def add(self, wake: Wake) -> Callable[[], object]:
        """Call it with every `tell`. Returns the way to stop."""
        key = object()
        self._wakes[key] = wake
        return lambda: self._wakes.pop(key, None)

    def tell(self) -> None:
        """Something has happened."""
        for wake in list(self._wakes.values()):
            wake()

    def __len__(self) -> int:
        return len(self._wakes)
