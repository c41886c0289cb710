"""The figures as a picture: on each store what everybody takes, in the floor's time."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.field import CORRECT, FLOOR, OURS
from benchmarks.results import OnStore, Results

INK, DIM, LINE = "#1b2733", "#5b6875", "#e1e6eb"
DEEP, PALE, FLOORS = "#0b5fa5", "#8ec5f0", "#8a8f98"
PARTS = (("elect_resign", "elect and resign"), ("hand_over", "hand-over after a resignation"))
ROW, HEAD, FOOT, WIDTH = 0.28, 0.75, 0.55, 12.0


def draw(results: Results) -> Figure:
    """One row of two charts for each store; a bar is a median, the whisker its p99."""
    heights = [HEAD + ROW * len(on.figures) for on in results.stores.values()]
    total = sum(heights) + FOOT
    figure = Figure(figsize=(WIDTH, total), dpi=150)
    top = total
    for (store, on), height in zip(results.stores.items(), heights, strict=True):
        bottom = top - height
        for column, (what, title) in enumerate(PARTS):
            left = 0.155 + 0.5 * column
            box = (left, (bottom + 0.3) / total, 0.325, (height - HEAD) / total)
            _bars(figure.add_axes(box), on, what)
            figure.text(left, (top - 0.3) / total, f"{store}: {title}", color=INK, fontsize=10)
        top = bottom
    about = results.about
    foot = (
        "Medians in units of the floor's median, on a log scale; the thin line ends at the p99.\n"
        f"{about['date']}, {about['machine']}, load {about['load']}, ttl {about['ttl']:g} s"
    )
    figure.text(0.01, 0.15 / total, foot, color=DIM, fontsize=7, parse_math=False)
    return figure


def _bars(axes: Axes, on: OnStore, what: str) -> None:
    names = list(on.figures)
    unit = getattr(on.figures.get(FLOOR), what, None)
    for at, name in enumerate(names):
        spread = getattr(on.figures[name], what)
        if unit is None or spread is None:
            axes.text(1.02, at, "not measured", color=DIM, fontsize=7, va="center")
            continue
        median, tail = spread.p50 / unit.p50, spread.p99 / unit.p50
        colour = DEEP if name == OURS else FLOORS if name in (FLOOR, CORRECT) else PALE
        # From 0.5 on, so that the floor itself has a bar.
        axes.barh(at, median - 0.5, left=0.5, height=0.62, color=colour)
        axes.plot([median, tail], [at, at], color=INK, linewidth=0.8)
        label = f"{median:.2f}  ({spread.p50 * 1000:.2f} ms)"
        axes.text(max(tail, median) * 1.06, at, label, color=INK, fontsize=7, va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _, right = axes.get_xlim()
    axes.set_xlim(0.5, max(right, 2) * 6)
    axes.set_yticks(range(len(names)), names, fontsize=8, color=INK)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7, colors=DIM)
    axes.axvline(1, color=FLOORS, linewidth=0.8, linestyle="--", zorder=0)
    for side in "top", "right", "left":
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
