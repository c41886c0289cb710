"""The rules of CONTRIBUTING.md that a program can check."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import leaderlock
from tests.elector.tools import ROOT, python

PACKAGE = ROOT / "leaderlock"

# From the bottom up. A module imports from layers below its own, never from above; within a layer
# (a line) only in the order in which the modules stand.
LAYERS = (
    ("errors", "clock", "backoff", "capabilities", "workers", "interrupt", "listeners"),
    ("timing", "tokens", "url"),
    ("machine", "leadership"),
    ("backends.base",),
    ("backends",),
    ("registry", "config"),
    ("telemetry", "observer", "telemetry.events", "stream"),
    ("runtime", "callbacks", "terms", "progress", "outages", "yielding"),
    ("candidate", "feed", "telemetry.health"),
    ("client",),
    ("decorators",),
    ("any_elector",),
    ("elector",),
    ("signals",),
    ("aio",),
    (
        "fencing.gate",
        "fencing.dialects",
        "fencing.links",
        "fencing.headers",
        "fencing.sql",
        "fencing.redis",
        "fencing.http",
        "fencing.store",
        "fencing",
    ),
    ("",),
    (
        "telemetry.post",
        "telemetry.watch",
        "telemetry.prometheus",
        "telemetry.opentelemetry",
        "telemetry.beacon",
    ),
    (
        "monitor",
        "monitor.alarms",
        "monitor.beliefs",
        "monitor.report",
        "monitor.state",
        "monitor.watcher",
        "monitor.webhook",
        "monitor.metrics",
        "monitor.web",
        "monitor.server",
    ),
    ("cli",),
    ("testing",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# What a file outside of the core may import beyond the standard library.
CLIENTS = {"kazoo", "etcd3", "consul", "redis", "grpc"}
OWN_WORLD = {
    "backends.zookeeper": {"kazoo"},
    "backends.etcd": {"etcd3", "grpc"},
    "backends.consul": {"consul"},
    "backends.redis": {"redis"},
    "fencing.consul": {"consul"},
    "fencing.etcd": {"etcd3", "grpc"},
    "fencing.zookeeper": {"kazoo"},
    "cli": {"typer", "rich"},
    "monitor.metrics": {"prometheus_client"},
    "monitor.server": {"uvicorn"},
    "monitor.web": {"starlette"},
    "telemetry.prometheus": {"prometheus_client"},
    "telemetry.opentelemetry": {"opentelemetry"},
    "testing": {"pytest"},
    "testing.chaos.cli": {"typer", "rich"},
    "testing.chaos.summary": {"typer"},
    "testing.chaos.png": {"matplotlib"},
    "testing.chaos.stores.zookeeper": {"kazoo"},
}
LONGEST_FILE = 550

Import = tuple[str, int, bool]
"""What is imported, on which line, and whether it is only for types or on first use."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`backends.memory` for leaderlock/backends/memory.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    deferred = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, node in deferred
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            yield node.module, node.lineno, node in deferred


def rank(name: str) -> int:
    """The layer of a module, or of the nearest package above it that has one."""
    while name not in RANK:
        if "." not in name:
            raise AssertionError(f"{name!r} has no layer: give it one in LAYERS")
        name = name.rpartition(".")[0]
    return RANK[name]


