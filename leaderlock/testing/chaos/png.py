"""The picture of a run, drawn by matplotlib: what the page shows, without its tooltips.

Everything is placed in pixels, on one sheet; `page.py` has the same measures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.timeline import (
    LETTER,
    PARTS,
    TICKS,
    Bar,
    Lane,
    Shade,
    Timeline,
    timeline,
)
from leaderlock.testing.chaos.verdicts import Status, Verdict
from leaderlock.testing.chaos.words import about, began_at, command, describe, facts, outcome, title

INK, DIM, LINE, BAND = "#1b2733", "#5b6875", "#e1e6eb", "#f4f6f8"
DEEP, PALE, ON_PALE = "#0b5fa5", "#8ec5f0", "#0b2a44"
FAULT, STORE, QUORUM, BAD = "#8a8f98", "#e8a800", "#7b4fb5", "#d6001c"
STATUS = {
    Status.HELD: DEEP,
    Status.VIOLATED: BAD,
    Status.REPORTED: "#7a5600",
    Status.NOT_APPLICABLE: DIM,
}
SIGNS = {"refused": "×", "lost": "▼", "resigned": "▽", "violation": "!"}

INCH = 100
POINT = 0.72  # of a pixel
NARROW, WIDE = 1200, 4000
FINE, FINE_UP_TO = 2 * INCH, 2000  # of a display that shows two pixels for one
EDGE, NAMES, TOP, AXIS, ROW, STORE_ROW = 26, 104, 150, 26, 48, 21
TEXT_ROW, LEGEND_ROW = 20, 23


def draw(run: Run) -> Figure:
    """The whole sheet."""
    lines = timeline(run)
    width = min(max(NARROW, 2 * EDGE + NAMES + lines.length * lines.scale), WIDE)
    store = STORE_ROW * (lines.rows + bool(lines.outages)) + 6
    chart = AXIS + ROW + store + ROW * len(lines.lanes)
    verdicts = [row for verdict in run.verdicts for row in _rows(verdict, run, width)]
    height = TOP + chart + 116 + TEXT_ROW * len(verdicts) + 80

    figure = Figure(figsize=(width / INCH, height / INCH), dpi=FINE if width < FINE_UP_TO else INCH)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    sheet = _Sheet(axes, width, lines)
    _head(sheet, run)
    sheet.background(TOP, chart)
    y = TOP + AXIS
    sheet.lane(lines.summary, y)
    y += ROW
    sheet.line(EDGE, y, width - EDGE, y, INK, 2)
    sheet.store(y, store)
    y += store
    for lane in lines.lanes:
        sheet.grid(EDGE, y, width - EDGE, y)
        sheet.lane(lane, y)
        y += ROW
    sheet.box(EDGE, TOP, width - 2 * EDGE, chart, "none", edgecolor=LINE, linewidth=1)
    _legend(sheet, y + 20)
    y += 96
    for cells in verdicts:
        for x, text, style in cells:
            sheet.text(x, y, text, **style)
        y += TEXT_ROW
    sheet.text(EDGE, y + 24, "\n".join(_folded(command(run), width)), family="monospace", va="top")
    return figure


class _Sheet:
    """Draws in pixels, and in seconds of the run."""

    def __init__(self, axes: Axes, width: float, lines: Timeline) -> None:
        self.axes = axes
        self.width = width
        self.lines = lines
        self.left = EDGE + NAMES
        self.scale = (width - self.left - EDGE - 10) / lines.length

    def x(self, second: float) -> float:
        return self.left + second * self.scale

    def text(self, x: float, y: float, text: str, size: float = 12, **style: Any) -> None:
        style = {"color": INK, "va": "center", **style}
        # A name may have dollars in it: nothing here is a formula.
        self.axes.text(x, y, text, fontsize=size * POINT, parse_math=False, **style)

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, **style: Any
    ) -> None:
        style = {"linewidth": 0, "facecolor": colour, **style}
        self.axes.add_patch(Rectangle((x, y), width, height, **style))

    def hatch(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.box(x, y, width, height, "none", edgecolor=colour, hatch="////", alpha=0.45)

    def line(
        self, x: float, y: float, to_x: float, to_y: float, colour: str, width: float, **style: Any
    ) -> None:
        style = {"linewidth": width * POINT, "solid_capstyle": "butt", **style}
        self.axes.plot([x, to_x], [y, to_y], color=colour, **style)

    def grid(self, x: float, y: float, to_x: float, to_y: float) -> None:
        self.line(x, y, to_x, to_y, LINE, 1, zorder=0)

    def background(self, y: float, height: float) -> None:
        """What goes through all lanes: the time axis, the faults of the store."""
        step = next((step for step in reversed(TICKS) if step * self.scale > 55), TICKS[0])
        for second in range(0, int(self.lines.length) + 1, step):
            self.grid(self.x(second), y, self.x(second), y + height)
            self.text(self.x(second) + 4, y + AXIS / 2, f"{second} s", color=DIM)
        for shade in self.lines.store:
            x, width = self._reach(shade.since, shade.until)
            self.box(x, y + AXIS, width, height - AXIS, STORE, alpha=0.13)
        for since, until in self.lines.outages:
            x, width = self._reach(since, until)
            self.hatch(x, y + AXIS, width, height - AXIS, QUORUM)

    def store(self, y: float, height: float) -> None:
        self.text(EDGE + 10, y + height / 2, "store", color=DIM)
        for shade in self.lines.store:
            x, width = self._reach(shade.since, shade.until)
            top = y + 4 + STORE_ROW * shade.row
            self.box(x, top, width, STORE_ROW - 3, STORE, alpha=0.45)
            self.box(x, top, 2, STORE_ROW - 3, STORE)
            place, ha = (x + width - 2, "right") if shade.turned else (x + 5, "left")
            self.text(place, top + 9, shade.name, ha=ha)
        for since, until in self.lines.outages:
            x, width = self._reach(since, until)
            self.box(x, y + height - STORE_ROW, width, STORE_ROW - 3, QUORUM, alpha=0.4)
            self.text(x + 5, y + height - STORE_ROW + 9, "no quorum")

    def lane(self, lane: Lane, y: float) -> None:
        is_summary = lane is self.lines.summary
        bar_height, clash_y, clash_height = (26, y + 7, 40) if is_summary else (20, y + 14, 20)
        self.text(EDGE + 10, y + ROW / 2, lane.name, 13, weight="bold")
        for shade in lane.shades:
            self._shade(shade, y)
        self._writes(lane, y)
        for bar in lane.bars:
            self._bar(bar, y + 14, bar_height)
        for since, until in lane.clashes:
            x, width = self._reach(since, until, 4)
            self.box(x, clash_y, width, clash_height, BAD)
        for bar in lane.bars:
            self._name(bar, bar.who if is_summary else bar.label, y + 14 + bar_height / 2)
        for mark in lane.marks:
            if mark.kind == "violation":
                self.line(self.x(mark.at), y + 15, self.x(mark.at), y + ROW, BAD, 2)
            below = mark.kind == "refused"
            style = {"weight": "bold", "color": BAD} if mark.kind == "violation" else {}
            size = 17 if below else 12
            height = y + (ROW - 7 if below else 8)
            self.text(self.x(mark.at), height, SIGNS[mark.kind], size, ha="center", **style)

    def _reach(self, since: float, until: float, least: float = 2) -> tuple[float, float]:
        return self.x(since), max((until - since) * self.scale, least)

    def _shade(self, shade: Shade, y: float) -> None:
        x, width = self._reach(shade.since, shade.until)
        colour = STORE if shade.kind == "fault" else FAULT
        if shade.kind == "kill":
            self.hatch(x, y, width, ROW, FAULT)
            self.box(x, y, 3, ROW, INK)
        else:
            self.box(x, y, width, ROW, colour, alpha=0.25)
            self.box(x, y, 2, ROW, colour)
        if len(shade.name) * LETTER < width:
            self.text(x + 5, y + 7, shade.name, 11, color=DIM)

    def _writes(self, lane: Lane, y: float) -> None:
        if lane.writes:
            base = y + ROW - 1
            at = [self.x(part * self.lines.length / PARTS) for part in range(PARTS)]
            tops = [base - 11 * density for density in lane.writes]
            self.axes.fill_between(at, tops, base, step="post", color=INK, alpha=0.6, linewidth=0)

    def _bar(self, bar: Bar, y: float, height: float) -> None:
        x, width = self._reach(bar.since, bar.until)
        self.box(x, y, width, height, PALE if bar.number % 2 else DEEP)

    def _name(self, bar: Bar, text: str, y: float) -> None:
        x, width = self._reach(bar.since, bar.until)
        if len(text) * LETTER + 4 < width:
            colour = ON_PALE if bar.number % 2 else "white"
            self.text(x + width / 2, y, text, color=colour, ha="center")


def _head(sheet: _Sheet, run: Run) -> None:
    sheet.text(EDGE, 30, title(run), 21, weight="bold")
    sheet.text(EDGE, 54, about(run), color=DIM)
    colour = BAD if run.violations else DEEP
    sheet.box(EDGE, 72, sheet.width - 2 * EDGE, 34, BAND)
    sheet.box(EDGE, 72, 6, 34, colour)
    text = colour if run.violations else INK
    sheet.text(EDGE + 18, 89, outcome(run), 16, weight="bold", color=text)
    sheet.text(EDGE, 128, " · ".join(facts(run)), 13)


def _folded(words: str, width: float) -> Sequence[str]:
    """A command in lines that a shell takes for one."""
    *lines, last = textwrap.wrap(
        words, int((width - 2 * EDGE) / LETTER) - 12, break_long_words=False, break_on_hyphens=False
    )
    return [*(f"{line} \\" for line in lines), last]


def _legend(sheet: _Sheet, y: float) -> None:
    samples: list[tuple[str, str, dict[str, Any]]] = [
        ("believed to lead", DEEP, {}),
        ("the next to lead", PALE, {}),
        ("term lost", SIGNS["lost"], {}),
        ("resigned or stopped", SIGNS["resigned"], {}),
        ("writes accepted", INK, {"alpha": 0.6}),
        ("write refused", SIGNS["refused"], {}),
        ("candidate paused", FAULT, {"alpha": 0.25}),
        ("candidate killed", "none", {"edgecolor": FAULT, "hatch": "////", "alpha": 0.45}),
        ("other fault of a candidate or its network", STORE, {"alpha": 0.25}),
        ("fault of the store", STORE, {"alpha": 0.45}),
    ]
    if sheet.lines.outages:
        samples.append(("no quorum", QUORUM, {"alpha": 0.4}))
    if sheet.lines.summary.clashes:
        samples.append(("two at once", BAD, {}))
    if sheet.lines.summary.marks:
        samples.append(("breaks an invariant", SIGNS["violation"], {"color": BAD}))
    x = float(EDGE)
    for text, sample, style in samples:
        width = 48 + len(text) * LETTER
        if x + width > sheet.width:
            x, y = float(EDGE), y + LEGEND_ROW
        if sample in SIGNS.values():
            sheet.text(x + 14, y, sample, 14, ha="center", **style)
        else:
            sheet.box(x, y - 7, 28, 14, sample, **style)
        sheet.text(x + 34, y, text)
        x += width


Cell = tuple[float, str, dict[str, Any]]


def _rows(verdict: Verdict, run: Run, width: float) -> Sequence[list[Cell]]:
    """The lines of text of a verdict, each made of what stands in its columns."""
    columns = EDGE, EDGE + 40, EDGE + 380, EDGE + 500
    letters = int((width - columns[3] - EDGE) / LETTER)
    colour = STATUS[verdict.status]
    dim = {"color": DIM, "weight": "normal"} if verdict.status is Status.NOT_APPLICABLE else {}
    text = textwrap.wrap(verdict.text, letters) or [""]
    example = [
        textwrap.shorten(describe(event, began_at(run)), letters - 10, placeholder="…")
        for event in verdict.counter_example
    ]
    heading: list[Cell] = [
        (columns[0], verdict.invariant, dim),
        (columns[1], verdict.title, dim),
        (columns[2], verdict.status, {"color": colour, "weight": "bold", **dim}),
        (columns[3], text[0], dim),
    ]
    red = {"color": colour, "family": "monospace"}
    more: list[list[Cell]] = [[(columns[3], line, dim)] for line in text[1:]]
    more += [[(columns[3] + 12, line, red)] for line in example]
    return [heading, *more]
