"""The fenced resource: its own process, one thread, and a log in the order of its decisions.

    python -m leaderlock.testing.chaos.resource LOG [--no-fence]

It says on which port it listens. A writer sends {"by", "token", "number"} a line, and is answered
"accepted" or "refused". A lower token than the highest seen is refused; a write without a token is
not, because there is nothing to refuse it by.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TextIO

from leaderlock.clock import BOOT_CLOCK
from leaderlock.testing.chaos.events import Event, append


class Resource:
    """Something that only a leader may write to."""

    def __init__(self, log: TextIO, *, fences: bool) -> None:
        self._log = log
        self._fences = fences
        self._highest = -1

    def write(self, by: str, token: int | None, number: int) -> str:
        """Decide on one write."""
        data = {"token": token, "by": by, "number": number}
        if token is not None and token < self._highest and self._fences:
            self._note("refused", **data, highest=self._highest)
            return "refused"
        self._highest = max(self._highest, -1 if token is None else token)
        self._note("accepted", **data)
        return "accepted"

    def _note(self, what: str, **data: object) -> None:
        append(self._log, Event(BOOT_CLOCK.now(), "resource", what, data))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One writer, until it goes away."""
        try:
            while line := await reader.readline():
                writer.write(self.write(**json.loads(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:  # it was killed
            pass
        finally:
            writer.close()


async def _run(log: Path, *, fences: bool) -> None:
    with log.open("a", encoding="utf-8") as file:
        resource = Resource(file, fences=fences)
        server = await asyncio.start_server(resource.serve, "127.0.0.1", 0)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main() -> None:
    path, *options = sys.argv[1:]
    asyncio.run(_run(Path(path), fences="--no-fence" not in options))


if __name__ == "__main__":
    main()
