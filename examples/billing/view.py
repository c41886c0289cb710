"""What one sees while it runs: a live picture in a terminal, plain lines in a pipe, or nothing."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.billing.board import Board
from examples.billing.events import Event, Kind, now, short

STYLES = {
    "leading": "bold green",
    "working": "bold green",
    "paused": "bold yellow",
    "woken up": "yellow",
    "killed": "bold red",
    "standing by": "cyan",
}


class View(Protocol):
    """Somebody who watches the run. Used in a `with` block around it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def begin(self, at: float) -> None:
        """The servers start now; times are counted from here."""

    def note(self, text: str) -> None:
        """The orchestrator has done something."""

    def show(self, event: Event, board: Board) -> None:
        """A process has told something; the board knows of it already."""

    def refresh(self, board: Board) -> None:
        """Nothing has happened for a moment."""


class SilentView:
    """Shows nothing: for --json."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing was opened."""

    def begin(self, at: float) -> None:
        """See View."""

    def note(self, text: str) -> None:
        """See View."""

    def show(self, event: Event, board: Board) -> None:
        """See View."""

    def refresh(self, board: Board) -> None:
        """See View."""


class PlainView(SilentView):
    """One line per thing that happens, and one per tenth of the work."""

    def __init__(self) -> None:
        self._began = now()
        self._tenths = 0

    def begin(self, at: float) -> None:
        """See View."""
        self._began = at

    def note(self, text: str) -> None:
        """See View."""
        self._print(now(), f"*** {text}")

    def show(self, event: Event, board: Board) -> None:
        """See View."""
        text = sentence(event)
        if text:
            self._print(event.at, text)
        tenths = int(board.progress * 10)
        if tenths > self._tenths:
            self._tenths = tenths
            self._print(event.at, f"charged {len(board.settled)} of {board.due} ({tenths}0 %)")

    def _print(self, at: float, text: str) -> None:
        print(f"{max(0.0, at - self._began):7.3f}  {text}", flush=True)


class ColourView(SilentView):
    """One line per thing that happens, in colour."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = now()

    def begin(self, at: float) -> None:
        """See View."""
        self._began = at

    def note(self, text: str) -> None:
        """See View."""
        self._print(now(), text, "bold magenta")

    def show(self, event: Event, board: Board) -> None:
        """See View."""
        text = sentence(event)
        if text:
            self._print(event.at, text, "red" if event.kind is Kind.REFUSED else "")

    def _print(self, at: float, text: str, style: str) -> None:
        stamp = Text(f"{max(0.0, at - self._began):7.3f}  ", style="dim")
        self._console.print(stamp.append(text, style=style))


class LiveView(ColourView):
    """The four servers and the progress, redrawn in place; what happens scrolls by above."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False)
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, event: Event, board: Board) -> None:
        """See View."""
        super().show(event, board)
        if now() > self._drawn + 0.1 or event.kind is Kind.GONE:  # charges come faster than eyes
            self.refresh(board)

    def refresh(self, board: Board) -> None:
        """See View."""
        self._drawn = now()
        self._live.update(self._picture(board), refresh=True)

    def _picture(self, board: Board) -> Group:
        table = Table("server", box=box.SIMPLE_HEAD)
        table.add_column("state", min_width=max(map(len, STYLES)))  # so that it stands still
        table.add_column("token", justify="right")
        table.add_column("charges", justify="right")
        for name, server in board.servers.items():
            state = Text(server.state, style=STYLES.get(server.state, ""))
            table.add_row(name, state, short(server.token), str(server.charges))
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=board.due, completed=len(board.settled), width=50),
            f"{len(board.settled)} of {board.due} charged",
            f"{max(0.0, now() - self._began):.1f} s",
        )
        return Group(table, bar)


def console(*, record: bool = False) -> Console:
    """Where everything for people is printed; wide enough for the report also in a pipe."""
    width = None if sys.stdout.isatty() and not record else 110
    terminal = False if plain() else None  # None: let rich find out
    return Console(
        width=width, force_terminal=terminal, highlight=False, markup=False, record=record
    )


def choose(console: Console, *, silent: bool) -> View:
    """The view that suits where the output goes."""
    if silent:
        return SilentView()
    if console.record:  # what is redrawn in place would be in the picture each time
        return ColourView(console)
    if plain():
        return PlainView()
    return LiveView(console)


def save_picture(console: Console, file: Path) -> None:
    """What was printed on a recording console, as an SVG that loads nothing from elsewhere."""
    picture = console.export_svg(title="make demo")
    file.write_text(re.sub(r"@font-face \{[^}]*\}\s*", "", picture), encoding="utf-8")


def plain() -> bool:
    """Whether the output is no terminal, or one that is to be spared colours and movement."""
    spared = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return spared or not sys.stdout.isatty()


def sentence(event: Event) -> str:
    """What happened, in words; empty for what is too small to be told each time."""
    match event.kind:
        case Kind.ELECTED:
            return f"{event.server} is ELECTED, token {short(event.token)}"
        case Kind.RECONCILED if event.subscriptions:
            customers = ", ".join(map(str, event.subscriptions))
            return f"{event.server} records what a predecessor charged but did not: {customers}"
        case Kind.REFUSED:
            return (
                f"{event.server} is REFUSED by the fence: its token is {short(event.token)},"
                f" the fence stands at {short(event.detail)}"
            )
        case Kind.LOST:
            return f"{event.server} notices: its term {short(event.token)} is over, {event.detail}"
        case Kind.FINISHED:
            return f"{event.server} finds nothing left to charge"
        case _:
            return ""
