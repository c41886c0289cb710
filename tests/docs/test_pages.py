"""What holds for every page: its blocks are run or copied, its commands exist, it is short."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.docs.test_snippets import PAGES, ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LONGEST_PAGE = 2600  # words: a quarter of an hour

# Run (test_snippets.py), parsed (below), read from a file by mkdocs, or nothing that could be run.
FENCES = re.compile(
    r'python(?: title="[^"]+")?|py|toml|json|yaml|text|sh|\{ \.py title="[\w.]+" \}',
)
PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}
COPIES = "".join(
    path.read_text(encoding="utf-8")
    for folder in ("tests", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced_blocks(page: Path) -> list[tuple[str, str]]:
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^ *```(.*)\n([\s\S]*?)^ *```$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_is_of_a_kind_that_is_checked(page: Path) -> None:
    for language, code in fenced_blocks(page):
        assert FENCES.fullmatch(language.strip()), f"```{language} is checked by nothing"
        if "title=" in language and language.startswith("{"):
            assert code.startswith('--8<-- "'), f"{language}: neither run nor read from a file"
        if parse := PARSERS.get(language):
            parse(code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_that_is_not_run_is_a_copy_of_what_the_tests_run(page: Path) -> None:
    copies = re.sub(r"\s+", " ", COPIES)
    for language, code in fenced_blocks(page):
        if language == "py":
            assert re.sub(r"\s+", " ", code).strip() in copies, code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"(?:^ {4,}|`)make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"make {target}"
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module), f"python -m {module}"


def test_a_warning_of_mkdocs_fails_the_build() -> None:
    commands = re.findall(r"mkdocs build.*", MAKEFILE)
    assert commands
    for command in commands:  # what --quiet hides, --strict does not see
        assert "--strict" in command and "--quiet" not in command and "-q" not in command.split()


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
        *("docker/README.md", "examples/billing/README.md"),
    ],
)
def test_the_links_of_a_page_that_is_not_part_of_the_site_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_can_be_read_in_one_sitting(page: Path) -> None:
    prose = re.sub(r"^\[[\w-]+\]: .*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(prose.split()) <= LONGEST_PAGE


def test_each_thing_that_is_said_of_a_peer_is_linked_to_where_it_is_seen() -> None:
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    targets = dict(re.findall(r"^\[([\w-]+)\]: (https://\S+)$", page, re.MULTILINE))
    rows = re.findall(r"^\| ([^|-].+) \|$", page, re.MULTILINE)
    table, others = (
        [row.split(" | ")[1:] for row in rows if row.count(" | ") == columns] for columns in (5, 2)
    )
    answers = [cell for row in table for cell in row[:-1]]  # the last column is ours
    answers += [cell for row in others for cell in row]
    assert len(answers) >= 40
    for answer in answers:
        assert re.search(r"\]\[[\w-]+\]", answer), f"no source: {answer}"
    used = set(re.findall(r"\]\[([\w-]+)\]", page))
    assert used == set(targets)
    for target in targets.values():
        moving = re.search(r"/(?:blob|tree)/(?![0-9a-f]{40}/)", target)
        assert not moving, f"{target} shows something else tomorrow"
