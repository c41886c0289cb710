"""Every Python and TOML block of the README and the documentation works as it stands there."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from leaderlock import LeaderElector
from tests.servers.external import Shared

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a page shows of logging is for its own program, and not for the tests that follow."""
    log = logging.getLogger("leaderlock")
    level = log.level
    yield
    log.setLevel(level)


class Snippet(NamedTuple):
    page: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def find_snippets(language: str) -> list[Snippet]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        block = rf'^```{language}(?: title="[^"]*")?\n(.*?)^```$'
        for match in re.finditer(block, text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Snippet(page, line, language, match[1]))
    return found


STORES = {
    "etcd": "etcd",
    "zookeeper": "zookeeper",
    "consul": "consul",
    "redis": "redis",
    "postgresql": "postgresql",
}

# The same without a scheme: as "host:port", or as the two arguments of a client.
PORTS = {"2379": "etcd", "2181": "zookeeper"}

# What a reader brings along to the snippets of the README.
READERS_OWN = """
def due(): return ["invoice-1", "invoice-2"]
def charge(invoice, fence): charged.append((invoice, fence))
charged = []
"""


@pytest.mark.parametrize("snippet", find_snippets("python"), ids=str)
def test_a_python_block_runs(
    snippet: Snippet,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = snippet.code.replace("/var/lib/app", str(tmp_path))
    for scheme, real in STORES.items():  # what an example calls a server or a cluster
        database = "/app" if real == "postgresql" else ""
        if re.search(found := rf"\b{scheme}://10\.[0-9.:,]+{database}", code):
            server: Shared = request.getfixturevalue(real)
            code = re.sub(found, server.url, code)

    def real_address(match: re.Match[str]) -> str:
        url = urlsplit(request.getfixturevalue(PORTS[match[2]]).url)
        return f'"{url.hostname}{match[1]}{url.port}'

    code = re.sub(r'"10[0-9.]+(:|", port=)(\d+)', real_address, code)
    if ".from_env()" in code:
        monkeypatch.setenv("LEADERLOCK_URL", "memory://environment")
        monkeypatch.setenv("LEADERLOCK_ELECTION", "billing")
        code = code.replace("timeout=30", "timeout=0.1")  # what stands for the work
    namespace: dict[str, object] = {"__name__": "snippet"}
    exec(READERS_OWN, namespace)
    if "elector.run(work)" in code and "elector = " not in code:
        code = RUN_PREAMBLE + code
    try:
        exec(compile("\n" * snippet.line + code, str(snippet.page), "exec"), namespace)
    finally:
        # What only observes ends with the last reference to it, and functions refer to all.
        namespace.clear()
        gc.collect()


# The README shows a service's main loop by itself, after the elector of the block before it.
RUN_PREAMBLE = """
import threading
from leaderlock import LeaderElector
elector = LeaderElector("memory://readme", "billing")
def charge_due_customers(): charged.append("all")
threading.Timer(0.3, elector.stop).start()
"""


@pytest.mark.parametrize(
    "snippet", [s for s in find_snippets("toml") if "[leaderlock]" in s.code], ids=str
)
def test_a_configuration_block_is_accepted(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if match := re.search(r"# and (LEADERLOCK_\w+) in the environment", snippet.code):
        monkeypatch.setenv(match[1], "what nobody else should see")
    file = tmp_path / "leaderlock.toml"
    file.write_text(snippet.code.replace("/var/lib/app", str(tmp_path)), encoding="utf-8")
    assert LeaderElector.from_config(file).election == "billing"


EXPORTED = sorted(
    {url for page in PAGES for url in re.findall(r"export .*_URL=(\S+)", page.read_text("utf-8"))}
)


@pytest.mark.parametrize("url", EXPORTED)
def test_a_url_that_a_page_exports_is_accepted(url: str) -> None:
    assert LeaderElector(url, "billing").timing.ttl == 10


def test_there_are_snippets_to_run() -> None:
    assert len(EXPORTED) >= 5
    assert len(find_snippets("python")) >= 10
