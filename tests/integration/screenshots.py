"""
Takes the pictures of docs/page.rst: C{python -m tests.integration.screenshots [DIRECTORY]}.

They are of a service that is started for them, with files that are made for them.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.browser import Browser
from tests.integration.process import CHECKOUT
from tests.integration.test_browser import MIB, House, row

__all__ = ["take"]

#: Files that are there before: a name, and a size.
_STORED = (
    ("holiday/beach.jpg", 3_400_000),
    ("holiday/harbour.jpg", 2_900_000),
    ("Annual report 2026.pdf", 5_730_000),
    ("backup-2026-11-20.tar.zst", 48 * MIB),
    ("interview.flac", 31_000_000),
    ("measurements.csv", 880_000),
)

#: Files that are on their way.
_SENT = (("slides.pdf", 2_200_000), ("film.mkv", 300 * MIB), ("survey.gpkg", 90 * MIB), ("notes.txt", 4_200))

#: Bytes a second.
_SLOW = 24 * MIB


def _make(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(hashlib.sha256(name.encode()).digest())
        file.truncate(size)
    return path


class _Photographer:
    def __init__(self, house: House, browser: Browser, target: Path) -> None:
        self._house = house
        self._browser = browser
        self._target = target

    def open(self, path: str) -> None:
        self._browser.driver.get(self._house.url + path)

    def take(self, name: str) -> None:
        time.sleep(0.5)  # what moves has come to rest
        self._browser.driver.save_screenshot(str(self._target / f"{name}.png"))

    def be_narrow(self) -> None:
        metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        self._browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self._browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def be_wide(self) -> None:
        metrics = {"width": 1100, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self._browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self._browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def take(house: House, browser: Browser, folder: Path, target: Path) -> None:
    """Take all. The service is running, and the browser is signed in."""
    photographer = _Photographer(house, browser, target)
    photographer.be_wide()
    photographer.open("/upload")
    photographer.take("upload-empty")

    for name, size in _STORED:
        made = _make(folder / "stored", name, size)
        if "/" not in name:
            browser.choose(made)
    browser.choose(folder / "stored" / "holiday", within="#choose-folder")
    for name, _ in _STORED:
        browser.one(f'{row(name)}[data-state="done"]')

    photographer.open("/upload")
    browser.slow_down(_SLOW)
    sent = [_make(folder / "sent", name, size) for name, size in _SENT]
    browser.drop(*sent)
    browser.one(f'{row("notes.txt")}[data-state="done"]')
    browser.button("Pause", row("survey.gpkg")).click()
    film = f"{row('film.mkv')} progress"
    browser.wait(lambda: float(browser.one(film).get_property("value")) > 0.25, "some of the film")
    photographer.take("upload-light")
    browser.look_like(prefers_color_scheme="dark")
    photographer.take("upload-dark")
    browser.look_like(prefers_color_scheme="light")
    photographer.be_narrow()
    photographer.take("upload-phone")

    photographer.open("/download")
    photographer.take("files-phone")
    photographer.be_wide()
    photographer.open("/upload")
    browser.one('[data-state="unfinished"]')
    photographer.take("unfinished-light")
    photographer.open("/download")
    photographer.take("files-light")
    browser.look_like(prefers_color_scheme="dark")
    browser.button("Link", 'tr[data-name="measurements.csv"]').click()
    browser.button("Create link", "dialog").click()
    browser.wait(lambda: bool(browser.one("dialog textarea").get_property("value")), "a link")
    photographer.take("link-dark")
    browser.look_like(prefers_color_scheme="light")
    photographer.open("/stats")
    browser.one("figure svg")
    photographer.take("stats-light")
    photographer.be_narrow()
    browser.look_like(prefers_color_scheme="dark")
    browser.slow_down(-1)
    browser.button("Sign out").click()
    browser.one("#secret")
    photographer.take("sign-in-phone-dark")


def main() -> None:
    """Start all that is needed."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(CHECKOUT) / "docs" / "screenshots").absolute()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        house = House(str(folder / "house"))
        house.process.start()
        try:
            browser = Browser(folder / "profile", house.certificate)
            try:
                browser.driver.get(house.sign_in_link())
                browser.button("Sign in").click()
                browser.one("#choose-files")
                take(house, browser, folder, target)
            finally:
                browser.quit()
        finally:
            house.process.kill()


if __name__ == "__main__":
    main()
