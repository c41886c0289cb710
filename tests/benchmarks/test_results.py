"""What is made of the measurements: ratios, tables, the picture, who is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.field import CORRECT, FLOOR, Entry, Missing
from benchmarks.png import draw
from benchmarks.results import Figures, OnStore, Results, Spread

ABOUT = {"date": "2026-01-01", "machine": "a machine", "load": "0", "ttl": 3.0, "command": "bench"}


@pytest.fixture
def results() -> Results:
    on = OnStore(missing={"somelock": "no module somelock"})
    on.figures[FLOOR] = Figures(Spread(0.002, 0.004, 100), Spread(0.003, 0.009, 20))
    on.figures[CORRECT] = Figures(Spread(0.004, 0.005, 100), Spread(0.006, 0.007, 20))
    on.figures["leaderlock"] = Figures(
        Spread(0.005, 0.010, 100),
        Spread(0.0045, 0.018, 20),
        requests={"elect_resign": 2.0, "leader": 3.0},
        cpu={"leader": 0.0012},
        memory=2048.0,
        threads=7,
        threads_more=0.0,
        asks={"is_leader": 90.0},
    )
    on.figures["badlock"] = Figures(errors={"hand_over": "TypeError: no"})
    return Results(dict(ABOUT), {"etcd": on}, {"import leaderlock": 0.03})


def test_a_ratio_is_of_the_medians_and_its_unit_is_the_floor(results: Results) -> None:
    on = results.stores["etcd"]
    assert on.ratio("leaderlock", "elect_resign") == pytest.approx(2.5)
    assert on.ratio("leaderlock", "elect_resign", to=CORRECT) == pytest.approx(1.25)
    assert on.ratio("leaderlock", "hand_over") == pytest.approx(1.5)
    assert on.ratio("leaderlock", "hand_over", tail=True) == pytest.approx(2.0)
    assert on.ratio(FLOOR, "hand_over") == 1
    assert on.ratio("badlock", "hand_over") is None
    assert on.ratio("nobody", "hand_over") is None


def test_without_a_floor_there_is_no_ratio(results: Results) -> None:
    on = results.stores["etcd"]
    del on.figures[FLOOR]
    assert on.ratio("leaderlock", "elect_resign") is None


def test_a_spread_has_its_median_and_its_tail() -> None:
    spread = Spread.of([float(number) for number in range(200, 0, -1)])
    assert spread == Spread(100.5, 199.0, 200)
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 3.0, 3), "of few, the worst"


def test_the_table_shows_the_ratios_and_the_errors(results: Results) -> None:
    text = tables.markdown(results)
    (row,) = [line for line in text.splitlines() if line.startswith("| leaderlock | 5.00")]
    assert row.split(" | ")[1:5] == ["5.00 ms", "2.50", "1.25", "10.00 ms"]
    (row,) = [line for line in text.splitlines() if line.startswith("| leaderlock | 2.0 ")]
    assert "is_leader 90 ns" in row
    assert "2.0 KiB" in row
    assert "7 +0" in row
    assert "somelock: not measured: no module somelock" in text
    assert "badlock: hand_over failed: TypeError: no" in text
    assert "| import leaderlock | 30.00 ms |" in text
    for word in "2026-01-01", "a machine", "`bench`":
        assert word in text


def test_the_json_has_the_ratios_beside_the_figures(results: Results) -> None:
    on = results.as_json()["stores"]["etcd"]
    assert on["contestants"]["leaderlock"]["ratios"] == {
        "elect_resign_to_floor": pytest.approx(2.5),
        "elect_resign_to_correct_floor": pytest.approx(1.25),
        "elect_resign_p99_to_floor": pytest.approx(2.5),
        "elect_resign_p99_to_correct_floor": pytest.approx(2.0),
        "hand_over_to_floor": pytest.approx(1.5),
        "hand_over_to_correct_floor": pytest.approx(0.75),
        "hand_over_p99_to_floor": pytest.approx(2.0),
        "hand_over_p99_to_correct_floor": pytest.approx(18 / 7),
    }
    assert on["missing"] == {"somelock": "no module somelock"}


def test_the_picture_is_drawn_with_what_failed_in_it(results: Results, tmp_path: Path) -> None:
    figure = draw(results)
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "2.50  (5.00 ms)" in texts
    assert "not measured" in texts


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (Entry("a", "a:make", ("no_such_module",)), "no module no_such_module"),
        (Entry("b", "b:make", program="no-such-program"), "no-such-program"),
        (Entry("no such venv", "c:make", pins=("nothing==1",)), "nothing==1"),
    ],
)
def test_a_peer_that_is_missing_is_named_with_the_reason(entry: Entry, why: str) -> None:
    with pytest.raises(Missing, match=why):
        entry.python("python", may_install=False)
