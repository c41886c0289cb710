"""The picture of a run: what is laid out, and what the page and the PNG make of it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from PIL import Image

from leaderlock import MissingDependency
from leaderlock.testing.chaos.events import Event
from leaderlock.testing.chaos.report import write_html, write_png
from leaderlock.testing.chaos.run import Run
from leaderlock.testing.chaos.timeline import Bar, Lane, Timeline, timeline
from leaderlock.testing.chaos.verdicts import Status, Verdict
from leaderlock.testing.chaos.words import command, facts

BOOT = 5000.0
"""Seconds since boot when the run began."""


def event(at: float, who: str, what: str, **data: Any) -> Event:
    if "seen" in data:
        data["seen"] += BOOT
    return Event(BOOT + at, who, what, data)


def belief(who: str, token: int, since: float, until: float) -> list[Event]:
    return [
        event(since, who, "leads", token=token, seen=since - 0.01),
        event(until, who, "leads not", token=token, seen=until),
    ]


def fault(
    number: int, name: str, target: str, since: float, until: float, *whom: str
) -> list[Event]:
    return [
        event(since, "nemesis", "fault", id=number, name=name, target=target, whom=list(whom)),
        event(until, "nemesis", "healed", id=number),
    ]


def refused(at: float, by: str, token: int = 1) -> Event:
    return event(at, "resource", "refused", by=by, token=token, number=1, highest=9)


def make(*events: Event, verdicts: tuple[Verdict, ...] = (), length: float = 60.0) -> Run:
    began = event(0, "run", "began", store="etcd", nodes=3, candidates=2, seed=7, ttl=3, timing={})
    started = [event(0.1, who, "started", pid=1) for who in ("c1", "c2", "c10")]
    ended = event(length, "run", "ended")
    return Run(
        store="etcd",
        nodes=3,
        candidates=2,
        seconds=length,
        seed=4711,
        ttl=3.0,
        faults=("kill", "pause"),
        notes=("on a test",),
        events=tuple(sorted([began, *started, *events, ended])),
        verdicts=verdicts or (Verdict("I4", "one leads", Status.HELD, "all was well"),),
    )


def laid_out(*events: Event, **more: Any) -> Timeline:
    return timeline(make(*events, **more))


def lane(lines: Timeline, name: str) -> Lane:
    return next(lane for lane in lines.lanes if lane.name == name)


def reaches(bars: tuple[Bar, ...]) -> list[tuple[str, float, float]]:
    return [(bar.who, round(bar.since, 6), round(bar.until, 6)) for bar in bars]


TWO_AT_ONCE = [*belief("c1", 41, 5, 12), *belief("c2", 42, 10, 20)]
TAKEN_OVER = [*belief("c1", 41, 5, 10), *belief("c2", 42, 10, 20)]
CONDEMNED = Verdict("I4", "one leads", Status.VIOLATED, "two led", tuple(sorted(TWO_AT_ONCE)))


# What is laid out


def test_a_bar_ends_when_leadership_was_last_seen_not_when_the_loss_was_noticed() -> None:
    paused = event(30, "c1", "leads not", token=41, seen=12)
    lines = laid_out(event(5, "c1", "leads", token=41, seen=4.9), paused)
    assert reaches(lane(lines, "c1").bars) == [("c1", 5, 12)]
    assert lane(lines, "c1").bars[0].token == "41"


def test_a_bar_of_a_killed_candidate_ends_with_what_it_last_told() -> None:
    lines = laid_out(
        event(5, "c1", "leads", token=41, seen=4.9),
        event(8, "c1", "still leads", token=41, seen=8),
        *fault(1, "kill", "c1", 8.05, 11, "c1"),
    )
    assert reaches(lane(lines, "c1").bars) == [("c1", 5, 8)]
    (shade,) = lane(lines, "c1").shades
    assert (shade.kind, round(shade.since, 6), shade.until) == ("kill", 8.05, 11)


def test_all_incarnations_of_a_candidate_share_its_lane() -> None:
    lines = laid_out(
        *belief("c1", 41, 5, 8), *belief("c1.2", 42, 20, 30), *belief("c1.fork1", 43, 40, 41)
    )
    assert [bar.who for bar in lane(lines, "c1").bars] == ["c1", "c1.2", "c1.fork1"]
    assert [lane.name for lane in lines.lanes] == ["c1", "c2", "c10"]


def test_the_lane_on_top_has_the_bars_of_all() -> None:
    lines = laid_out(*TAKEN_OVER)
    assert reaches(lines.summary.bars) == [("c1", 5, 10), ("c2", 10, 20)]


def test_who_takes_over_at_the_same_instant_does_not_clash() -> None:
    lines = laid_out(*TAKEN_OVER)
    assert not any(lane.clashes for lane in (lines.summary, *lines.lanes))


def test_two_who_led_at_once_clash_in_their_lanes_and_on_top() -> None:
    lines = laid_out(*TWO_AT_ONCE)
    for shown in (lines.summary, lane(lines, "c1"), lane(lines, "c2")):
        assert shown.clashes == ((10, 12),)
    assert lane(lines, "c10").clashes == ()


def test_a_pause_is_shaded_in_the_lane_of_who_was_paused() -> None:
    lines = laid_out(*fault(1, "pause", "c2.3", 7, 9, "c2.3"))
    (shade,) = lane(lines, "c2").shades
    assert (shade.kind, shade.since, shade.until) == ("pause", 7, 9)
    assert lane(lines, "c1").shades == lines.store == ()


def test_a_fault_of_the_network_is_shaded_in_all_lanes_that_it_cuts_off() -> None:
    lines = laid_out(*fault(1, "partition", "network of c1, c10", 7, 9, "c1", "c10"))
    shown = {lane.name: [shade.kind for shade in lane.shades] for lane in lines.lanes}
    assert shown == {"c1": ["fault"], "c2": [], "c10": ["fault"]}
    assert lines.store == ()


def test_a_fault_of_the_store_stands_in_its_row_and_in_the_lanes_that_it_concerns() -> None:
    lines = laid_out(
        *fault(1, "pause", "server 1", 7, 9), *fault(2, "partition", "2 | 3", 30, 40, "c1")
    )
    assert [shade.name for shade in lines.store] == ["pause server 1", "partition 2 | 3"]
    assert [shade.kind for shade in lane(lines, "c1").shades] == ["fault"]


def test_a_fault_that_was_never_healed_lasts_to_the_end() -> None:
    lines = laid_out(fault(1, "pause", "server 1", 7, 9)[0])
    assert (lines.store[0].until, lines.length) == (60, 60)


def test_names_of_faults_never_overlap_within_a_row() -> None:
    many = [fault(n, "pause", "server 1", n / 4, n / 4 + 0.1) for n in range(1, 236)]
    lines = laid_out(*(event for events in many for event in events))
    for row in range(lines.rows):
        shades = [shade for shade in lines.store if shade.row == row]
        places = sorted(
            (s.until * lines.scale - 98, s.until * lines.scale)
            if s.turned
            else (s.since * lines.scale, s.since * lines.scale + 98)
            for s in shades
        )
        assert all(end <= start for (_, end), (start, _) in zip(places, places[1:], strict=False))
        assert places[-1][1] <= lines.length * lines.scale


def test_time_without_a_quorum_is_laid_out() -> None:
    lines = laid_out(
        event(10, "run", "quorum", reachable=False),
        event(14, "run", "quorum", reachable=True),
        event(50, "run", "quorum", reachable=False),
    )
    assert lines.outages == ((10, 14), (50, 60))


def test_a_refused_write_is_marked_in_the_lane_of_who_wrote() -> None:
    lines = laid_out(refused(12, "c1.2", token=3))
    (mark,) = lane(lines, "c1").marks
    assert (mark.at, mark.kind) == (12, "refused")
    assert "token 3" in mark.text and "9" in mark.text


def test_refused_writes_in_a_burst_are_one_mark_that_counts_them() -> None:
    lines = laid_out(*(refused(12 + n / 100_000, "c1") for n in range(500)), refused(30, "c1"))
    assert [mark.count for mark in lane(lines, "c1").marks] == [500, 1]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("expired", "lost"), ("taken", "lost"), ("resigned", "resigned"), ("stopped", "resigned")],
)
def test_a_lost_term_is_marked_with_its_reason(reason: str, kind: str) -> None:
    (mark,) = lane(laid_out(event(9, "c1", "lost", token=41, reason=reason)), "c1").marks
    assert mark.kind == kind
    assert mark.text.endswith(f": {reason}")


def test_accepted_writes_are_counted_where_they_were_accepted() -> None:
    at = [10.05, 10.06, 10.07, 10.08, 30.05]
    writes = [event(t, "resource", "accepted", token=1, by="c1", number=1) for t in at]
    lines = laid_out(*writes)
    assert {n: d for n, d in enumerate(lane(lines, "c1").writes) if d} == {100: 1.0, 300: 0.25}
    assert lane(lines, "c2").writes == ()


def test_the_events_of_a_counter_example_are_marked_in_their_lanes_and_on_top() -> None:
    lines = laid_out(*TWO_AT_ONCE, verdicts=(CONDEMNED,))
    assert [mark.at for mark in lane(lines, "c1").marks] == [5, 12]
    assert [mark.at for mark in lines.summary.marks] == [5, 10, 12, 20]
    assert all(mark.text.startswith("I4: ") for mark in lines.summary.marks)


def test_what_is_only_reported_is_not_marked() -> None:
    reported = replace(CONDEMNED, status=Status.REPORTED)
    assert laid_out(*TWO_AT_ONCE, verdicts=(reported,)).summary.marks == ()


@pytest.mark.parametrize(
    ("tokens", "labels"),
    [
        ((9, 10), ["9", "10"]),
        ((1785000000123456, 1785000000987654), ["…123456", "…987654"]),
        ((4294967301, 4294967302), ["…01", "…02"]),
        ((4294967301, 42), ["4294967301", "42"]),
        ((None, None), ["", ""]),
    ],
)
def test_long_tokens_are_written_without_what_all_begin_with(
    tokens: tuple[Any, Any], labels: list[str]
) -> None:
    lines = laid_out(*belief("c1", tokens[0], 5, 8), *belief("c2", tokens[1], 10, 12))
    assert [bar.label for bar in lines.summary.bars] == labels


# The words


def test_the_facts_are_those_of_the_run() -> None:
    run = make(
        *belief("c1", 41, 6, 21),
        *belief("c2", 42, 30, 45),
        event(12, "resource", "accepted", token=41, by="c1", number=1),
        refused(40, "c1"),
        *fault(1, "pause", "server 1", 7, 9),
        event(50, "c1", "stopped", released=True),
    )
    assert list(facts(run)) == [
        "2 terms",
        "no two at once",
        "somebody led 60% of the time",
        "at most 9.0 s without a leader",
        "1 writes accepted",
        "1 refused",
        "1 faults",
    ]


def test_the_facts_count_overlaps_and_time_that_two_led_once() -> None:
    words = list(facts(make(*TWO_AT_ONCE, length=20)))
    assert words[1:3] == ["1 overlap", "somebody led 75% of the time"]


def test_a_store_of_somebody_else_is_repeated_by_its_url() -> None:
    own = shlex.split(command(make()))
    theirs = shlex.split(command(replace(make(), nodes=0)))
    assert own[own.index("--backend") + 1 : own.index("--backend") + 4] == ["etcd", "--nodes", "3"]
    assert "--url" in theirs and "--backend" not in theirs


# The page


def page(path: Path, run: Run) -> tuple[str, ElementTree.Element]:
    write_html(path, run)
    text = path.read_text(encoding="utf-8")
    return text, ElementTree.fromstring(text)


def classes(tree: ElementTree.Element) -> Iterator[str]:
    for element in tree.iter():
        yield from element.get("class", "").split()


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    text, tree = page(tmp_path / "out.html", make(*TWO_AT_ONCE, verdicts=(CONDEMNED,)))
    assert not re.search(r"https?:|//\w|@import|url\(", text)
    for element in tree.iter():
        assert not {"src", "href"} & set(element.attrib)
    assert "default-src 'none'" in text


def test_the_page_has_the_verdicts_and_the_command_that_repeats_the_run(tmp_path: Path) -> None:
    _, tree = page(tmp_path / "out.html", make(*TWO_AT_ONCE, verdicts=(CONDEMNED,)))
    (row,) = tree.findall(".//tbody/tr")
    cells = ["".join(cell.itertext()) for cell in row]
    assert cells[:3] == ["I4", "one leads", "violated"]
    assert "two led" in cells[3] and "c1 leads token=41" in cells[3]
    words = shlex.split("".join(tree.findall(".//body/pre")[0].itertext()))
    assert words[words.index("--seed") + 1] == "4711"
    assert words[words.index("--faults") + 1] == "kill,pause"


def test_the_page_shows_red_only_where_something_is_wrong(tmp_path: Path) -> None:
    _, good = page(tmp_path / "good.html", make(*TAKEN_OVER))
    _, bad = page(tmp_path / "bad.html", make(*TWO_AT_ONCE, verdicts=(CONDEMNED,)))
    red = {"clash", "violation", "violated"}
    assert not red & set(classes(good))
    assert red <= set(classes(bad))


def test_bars_stand_where_they_belong(tmp_path: Path) -> None:
    _, tree = page(tmp_path / "out.html", make(*belief("c1", 41, 15, 30)))
    bars = [e for e in tree.iter("div") if e.get("class") == "bar"]
    assert [bar.get("style") for bar in bars] == ["left:25.000%;width:25.000%;"] * 2
    assert ["".join(bar.itertext()) for bar in bars] == ["c1", "41"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "</title><script>alert('1')</script>\"&${x}"
    run = make(
        *belief(evil, 41, 5, 8),
        *fault(1, evil, evil, 10, 12, evil),
        *fault(2, evil, "store", 20, 22),
        event(9, evil, "lost", token=evil, reason=evil),
        verdicts=(Verdict(evil, evil, Status.VIOLATED, evil, (event(9, evil, evil, x=evil),)),),
    )
    run = replace(run, store=evil, notes=(evil,), faults=(evil,))
    text, tree = page(tmp_path / "out.html", run)
    assert "<script>alert" not in text
    assert len(list(tree.iter("script"))) == 1
    assert evil in [element.get("title") for element in tree.iter()]


# The PNG


def is_red(red: int, green: int, blue: int) -> bool:
    return red > 180 and green < 60 and blue < 60


def pixels(path: Path, run: Run) -> tuple[tuple[int, int], int]:
    """Its size, and how many pixels are red."""
    write_png(path, run)
    with Image.open(path) as image:
        assert image.format == "PNG"
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
        assert colours is not None
        return image.size, sum(
            count for count, colour in colours if is_red(*cast(tuple[int, int, int], colour))
        )


def test_the_png_is_red_only_where_something_is_wrong(tmp_path: Path) -> None:
    assert pixels(tmp_path / "good.png", make(*TAKEN_OVER))[1] == 0
    seen = pixels(tmp_path / "seen.png", make(*TWO_AT_ONCE))[1]
    condemned = pixels(tmp_path / "bad.png", make(*TWO_AT_ONCE, verdicts=(CONDEMNED,)))[1]
    assert condemned > seen > 1000


def test_the_png_grows_with_the_lanes_and_with_the_length(tmp_path: Path) -> None:
    size, _ = pixels(tmp_path / "small.png", make())
    more, _ = pixels(tmp_path / "more.png", make(*belief("c3", 1, 5, 6), *belief("c4", 2, 7, 8)))
    long, _ = pixels(tmp_path / "long.png", make(length=600.0))
    assert size[0] == more[0] == 2400
    assert more[1] - size[1] == 2 * 2 * 48
    assert long[0] > 3000


def test_the_png_takes_names_for_text_not_for_formulas(tmp_path: Path) -> None:
    run = make(*fault(1, "$\\frac{", "$x_$", 5, 9), *belief("c$1$", 41, 10, 30))
    assert pixels(tmp_path / "out.png", run)[1] == 0


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "leaderlock.testing.chaos.png", None)
    with pytest.raises(MissingDependency, match=r"leaderlock\[chaos\]"):
        write_png(tmp_path / "out.png", make())
    assert not (tmp_path / "out.png").exists()
