"""What the pages list is what the code has: options, figures, exceptions, log lines, names."""

from __future__ import annotations

import ast
import inspect
import logging
import re
from dataclasses import MISSING, fields

import pytest

import leaderlock
from leaderlock import LeaderElector, aio, config, errors, fencing, registry, testing
from leaderlock.telemetry import events
from leaderlock.telemetry.events import Event
from leaderlock.timing import Timing
from tests.elector.tools import ROOT
from tests.unit.test_house_rules import PACKAGE

DOCS = ROOT / "docs"
STORES = ["zookeeper", "etcd", "consul", "redis", "sqlite", "memory"]
EXAMPLES = {"sqlite": "sqlite:///tmp/election.db", "memory": "memory://"}


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def rows(page: str) -> dict[str, list[str]]:
    """The rows of all tables of a page, by the names in backticks in their first cell."""
    found = {}
    for line in re.findall(r"^\| (`.+) \|$", read(page), re.MULTILINE):
        first, *cells = map(str.strip, line.split("|"))
        for name in re.findall(r"`([^`]+)`", first):
            found[name] = cells
    return found


# Configuration


def configuration_table() -> str:
    """The table in docs/configuration.md: to change it, change the options, and paste this."""
    options = config._IDENTITY | config._COMMON
    lines = [
        f"| `{key}` | `{config.ENV_PREFIX}{key.upper()}` | {option.doc} |"
        for key, option in options.items()
    ]
    return "\n".join(["| key | environment | meaning |", "|---|---|---|", *lines])


def test_the_table_of_the_configuration_is_made_from_the_code() -> None:
    assert configuration_table() in read("configuration.md"), configuration_table()


@pytest.mark.parametrize("key", [*config._IDENTITY, *config._COMMON])
def test_the_default_that_an_option_tells_is_the_one_that_it_has(key: str) -> None:
    said = re.search(r"default ([\w.]+)$", (config._IDENTITY | config._COMMON)[key].doc)
    real = [
        f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        for owner in (config.Config, Timing)
        for field in fields(owner)
        if field.name == key and field.default not in (MISSING, None, "")
    ]
    assert ([said[1]] if said else []) == real


@pytest.mark.parametrize("store", STORES)
def test_the_page_of_a_store_names_its_options(store: str) -> None:
    for option in registry.find_backend(store).options:
        assert re.search(rf"\b{option}\b", read(f"stores/{store}.md")), option


@pytest.mark.parametrize("store", STORES[:4])
def test_the_page_of_a_server_says_the_same_things_as_those_of_the_others(store: str) -> None:
    headings = re.findall(r"^## (.+)$", read(f"stores/{store}.md"), re.MULTILINE)
    expected = (
        "URLs and options", "How it elects", "How long a fail-over takes",
        "What it does not promise", "Settings of the servers", "Security",
    )  # fmt: skip
    assert [heading for heading in headings if heading in expected] == list(expected)


def test_the_page_of_all_stores_names_every_scheme() -> None:
    named = set(re.findall(r"`([a-z+]+)://`", read("stores/index.md")))
    assert named == set(registry._BUILT_IN)


def test_the_bounds_of_a_fail_over_are_those_that_the_timing_tells() -> None:
    (line,) = re.findall(r"^\| at the latest.*$", read("choose-a-store.md"), re.MULTILINE)
    said = re.findall(r"\| ([\d.]+) s(?= \|)", line)
    timings = [
        LeaderElector(EXAMPLES.get(store, f"{store}://127.0.0.1"), "e").timing for store in STORES
    ]
    assert said == [f"{timing.worst_case_failover:.1f}" for timing in timings]


# Errors and log lines


def exceptions() -> list[str]:
    return [
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, errors.LeaderLockError)
    ]


def test_every_exception_is_explained() -> None:
    explained = rows("errors.md")
    for name in exceptions():
        assert len(explained[name]) == 2 and all(explained[name]), name


def logged_lines() -> set[str]:
    """The first word of what the package logs by itself, beside the events."""
    calls = (
        node
        for path in PACKAGE.rglob("*.py")
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("log", "info", "warning", "error", "exception")
    )
    texts = (arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant))
    return {
        text.split()[0]
        for text in texts
        if isinstance(text, str) and text.startswith("leaderlock.")
    }


def test_every_log_line_is_explained_and_no_other() -> None:
    explained = {name for name in rows("errors.md") if name.startswith("leaderlock.")}
    kinds = [thing for thing in vars(events).values() if inspect.isclass(thing)]
    told = {
        kind.name: kind.log_level
        for kind in kinds
        if issubclass(kind, Event) and "name" in vars(kind) and kind is not Event
    }
    as_events = {name for name, level in told.items() if level != logging.NOTSET}
    assert (logged_lines() | as_events) - explained == set()
    assert explained - logged_lines() - set(told) == set()


# Reference


def public_names() -> list[str]:
    names = [name for name in leaderlock.__all__ if not name.startswith("_")]
    names += [f"aio.{name}" for name in aio.__all__]
    names += [f"fencing.{name}" for name in fencing.__all__]
    told = (thing for thing in vars(testing).values() if inspect.isclass(thing))
    return names + [
        f"testing.{thing.__name__}" for thing in told if thing.__module__.startswith("leaderlock.")
    ]


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_in_the_reference(name: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]
    shown = {
        target for page in pages for target in re.findall(r"^::: ([\w.]+)", page, re.MULTILINE)
    }
    package, _, short = name.rpartition(".")
    home = (
        leaderlock if not package else {"aio": aio, "fencing": fencing, "testing": testing}[package]
    )
    module = getattr(home, short).__module__
    assert shown & {f"{module}.{short}", module, f"leaderlock.{name}"}, f"{module}.{short}"
