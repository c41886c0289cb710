"""The monitor's page, as a person sees it in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock import connect
from leaderlock.telemetry import beacon
from tests.elector.tools import PATIENCE
from tests.monitor.browser import Browser, chromium
from tests.monitor.tools import TOKEN, MonitorProcess

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Browser:
    window.open("about:blank")
    window.complaints()  # of the tests before
    window.asked()
    return window


def card(election: str) -> str:
    return f'[data-election="{election}"]'


def test_a_leader_changes_before_the_eyes_and_a_split_brain_is_cried_out(
    browser: Browser, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    with (
        MonitorProcess(url, tmp_path) as monitor,
        connect(url, ttl=5) as one,
        connect(f"sqlite://{tmp_path}/other.db", ttl=5) as other,
    ):
        browser.open(monitor.url)
        browser.wait_text("#connection", "live")
        browser.wait_text("#empty", "No elections yet")
        browser.wait_text("#present", "No alarms.")
        first = one.elector("billing", candidate_id="web-1", metadata={"zone": "a"})
        with first.lead(timeout=PATIENCE):
            browser.wait_text(f"{card('billing')} .leader", "web-1")  # it appears by itself
            browser.wait_text(f"{card('billing')} .chips", "zone a")
            browser.wait_text(f"{card('billing')} .facts", "token 1")
            assert browser.count(f"{card('billing')} svg [data-candidate='web-1']") == 1
        browser.wait_text(f"{card('billing')} .leader", "nobody leads")
        with one.elector("billing", candidate_id="web-2").lead(timeout=PATIENCE):
            browser.wait_text(f"{card('billing')} .leader", "web-2")
            for client in one, other:
                beacon.start(client, monitor.url, interval=0.2)
            with other.elector("billing", candidate_id="web-3").lead(timeout=PATIENCE):
                browser.wait_text("#alarms", "Split brain")
                browser.wait_text("#alarms", "'web-2' (token ")
                assert re.match(r"\(1\) ", browser.driver.title)
                assert browser.count(f"{card('billing')}.alarming") == 1
                assert browser.count(f"{card('billing')} svg .belief") >= 2
                browser.press(f"{card('billing')} summary", "\n")
                browser.wait_text(f"{card('billing')} details", "web-3")
        browser.wait_text("#summary", "1 watched, 0 led; 2 nodes report")
        assert browser.complaints() == []
        own = (monitor.url, "about:", "data:")
        assert [asked for asked in browser.asked() if not asked.startswith(own)] == []


def test_what_candidates_are_called_is_text(browser: Browser, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    metadata = {HOSTILE: HOSTILE, "long": "x" * 3000, "deep": {"a": [HOSTILE]}}
    with (
        MonitorProcess(url, tmp_path) as monitor,
        connect(url, ttl=5) as client,
        client.elector(HOSTILE, candidate_id=HOSTILE, metadata=metadata).lead(timeout=PATIENCE),
    ):
        browser.open(monitor.url)
        browser.wait_text("h3", HOSTILE)
        browser.wait_text(".leader", HOSTILE)
        browser.wait_text(".chips", HOSTILE)
        browser.press("#search", "onerror")
        browser.wait_text("h3", HOSTILE)
        browser.press("#search", "zzz")
        browser.wait_text("#empty", "No election of that name")
        assert browser.driver.title == "leaderlock monitor"
        assert browser.count("main img, main script, main b img") == 0
        assert browser.complaints() == []


def test_every_candidate_has_a_colour_and_a_narrow_page_can_be_read(
    browser: Browser, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    with (
        MonitorProcess(url, tmp_path) as monitor,
        connect(url, ttl=5) as client,
        client.elector("e", candidate_id="web-1").lead(timeout=PATIENCE),
    ):
        browser.open(monitor.url)
        browser.wait_text(".leader", "web-1")
        colours = browser.driver.execute_async_script(COLOURS, f"{monitor.url}static/timeline.js")
        assert set(colours) == {f"c{number}" for number in range(8)}
        with browser.width(400):
            browser.press(f"{card('e')} summary", "\n")
            browser.wait_text(f"{card('e')} details", "leads")
            assert browser.driver.execute_script(BROKEN) == []


COLOURS = """
const [where, done] = arguments;
import(where).then(({ colour }) => done([...Array(200).keys()].map((n) => colour(`web-${n}`))));
"""
BROKEN = """
const lines = (e) => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight);
const heads = [...document.querySelectorAll("th")].filter((e) => lines(e) > 2);
const wide = document.documentElement.scrollWidth > 400 ? ["the page"] : [];
return [...wide, ...heads.map((e) => e.textContent)];
"""


def test_a_lost_connection_is_told_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    with connect(url, ttl=5) as client:
        with MonitorProcess(url, tmp_path, "cron", "--leaderless", "1") as monitor:
            browser.open(monitor.url)
            browser.wait_text("#present", "cron")
            monitor.end()
            browser.wait_text("#connection", "connection lost")
            browser.wait_text("#lost", "What is shown is old")
        browser.offline(wanted=True)
        where = monitor.url.removeprefix("http://").rstrip("/")
        options = ("--listen", where, "--leaderless", "1")
        with MonitorProcess(url, tmp_path, "billing", *options) as monitor:
            monitor.wait_alarm("leaderless")
            browser.offline(wanted=False)
            browser.wait_text("#connection", "live")
            browser.wait_text("#lost", "old", there=False)
            browser.wait_text("#present", "billing")  # also its first alarm, but another one
            browser.wait_text("#present", "cron", there=False)
            with client.elector("billing", candidate_id="web-1").lead(timeout=PATIENCE):
                browser.wait_text(f"{card('billing')} .leader", "web-1")


def test_a_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/election.db"
    with MonitorProcess(url, tmp_path, LEADERLOCK_MONITOR_TOKEN=TOKEN) as monitor:
        browser.open(monitor.url)
        browser.wait_text("button", "Show the elections")
        browser.press("#token", "wrong\n")
        browser.wait_text(".told", "That is not the token")
        browser.press("#token", f"{TOKEN}\n")
        browser.wait_text("#connection", "live")
        browser.open(monitor.url)
        browser.wait_text("#connection", "live")
        assert TOKEN not in browser.driver.current_url
        assert TOKEN not in str(browser.driver.execute_script("return document.cookie"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    browser: Browser, tmp_path: Path, dark: bool
) -> None:
    """WCAG's 4.5 to 1, for every text of the page."""
    url = f"sqlite://{tmp_path}/election.db"
    with (
        MonitorProcess(url, tmp_path, "billing", "cron", "--leaderless", "1") as monitor,
        connect(url, ttl=5) as client,
        client.elector("billing", candidate_id="web-1", metadata={"a": 1}).lead(timeout=PATIENCE),
    ):
        browser.dark(wanted=dark)
        browser.open(monitor.url)
        browser.wait_text("#alarms", "Nobody leads")
        browser.wait_text(f"{card('billing')} .leader", "web-1")
        faint = browser.driver.execute_script(FAINT)
        browser.dark(wanted=False)
        assert faint == []


FAINT = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b]
  .map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
for (let node; (node = walker.nextNode());) {
  const e = node.parentElement;
  if (!node.textContent.trim() || !e.checkVisibility()) continue;
  if (e.closest("svg, script, noscript")) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) found.push(`${node.textContent.trim()}: ${ratio.toFixed(2)}`);
}
return found;
"""