def world(name: str) -> set[str]:
    return {
        m for part, known in OWN_WORLD.items() if f"{name}.".startswith(f"{part}.") for m in known
    }


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    own = name_of(path)
    for imported, line, deferred in imports(path):
        if imported.split(".")[0] != "leaderlock" or deferred:
            continue
        below = imported.removeprefix("leaderlock").lstrip(".")
        order = [name for layer in LAYERS for name in layer]
        assert rank(below) <= rank(own), f"{path}:{line} imports upwards: {imported}"
        if rank(below) == rank(own) and {own, below} <= set(order):
            assert order.index(below) < order.index(own), f"{path}:{line} imports {imported}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name_of(path): {
            imported.removeprefix("leaderlock").lstrip(".")
            for imported, _, deferred in imports(path)
            if imported.split(".")[0] == "leaderlock" and not deferred
        }
        for path in modules()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for imported in graph.get(name, ()):
                visit(imported, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_beyond_the_standard_library_there_is_tenacity_and_what_a_part_is_made_for(
    path: Path,
) -> None:
    allowed = {*sys.stdlib_module_names, "leaderlock", "tenacity", *world(name_of(path))}
    for imported, line, _ in imports(path):
        assert imported.split(".")[0] in allowed, f"{path}:{line} imports {imported}"


@pytest.mark.parametrize(
    "name",
    [
        "machine", "timing", "tokens", "capabilities", "errors",
        "monitor.alarms", "monitor.beliefs", "monitor.report", "monitor.state",
    ],
)  # fmt: skip
def test_the_pure_parts_know_no_clock_thread_socket_or_log(name: str) -> None:
    impure = {"time", "threading", "socket", "logging", "os", "asyncio", "random", "datetime"}
    for imported, line, _ in imports(PACKAGE / f"{name.replace('.', '/')}.py"):
        assert imported.split(".")[0] not in impure, f"{name}.py:{line} imports {imported}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_wall_clock_and_sleeps_are_not_used(path: Path) -> None:
    banned = {"time.time", "time.sleep", "time.time_ns", "datetime.now"}
    if name_of(path).startswith("testing.servers"):  # it waits for what other processes do
        banned.discard("time.sleep")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        assert text not in banned, f"{path}:{node.lineno}"  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            names = {alias.name for alias in node.names}
            assert not names & {"time", "sleep", "time_ns", "datetime"}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_exception_is_swallowed_unseen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: a bare except"
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            empty = all(isinstance(line, ast.Pass) for line in node.body)
            assert not (broad and empty), f"{path}:{node.lineno}: swallows everything"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{path} has {lines} lines"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"


PUBLIC = [
    "LeaderElector", "Leadership", "LossReason", "FencingToken", "LeaderInfo", "connect", "Client",
    "leader_only", "Backend", "Timing", "LeaderLockError", "ConfigurationError", "UnknownBackend",
    "MissingDependency", "BackendUnavailable", "BackendRefused", "NotLeader", "LeadershipLost",
    "CampaignTimeout", "StaleToken", "TokenRegression", "stop_on_signals",
]  # fmt: skip
MEMBERS = {
    "LeaderElector": (
        "from_config from_env start stop lead run resign leader observe wait_elected is_leader "
        "leadership on_elected on_lost on_leader_change leader_only timing election candidate_id "
        "__enter__ __exit__"
    ),
    "Leadership": "check remaining is_valid wait_lost leader_id token election reason",
    "FencingToken": "epoch value source parse __int__ __str__ __lt__",
    "LeaderInfo": "candidate_id token metadata",
    "Client": "elector close timing __enter__ __exit__",
    "Timing": "ttl belief_window heartbeat request_timeout worst_case_failover",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_names_of_the_contract_can_be_imported(name: str) -> None:
    assert name in leaderlock.__all__
    assert name in dir(leaderlock)
    for member in MEMBERS.get(name, "").split():
        assert hasattr(getattr(leaderlock, name), member), f"{name}.{member}"


def test_everything_public_is_there_and_nothing_else() -> None:
    scope: dict[str, object] = {}
    exec("from leaderlock import *", scope)
    assert set(leaderlock.__all__) <= set(scope)
    with pytest.raises(AttributeError, match="no_such_name"):
        leaderlock.no_such_name  # noqa: B018


def test_the_version_is_that_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{leaderlock.__version__}"' in text


PUBLIC_MODULES = (
    "backends.admin",
    "telemetry.events", "telemetry.health", "telemetry.prometheus", "telemetry.opentelemetry",
    "telemetry.beacon", "testing.clock", "fencing.gate", "fencing.sql",
    "fencing.redis", "fencing.http", "fencing.headers", "fencing.store", "fencing.etcd",
    "fencing.zookeeper", "fencing.consul",
)  # fmt: skip


def public_things() -> Iterator[tuple[str, object]]:
    for name in leaderlock.__all__:
        yield name, getattr(leaderlock, name)
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(f"leaderlock.{module_name}")
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", "") == module.__name__ and not name.startswith("_"):
                yield f"{module_name}.{name}", thing


def undocumented() -> Iterator[str]:
    for name, thing in public_things():
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}("):  # a dataclass's own
            yield name
        for member_name, member in vars(thing).items():
            if member_name.startswith("_"):
                continue
            shown = inspect.isroutine(member) or isinstance(member, property)
            if shown and not inspect.getdoc(getattr(thing, member_name)):
                yield f"{name}.{member_name}"


def test_everything_public_has_a_docstring() -> None:
    assert list(undocumented()) == []


def test_a_fresh_import_pulls_in_only_the_standard_library_and_leaderlock() -> None:
    done = python(
        "import sys\n"
        "before = set(sys.modules)\n"
        "from leaderlock import *\n"
        "from leaderlock import connect\n"
        "connect('memory://').elector('e')\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names - {'leaderlock', 'tenacity'}))\n"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_import_leaderlock_starts_nothing_and_imports_no_client() -> None:
    done = python(
        "import sys, threading, leaderlock\n"
        f"print(sorted({CLIENTS!r} & set(sys.modules)), threading.active_count())\n"
    )
    assert (done.stdout, done.stderr) == ("[] 1\n", "")


def test_the_import_of_an_elector_takes_nothing_that_only_an_elector_needs() -> None:
    done = python(
        "import sys\n"
        "from leaderlock import LeaderElector\n"
        "print(sorted({'tenacity', 'asyncio', 'ssl', 'sqlite3', 'socket'} & set(sys.modules)))\n"
        "LeaderElector('memory://?ttl=3', 'e')\n"
        "print('tenacity' in sys.modules)\n"
    )
    assert (done.stdout, done.stderr) == ("[]\nTrue\n", "")


def test_who_does_not_use_asyncio_does_not_have_it_imported() -> None:
    done = python(
        "import sys\n"
        "from leaderlock import LeaderElector\n"
        "elector = LeaderElector('memory://?ttl=3', 'e')\n"
        "work = elector.leader_only(lambda: 'worked')\n"
        "with elector.lead(timeout=20):\n"
        "    print(work(), 'asyncio' in sys.modules)\n"
    )
    assert (done.stdout, done.stderr) == ("worked False\n", "")


@pytest.mark.parametrize("name", ["PYTHONDEVMODE", "PYTHONOPTIMIZE", "PYTHONWARNDEFAULTENCODING"])
def test_it_runs_under_the_interpreters_other_modes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    done = python(
        "from leaderlock import LeaderElector\n"
        "with LeaderElector('memory://?ttl=3', 'e').lead(timeout=20) as leadership:\n"
        "    leadership.check()\n"
        "print('led')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "led\n", "")
