"""Draws docs/images/monitor.png:  python -m tests.monitor.picture [FILE] [--dark]

Two minutes in the life of five elections, for real: hand-overs, an election that nobody leads, and
a node that was given a store of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from leaderlock import Client, LeaderElector, connect
from leaderlock.telemetry import beacon
from leaderlock.testing.servers.redis import RedisServer
from tests.elector.tools import PATIENCE, ROOT
from tests.monitor.browser import chromium
from tests.monitor.tools import MonitorProcess

_ELECTIONS = ("billing", "cron", "reports", "search-index", "thumbnails")
_STEP = 9.0  # seconds of the life that is drawn


def draw(file: Path, *, dark: bool) -> None:
    """Takes about two minutes."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        url = ends.enter_context(RedisServer()).url
        options = ("--leaderless", "20")
        monitor = ends.enter_context(MonitorProcess(url, folder, *options))
        nodes = [ends.enter_context(connect(url, ttl=5, quarantine=False)) for _ in range(3)]
        stray = ends.enter_context(connect(f"sqlite://{folder}/stray.db", ttl=5))
        for client in (*nodes, stray):
            ends.callback(beacon.start(client, monitor.url, interval=0.5).close)
        leaders: dict[str, LeaderElector] = {}
        for step in range(12):
            for place, election in enumerate(_ELECTIONS):
                if (step + place) % 3 == 0 and election in leaders:
                    leaders.pop(election).stop()
                if election not in leaders and not (election == "reports" and step > 8):
                    number = (step + step // 3 + place) % 3
                    leaders[election] = _lead(nodes[number], election, f"web-{number + 1}")
            if step == 9:
                leaders["stray"] = _lead(stray, "billing", "web-4")
            time.sleep(_STEP)
        browser = ends.enter_context(chromium(folder / "profile", size=(1280, 1080)))
        browser.dark(wanted=dark)
        browser.open(monitor.url)
        browser.press("#window button:first-of-type", "\n")
        browser.wait_text("#alarms", "Split brain")
        browser.wait_text("#alarms", "Nobody leads")
        browser.driver.execute_script("document.activeElement.blur()")
        time.sleep(1.5)  # the page draws its times anew every second
        browser.picture(file)


def _lead(client: Client, election: str, name: str) -> LeaderElector:
    metadata = {"zone": "abcd"[int(name[-1]) - 1], "version": "4.2"}
    elector = client.elector(election, candidate_id=name, metadata=metadata)
    elector.start()
    elector.wait_elected(PATIENCE)
    return elector


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--dark"]
    draw(
        Path(words[0]) if words else ROOT / "docs" / "images" / "monitor.png",
        dark="--dark" in sys.argv,
    )
