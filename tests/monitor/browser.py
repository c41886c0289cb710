"""A headless Chromium, and what a person sees in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from leaderlock.testing.servers.programs import program
from tests.elector.tools import eventually

_FLAGS = (
    "--headless",
    "--no-sandbox",  # which cannot be had as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # a container has little of it
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


class Browser:
    """One window."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def text(self, selector: str) -> str:
        """What can be read in the first element that matches; empty if nothing can."""
        read = (
            "const e = document.querySelector(arguments[0]);"
            "return e && e.checkVisibility() ? e.innerText : '';"
        )
        return str(self.driver.execute_script(read, selector)).strip()

    def wait_text(self, selector: str, text: str, *, there: bool = True) -> None:
        eventually(
            lambda: (text in self.text(selector)) is there,
            f"{text!r} {'in' if there else 'gone from'} {selector}: {self.text('body')!r}",
            timeout=90.0,
        )

    def count(self, selector: str) -> int:
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def press(self, selector: str, keys: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(keys)

    def complaints(self) -> list[str]:
        """What the console has shown, but for requests that got no answer."""
        lines = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [line["message"] for line in lines if "net::ERR_" not in line["message"]]

    def asked(self) -> set[str]:
        """Every URL that was asked for."""
        found = set()
        for line in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
        return found

    def dark(self, *, wanted: bool) -> None:
        scheme = "dark" if wanted else "light"
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)

    @contextmanager
    def width(self, pixels: int) -> Iterator[None]:
        size = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def offline(self, *, wanted: bool) -> None:
        network = {
            "offline": wanted,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": -1,
        }
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", network)

    def picture(self, file: Path) -> None:
        self.driver.save_screenshot(str(file))


@contextmanager
def chromium(folder: Path, *, size: tuple[int, int] = (1280, 900)) -> Iterator[Browser]:
    """Debian's Chromium with a new profile. Nothing is left of it."""
    options = ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*_FLAGS, f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, Service(program("chromedriver")))
    try:
        driver.set_page_load_timeout(60)
        yield Browser(driver)
    finally:
        driver.quit()
