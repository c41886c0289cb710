"""docs/recipes.md shows the files that the tests run, and all of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "recipes"
SHOWN_NOWHERE = {"manage.py", "settings.py"}  # Django's own ways, and nothing of ours


def test_the_page_shows_every_recipe() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    shown = {ROOT / path for path in re.findall(r'^--8<-- "([^":]+)"$', page, re.MULTILINE)}
    recipes = {
        path
        for path in RECIPES.rglob("*.py")
        if path.name != "__init__.py" and path.name not in SHOWN_NOWHERE
    }
    assert shown == recipes
