"""From a URL's scheme to its backend: built in, or from an entry point."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from leaderlock import ConfigurationError, LeaderElector, MissingDependency, UnknownBackend
from leaderlock.backends.memory import MemoryBackend
from leaderlock.registry import _BUILT_IN, ENTRY_POINT_GROUP, find_backend, known_schemes
from tests.elector.tools import PATIENCE, python


class Plugin(MemoryBackend):
    """A third party's backend."""

    schemes = ("plugin",)


NotABackend = object()


def plug_in(monkeypatch: pytest.MonkeyPatch, scheme: str, value: str) -> None:
    import importlib.metadata

    real = importlib.metadata.entry_points

    def entry_points(**selection: Any) -> Any:
        if selection.get("group") == ENTRY_POINT_GROUP:
            return [EntryPoint(scheme, value, ENTRY_POINT_GROUP)]
        return real(**selection)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_built_in_backends_are_found() -> None:
    assert find_backend("memory") is MemoryBackend
    assert find_backend("sqlite").schemes == ("sqlite",)
    assert {"memory", "sqlite"} <= set(known_schemes())


@pytest.mark.parametrize("scheme", sorted(_BUILT_IN))
def test_every_built_in_class_serves_the_scheme_that_it_is_registered_for(scheme: str) -> None:
    assert scheme in find_backend(scheme).schemes


def test_an_unknown_scheme_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownBackend, match=r"no backend for nowhere://; there are .*memory://"):
        find_backend("nowhere")
    with pytest.raises(ConfigurationError):
        LeaderElector("nowhere://", "e")


def test_a_third_partys_backend_is_found_by_its_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plug_in(monkeypatch, "plugin", f"{__name__}:Plugin")
    assert find_backend("plugin") is Plugin
    assert "plugin" in known_schemes()
    with LeaderElector("plugin://name?ttl=3", "e").lead(timeout=PATIENCE) as leadership:
        assert leadership.is_valid


def test_a_built_in_scheme_cannot_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "memory", f"{__name__}:Plugin")
    assert find_backend("memory") is MemoryBackend


def test_a_plugin_that_is_no_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "plugin", f"{__name__}:NotABackend")
    with pytest.raises(ConfigurationError, match=r"not a subclass of leaderlock\.Backend"):
        find_backend("plugin")


@pytest.mark.parametrize("value", ["no_such_module_anywhere:X", f"{__name__}:NoSuchName"])
def test_a_plugin_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    plug_in(monkeypatch, "plugin", value)
    with pytest.raises(MissingDependency, match=f"plugin:// .{value}. cannot be loaded"):
        find_backend("plugin")


@pytest.mark.parametrize("error", ["ImportError('no client')", "TypeError('new protobuf')"])
def test_a_missing_client_library_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str
) -> None:
    (tmp_path / "backend_that_fails.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(_BUILT_IN, "x", ("backend_that_fails", "X", "extra"))
    with pytest.raises(MissingDependency, match=r"pip install 'leaderlock\[extra\]'") as caught:
        find_backend("x")
    assert error.split("(")[0] in str(caught.value)
    assert "backend_that_fails" not in sys.modules


def test_naming_one_backend_imports_no_other() -> None:
    done = python(
        "import sys\n"
        "from leaderlock import connect\n"
        "connect('memory://')\n"
        "print([m for m in sys.modules if m.startswith('leaderlock.backends.')])\n"
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "['leaderlock.backends.base', 'leaderlock.backends.memory']"
