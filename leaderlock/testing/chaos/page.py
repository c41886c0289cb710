"""The picture of a run as HTML.

Positions are parts of the run, in percent: the page is zoomed by making the chart wider.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from string import Template

from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.timeline import PARTS, Lane, Timeline, timeline
from leaderlock.testing.chaos.verdicts import Verdict
from leaderlock.testing.chaos.words import about, began_at, command, describe, facts, outcome, title

SIGNS = {"refused": "×", "lost": "▼", "resigned": "▽", "violation": "!"}
STORE_ROW = 21
"""The height in pixels of one row of faults of the store."""


def page(run: Run) -> str:
    """One self-contained page."""
    lines = timeline(run)
    template = files("leaderlock.testing.chaos").joinpath("report.html")
    return Template(template.read_text(encoding="utf-8")).substitute(
        title=escape(title(run)),
        about=escape(about(run)),
        outcome=escape(outcome(run)),
        outcome_class="violated" if run.violations else "held",
        facts=escape(" · ".join(facts(run))),
        length=f"{lines.length:.3f}",
        scale=f"{lines.scale:.3f}",
        step=5 if lines.length <= 100 else 30,
        chart="\n".join(_chart(lines)),
        legend="".join(_legend(lines)),
        verdicts="\n".join(_verdict(verdict, run) for verdict in run.verdicts),
        command=escape(command(run)),
    )


def _chart(lines: Timeline) -> Iterator[str]:
    yield '<div class="under">'
    for second, step in lines.ticks():
        yield f'<i class="tick t{step}"{_place(lines, second)}><b>{second} s</b></i>'
    for shade in lines.store:
        yield f'<i class="store"{_place(lines, shade.since, shade.until)}></i>'
    for since, until in lines.outages:
        yield f'<i class="no-quorum"{_place(lines, since, until)}></i>'
    yield "</div>"
    yield _row("axis", "", "")
    yield _row("summary", lines.summary.name, "".join(_lane(lines, lines.summary)))
    yield _row("store", "store", "".join(_store(lines)), f"height:{_store_height(lines)}px")
    for lane in lines.lanes:
        yield _row("lane", lane.name, "".join(_lane(lines, lane)))


def _row(kind: str, name: str, content: str, style: str = "") -> str:
    name = escape(name)
    return (
        f'<div class="row {kind}"><div class="name" title="{name}">{name}</div>'
        f'<div class="track" style="{style}">{content}</div></div>'
    )


def _lane(lines: Timeline, lane: Lane) -> Iterator[str]:
    for shade in lane.shades:
        about = f"{shade.name}, {shade.since:.2f} to {shade.until:.2f} s"
        place = _place(lines, shade.since, shade.until)
        yield _box(f"shade {shade.kind}", place, about, shade.name)
    if lane.writes:
        yield _writes(lane.writes)
    for bar in lane.bars:
        about = f"{bar.who} led, {bar.since:.3f} to {bar.until:.3f} s"
        about += f", with token {bar.token}" if bar.token else ""
        kind = "bar pale" if bar.number % 2 else "bar"
        text = bar.who if lane is lines.summary else bar.label
        yield _box(kind, _place(lines, bar.since, bar.until), about, text)
    for since, until in lane.clashes:
        about = f"two believed to lead, {since:.3f} to {until:.3f} s"
        yield _box("clash", _place(lines, since, until), about)
    for mark in lane.marks:
        about = f"{mark.at:.3f} s: {mark.text}"
        about += f" (and {mark.count - 1} more)" if mark.count > 1 else ""
        yield _box(f"mark {mark.kind}", _place(lines, mark.at), about, SIGNS[mark.kind])


def _store(lines: Timeline) -> Iterator[str]:
    for shade in lines.store:
        about = f"{shade.name}, {shade.since:.2f} to {shade.until:.2f} s"
        place = _place(lines, shade.since, shade.until, f"top:{2 + STORE_ROW * shade.row}px")
        yield _box(f"shade store{' turned' * shade.turned}", place, about, shade.name)
    for since, until in lines.outages:
        about = f"no quorum, {since:.2f} to {until:.2f} s"
        yield _box("shade no-quorum", _place(lines, since, until), about, "no quorum")


def _store_height(lines: Timeline) -> int:
    return STORE_ROW * (lines.rows + bool(lines.outages)) + 3


def _box(kind: str, place: str, about: str, text: str = "") -> str:
    text = f"<b>{escape(text)}</b>" if text else ""
    return f'<div class="{escape(kind)}"{place} title="{escape(about)}">{text}</div>'


def _place(lines: Timeline, since: float, until: float | None = None, more: str = "") -> str:
    width = "" if until is None else f"width:{100 * (until - since) / lines.length:.3f}%;"
    return f' style="left:{100 * since / lines.length:.3f}%;{width}{more}"'


def _writes(writes: tuple[float, ...]) -> str:
    """An area that is the higher the denser writes were."""
    path = "".join(
        f"M{part} 1V{1 - density:.2f}h1V1z" for part, density in enumerate(writes) if density
    )
    return (
        f'<svg class="writes" viewBox="0 0 {PARTS} 1" preserveAspectRatio="none">'
        f'<path d="{path}"/></svg>'
    )


def _legend(lines: Timeline) -> Iterator[str]:
    samples = {
        "believed to lead, with its token": '<b class="bar">41</b>',
        "the next to lead": '<b class="bar pale">42</b>',
        "term lost": f"<b>{SIGNS['lost']}</b>",
        "resigned or stopped": f"<b>{SIGNS['resigned']}</b>",
        "writes accepted": '<b class="line"></b>',
        "write refused": f'<b class="mark refused">{SIGNS["refused"]}</b>',
        "candidate paused": '<b class="shade pause"></b>',
        "candidate killed": '<b class="shade kill"></b>',
        "other fault of a candidate or its network": '<b class="shade fault"></b>',
        "fault of the store": '<b class="shade store"></b>',
    }
    if lines.outages:
        samples["no quorum"] = '<b class="shade no-quorum"></b>'
    if lines.summary.clashes:
        samples["two at once"] = '<b class="clash"></b>'
    if lines.summary.marks:
        samples["breaks an invariant"] = f'<b class="mark violation">{SIGNS["violation"]}</b>'
    for text, sample in samples.items():
        yield f"<li><i>{sample}</i>{text}</li>"


def _verdict(verdict: Verdict, run: Run) -> str:
    began = began_at(run)
    example = "\n".join(describe(event, began) for event in verdict.counter_example)
    shown = f"<pre>{escape(example)}</pre>" if example else ""
    return (
        f'<tr class="{escape(verdict.status.replace(" ", "-"))}">'
        f"<td>{escape(verdict.invariant)}</td><td>{escape(verdict.title)}</td>"
        f'<td class="status">{escape(verdict.status)}</td>'
        f"<td>{escape(verdict.text)}{shown}</td></tr>"
    )
