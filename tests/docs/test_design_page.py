"""The pictures in docs/design.md are of the package as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leaderlock.machine import State
from tests.elector.tools import ROOT
from tests.unit.test_house_rules import imports, modules, name_of

PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def drawn_layers() -> list[list[str]]:
    """The names in each layer of the first picture, from the top."""
    picture = re.search(r"```text\n(┌.*?┘)\n```", PAGE, re.DOTALL)
    assert picture is not None
    rows = (line.split("│")[1:3] for line in picture[1].splitlines() if line.startswith("│"))
    layers: list[list[str]] = []
    for label, names in rows:
        if label.strip():  # else the line goes on with the layer above
            layers.append([])
        layers[-1] += [name.rstrip("/") for name in names.split()]
    return layers


LAYER = {name: depth for depth, names in enumerate(drawn_layers()) for name in names}


def layer_of(name: str) -> int:
    """Where a module is drawn, or the nearest package above it that is."""
    while name not in LAYER:
        assert "." in name, f"{name} is not drawn in docs/design.md"
        name = name.rpartition(".")[0]
    return LAYER[name]


def test_every_part_is_drawn_once_and_nothing_else() -> None:
    there = {name_of(path) for path in modules()} - {""}
    drawn = [name for names in drawn_layers() for name in names]
    assert len(drawn) == len(set(drawn))
    assert {name for name in drawn if name not in there} == set()
    assert {name.partition(".")[0] for name in there} <= set(drawn)


# The package itself names them all, for type checkers.
@pytest.mark.parametrize("path", [path for path in modules() if name_of(path)], ids=name_of)
def test_a_part_imports_from_its_own_layer_and_below(path: Path) -> None:
    for imported, line, deferred in imports(path):
        package, _, below = imported.partition(".")
        if package == "leaderlock" and below and not deferred:
            drawn_above = layer_of(below) < layer_of(name_of(path))
            assert not drawn_above, f"{path}:{line} imports {imported}, which is drawn above it"


def test_the_states_of_the_machine_are_shown_from_its_own_docstring() -> None:
    snippet = re.search(r'--8<-- "leaderlock/machine\.py:(\d+):(\d+)"', PAGE)
    assert snippet is not None
    source = (ROOT / "leaderlock" / "machine.py").read_text(encoding="utf-8").splitlines()
    shown = "\n".join(source[int(snippet[1]) - 1 : int(snippet[2])])
    states = set(re.findall(r"\b[A-Z_]{4,}\b", shown))
    assert states == {state.name for state in State}
