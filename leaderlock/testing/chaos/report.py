"""Writes the picture of a run: `write_html` and `write_png`."""

from __future__ import annotations

from pathlib import Path

from leaderlock.errors import MissingDependency
from leaderlock.testing.chaos.page import page
from leaderlock.testing.chaos.run import Run


def write_html(path: str | Path, run: Run) -> None:
    """Write a run as one page that needs nothing else: no network, no other file."""
    Path(path).write_text(page(run), encoding="utf-8")


def write_png(path: str | Path, run: Run) -> None:
    """Write a run as a PNG.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from leaderlock.testing.chaos.png import draw
    except ImportError as error:
        raise MissingDependency(
            f"a PNG needs matplotlib, which cannot be imported ({error}): "
            "pip install 'leaderlock[chaos]'"
        ) from error
    draw(run).savefig(path, format="png")
