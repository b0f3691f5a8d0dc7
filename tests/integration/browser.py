"""Chromium, driven."""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.integration.process import PATIENCE
from tests.integration.tools import needed
from tests.integration.web import with_packages

__all__ = ["Browser", "key_digest"]

#: As quiet as it gets, and nothing that leaves the machine.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-GB",
)

#: What the driver says of an element whose page has just gone.
_GONE = "does not belong to the document"

#: Violations of these weights are errors (axe-core).
_SERIOUS = ("serious", "critical")

#: Drops files on the page: they were chosen by an input that is made for it. A script cannot make files of its own that
#: are as large.
_DROP = """
const transfer = new DataTransfer();
for (const file of arguments[0].files) transfer.items.add(file);
for (const type of ["dragenter", "dragover", "drop"]) {
  document.querySelector(".drop").dispatchEvent(
    new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}
arguments[0].remove();
"""

_INPUT = """
const input = document.createElement("input");
input.type = "file";
input.multiple = true;
document.body.append(input);
return input;
"""

_AXE = """
const done = arguments[arguments.length - 1];
axe.run().then(({violations}) => done(violations.map(({id, impact, nodes}) =>
  ({id, impact, at: nodes.map(({html, failureSummary}) => `${html} ${failureSummary}`)}))));
"""


def key_digest(certificate: Path) -> str:
    """What Chromium knows the key of a certificate by: SHA-256 of it, in base64."""
    key = load_pem_x509_certificate(certificate.read_bytes()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(der).digest()).decode("ascii")


class Browser:
    """
    A browser with an empty profile, and one window.

    @param profile: the directory for its profile.
    @param certificate: a PEM file: the one certificate that it takes although nobody it knows has signed it.
    @param has_scripts: whether it runs scripts of pages.
    @ivar driver: Selenium's.
    """

    def __init__(self, profile: Path, certificate: Path, has_scripts: bool = True) -> None:
        chromium, chromedriver = needed("chromium", "chromedriver")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        trust = f"--ignore-certificate-errors-spki-list={key_digest(certificate)}"
        for flag in (*_FLAGS, trust, f"--user-data-dir={profile.absolute()}", "--window-size=1200,900"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not has_scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        self.driver: Any = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
        self.quit: Callable[[], None] = self.driver.quit

    def all(self, selector: str) -> list[WebElement]:
        """The elements that fit now."""
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def one(self, selector: str, seconds: float = PATIENCE) -> WebElement:
        """The first that fits, once there is one."""
        self.wait(lambda: bool(self.all(selector)), selector, seconds)
        return self.all(selector)[0]

    def button(self, text: str, within: str = "body") -> WebElement:
        """The button that says so and can be seen, once there is one."""
        found: list[WebElement] = []

        def is_there() -> bool:
            found[:] = [each for each in self.all(f"{within} button") if each.text == text and each.is_displayed()]
            return bool(found)

        self.wait(is_there, f"a button {text} in {within}")
        return found[0]

    def wait(self, happened: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until something happens, but not forever."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if happened():
                    return
            except WebDriverException as error:
                # It was drawn anew, or another page came, meanwhile.
                if not isinstance(error, StaleElementReferenceException) and _GONE not in (error.msg or ""):
                    raise
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what} at {self.driver.current_url}:\n{self.text}")
            time.sleep(0.05)

    @property
    def text(self) -> str:
        """All that can be read."""
        return str(self.driver.execute_script("return document.body.innerText"))

    @property
    def path(self) -> str:
        """Where it is, without the host."""
        return "/" + str(self.driver.current_url).split("/", 3)[3]

    def drop(self, *paths: Path) -> None:
        """Drop files on the page."""
        chooser = self.driver.execute_script(_INPUT)
        chooser.send_keys("\n".join(str(path.absolute()) for path in paths))
        self.driver.execute_script(_DROP, chooser)

    def choose(self, *paths: Path, within: str = "#choose-files") -> None:
        """Choose files, as with the dialog of the browser."""
        self.one(within).send_keys("\n".join(str(path.absolute()) for path in paths))

    def slow_down(self, upload: int) -> None:
        """Send no more than so many bytes a second; -1 for as many as go."""
        self.driver.set_network_conditions(offline=False, latency=0, download_throughput=-1, upload_throughput=upload)

    def go_offline(self) -> None:
        """Lose the network."""
        self.driver.set_network_conditions(offline=True, latency=0, throughput=-1)

    def look_like(self, **features: str) -> None:
        """Have the reader's system wish for something, such as C{prefers_color_scheme="dark"}."""
        wishes = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wishes})

    def violations(self) -> list[str]:
        """What of the page keeps people out who do not see it, or use no mouse: by axe-core, the serious ones."""
        self.driver.execute_script((with_packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(_AXE)
        return [f"{each['id']}: {each['at']}" for each in found if each["impact"] in _SERIOUS]

    def complaints(self) -> list[str]:
        """
        What the console has as an error since the last time, but for requests that failed: such as when the server was
        killed, or said no.
        """
        entries = self.driver.get_log("browser")
        return [each["message"] for each in entries if each["level"] == "SEVERE" and each["source"] != "network"]
