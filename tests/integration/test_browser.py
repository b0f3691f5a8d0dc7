"""The pages in a browser that people have, against a service in a process of its own."""

from __future__ import annotations

import hashlib
import signal
import ssl
import subprocess
import sys
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.browser import Browser
from tests.integration.process import PATIENCE, Storehouse
from tests.integration.tools import needed

MIB = 1 << 20

#: Bytes a second, so that there is time to do something meanwhile.
SLOW = 40 * MIB

BIG = "big.bin"
ODD = 'Grüße & <b>"x".txt'


#: Has the browser's picker of files choose one, with a handle, as it does when somebody clicks there.
_PICK = """
const [size, done] = arguments;
const picked = async () => {
  const folder = await navigator.storage.getDirectory();
  const handle = await folder.getFileHandle("kept.bin", {create: true});
  const file = await handle.createWritable();
  await file.write(new Uint8Array(size).fill(7));
  await file.close();
  window.showOpenFilePicker = async () => [handle];
};
picked().then(() => done(""), (error) => done(String(error)));
"""


class House:
    """
    A service with an upload door.

    @ivar root: where its data is.
    """

    def __init__(self, directory: str, *options: str) -> None:
        self.process = Storehouse(directory, *options, https=True)
        self.root = Path(self.process.directory) / "storehouse-data"
        self.certificate = self.root / "tls" / "certificate.pem"
        self.url = f"https://localhost:{self.process.https_port}"

    def sign_in_link(self) -> str:
        """A link that signs the administrator in, once."""
        command = [sys.executable, "-m", "storehouse.cli", "user", "sign-in", "admin"]
        done = subprocess.run(
            [*command, "--root", str(self.root), "--url", self.url],
            env=self.process.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def get(self, url: str) -> tuple[int, str, int, str]:
        """What a program gets: the status, the digest of the body, its size, and its beginning as text."""
        return self.ask("GET", url)

    def ask(self, method: str, url: str, body: bytes | None = None) -> tuple[int, str, int, str]:
        """The same, of any request."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        parts = urlsplit(url)
        connection = HTTPSConnection(parts.netloc, timeout=PATIENCE, context=context)
        try:
            connection.request(method, f"{parts.path}?{parts.query}", body)
            response = connection.getresponse()
            digest, size, beginning = hashlib.sha256(), 0, b""
            while piece := response.read(MIB):
                beginning = beginning or piece[:1000]
                digest.update(piece)
                size += len(piece)
            return response.status, digest.hexdigest(), size, beginning.decode("utf-8", "replace")
        finally:
            connection.close()


class BrowserCase(SynchronousTestCase):
    """
    A service, and a browser that is signed in.

    @cvar has_scripts: whether the browser runs scripts.
    """

    has_scripts = True

    def setUp(self) -> None:
        needed("chromium", "chromedriver")
        self.house = House(self.mktemp())
        self.addCleanup(self.house.process.kill)
        self.house.process.start()
        self.browser = browser = Browser(Path(self.mktemp()), self.house.certificate, self.has_scripts)
        self.addCleanup(browser.quit)
        self.sign_in()

    def sign_in(self) -> None:
        self.browser.driver.get(self.house.sign_in_link())
        self.browser.button("Sign in").click()
        self.browser.wait(lambda: self.browser.path == "/upload", "the page of uploads")

    def file(self, name: str, data: bytes = b"", size: int | None = None) -> Path:
        """A file; with a size, one that has holes."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        path = folder / name
        with path.open("wb") as file:
            file.write(data)
            if size is not None:
                file.truncate(size)
        return path


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row(name: str) -> str:
    """The selector of a file in the list of uploads."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'[data-path="{escaped}"]'


class UploadTests(BrowserCase):
    """With scripts."""

    def state(self, name: str) -> str:
        return self.browser.one(row(name)).get_attribute("data-state") or ""

    def progress(self, name: str) -> float:
        return float(self.browser.one(f"{row(name)} progress").get_property("value"))

    def wait_for_state(self, name: str, *states: str) -> None:
        self.browser.wait(lambda: self.state(name) in states, f"{name} {' or '.join(states)}")

    def assert_nothing_unfinished(self) -> None:
        """Nor does it come when the server has been asked."""
        asked = "return performance.getEntriesByName(location.origin + '/uploads').length"
        self.browser.wait(lambda: self.browser.driver.execute_script(asked) == 1, "what is unfinished")
        self.browser.driver.execute_async_script("setTimeout(arguments[0], 300)")
        self.assertEqual(self.browser.all(".unfinished .transfer"), [])

    def test_an_upload_that_nothing_stops(self) -> None:
        """
        Three files are dropped; the large one is paused, the page is loaded anew, it goes on, the service is killed and
        started again, it is whole in the end.
        """
        house, browser = self.house, self.browser
        big = self.file(BIG, b"begins", 300 * MIB)
        with big.open("r+b") as file:
            for at in range(MIB, 300 * MIB, 37 * MIB):
                file.seek(at)
                file.write(hashlib.sha256(b"%d" % at).digest() * 100)
        small, odd = self.file("small.txt", b"small\n"), self.file(ODD, b"odd\n" * 1000)

        self.assertEqual(browser.violations(), [])
        browser.slow_down(SLOW)
        browser.drop(big, small, odd)
        self.wait_for_state("small.txt", "done")
        self.wait_for_state(ODD, "done")
        for name in ("small.txt", ODD):
            self.assertIn("the same on the server", browser.one(f"{row(name)} .verdict").text)
        self.assertIn(digest_of(odd), browser.one(row(ODD)).text)
        browser.wait(lambda: self.progress(BIG) > 0.1, "some of it")
        self.assertRegex(browser.one(f"{row(BIG)} .status").text, r"MiB of 300 MiB")
        self.assertEqual(browser.violations(), [])

        browser.button("Pause", row(BIG)).click()
        self.wait_for_state(BIG, "paused")
        # Who uses the keyboard goes on from there.
        self.assertEqual(browser.driver.switch_to.active_element.text, "Resume")
        browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        self.wait_for_state(BIG, "sending")
        browser.button("Pause all").click()
        self.wait_for_state(BIG, "paused")

        # What this tab has is not unfinished for another.
        browser.driver.switch_to.new_window("tab")
        browser.driver.get(f"{house.url}/upload")
        self.assert_nothing_unfinished()
        browser.driver.close()
        browser.driver.switch_to.window(browser.driver.window_handles[0])

        browser.driver.refresh()
        self.wait_for_state(BIG, "unfinished")
        reached = self.progress(BIG)
        self.assertGreater(reached, 0.02)
        self.assertEqual(browser.violations(), [])
        browser.choose(self.file(BIG, b"another"), within=f'{row(BIG)} input[type="file"]')
        self.assertIn("not the same file", browser.one(f"{row(BIG)} .problem").text)

        browser.choose(big)
        self.wait_for_state(BIG, "sending")
        self.assertGreaterEqual(self.progress(BIG), reached - 0.001)
        browser.wait(lambda: self.progress(BIG) > reached + 0.1, "more of it")

        house.process.stop(signal.SIGKILL)
        self.wait_for_state(BIG, "waiting")
        # It tries again now and then, and can be told to.
        browser.wait(lambda: "cannot be reached" in browser.one(row(BIG)).text, "what is the matter")
        browser.wait(lambda: browser.all(f"{row(BIG)} button")[0].text == "Retry now", "a button")
        # There must be something left when the network is lost.
        browser.slow_down(SLOW // 4)
        house.process.start()
        # By itself.
        self.wait_for_state(BIG, "sending")
        browser.wait(lambda: self.progress(BIG) > reached, "more than there was")

        browser.go_offline()
        self.wait_for_state(BIG, "waiting")
        browser.wait(lambda: "no network" in browser.one(row(BIG)).text, "what is the matter")
        browser.slow_down(-1)
        # By itself, too.
        self.wait_for_state(BIG, "done", "checking")
        self.wait_for_state(BIG, "done")
        self.assertIn("the same on the server", browser.one(f"{row(BIG)} .verdict").text)
        expected = digest_of(big)
        self.assertIn(expected, browser.one(row(BIG)).text)
        self.assertEqual(browser.all(".unfinished .transfer"), [])

        link = self.make_link(BIG)
        status, digest, size, _ = house.get(link)
        self.assertEqual((status, digest, size), (200, expected, 300 * MIB))
        self.assertEqual(browser.complaints(), [])

    def make_link(self, name: str) -> str:
        self.browser.button("Link", row(name)).click()
        return self.made_link()

    def made_link(self) -> str:
        """What the dialog gives that is open."""
        self.browser.button("Create link", "dialog").click()
        field = self.browser.one("dialog textarea")
        self.browser.wait(lambda: bool(field.get_property("value")), "a link")
        self.assertEqual(self.browser.violations(), [])
        link = str(field.get_property("value"))
        self.browser.button("Close", "dialog").click()
        self.browser.wait(lambda: not self.browser.all("dialog"), "the end of the dialog")
        return link

    def test_coming_back(self) -> None:
        """
        Where the browser lets a page keep a file's handle, the file is not chosen again after a reload; who comes back
        after a day is led to sign in.
        """
        browser = self.browser
        self.assertEqual(browser.driver.execute_async_script(_PICK, 24 * MIB), "")
        browser.slow_down(4 * MIB)
        browser.button("Choose files").click()
        browser.wait(lambda: self.progress("kept.bin") > 0.25, "some of it")
        browser.button("Pause", row("kept.bin")).click()
        browser.driver.refresh()
        self.wait_for_state("kept.bin", "unfinished")
        browser.slow_down(-1)
        browser.button("Resume", row("kept.bin")).click()
        self.wait_for_state("kept.bin", "done")
        self.assertIn("the same on the server", browser.one(f"{row('kept.bin')} .verdict").text)
        browser.driver.refresh()
        self.assert_nothing_unfinished()

        # The session is over, as it is after a day.
        browser.driver.delete_all_cookies()
        browser.choose(self.file("late.txt", b"late"))
        self.wait_for_state("late.txt", "failed")
        self.assertIn("The session is over", browser.text)
        driver, here = browser.driver, browser.driver.current_window_handle
        browser.one(".notice a").click()
        browser.wait(lambda: len(driver.window_handles) == 2, "another tab")
        driver.switch_to.window(next(handle for handle in driver.window_handles if handle != here))
        browser.wait(lambda: browser.path == "/sign-in?next=/upload", "the page to sign in")
        self.sign_in()
        driver.close()
        driver.switch_to.window(here)
        driver.execute_script("dispatchEvent(new Event('focus'))")
        self.wait_for_state("late.txt", "done")
        self.assertNotIn("The session is over", browser.text)

        # Somebody has signed in anew, elsewhere: the page's token is of another session, and it goes on by itself.
        driver.switch_to.new_window("tab")
        driver.delete_all_cookies()
        self.sign_in()
        driver.close()
        driver.switch_to.window(here)
        browser.choose(self.file("later.txt", b"later"))
        self.wait_for_state("later.txt", "done")

    def test_the_rest(self) -> None:
        """Folders, links, the list, deleting, stats, the dark, signing out."""
        house, browser = self.house, self.browser
        folder = self.file("a.txt", b"a\n").parent
        (folder / "below").mkdir()
        (folder / "below" / "b.txt").write_bytes(b"b\n" * 5000)
        (folder / "empty.txt").write_bytes(b"")
        browser.choose(folder, within="#choose-folder")
        names = [f"{folder.name}/{name}" for name in ("a.txt", "below/b.txt", "empty.txt")]
        for name in names:
            self.wait_for_state(name, "done")
        browser.button("Clear finished").click()
        browser.wait(lambda: not browser.all(".transfer"), "an empty list")
        again = self.file("again.txt", b"1")
        for _ in range(2):
            browser.choose(again)
            self.wait_for_state("again.txt", "done")
            browser.wait(lambda: len(browser.all(f'{row("again.txt")}[data-state="done"]')) > 0, "it")
        browser.wait(lambda: "stored as again" in browser.text, "the other name")

        link = self.make_link("again.txt")
        self.assertEqual(house.get(link)[0], 200)
        changed = link[:-1] + ("0" if link[-1] != "0" else "1")
        status, _, _, text = house.get(changed)
        self.assertEqual(status, 403)
        self.assertIn("not as it was signed", text)
        browser.driver.get(changed)
        self.assertIn("403", browser.text)
        self.assertIn("not as it was signed", browser.text)

        browser.driver.get(f"{house.url}/upload")
        browser.button("Ask somebody for a file").click()
        browser.one('dialog input[name="name"]').send_keys("asked for.txt")
        link = self.made_link()
        self.assertEqual(house.ask("PUT", link, b"here it is")[0], 201)
        self.assertEqual(house.ask("PUT", link, b"and again")[0], 403)

        browser.driver.get(f"{house.url}/download")
        self.assertIn("asked for.txt", browser.text)
        self.assertEqual(browser.violations(), [])
        browser.one(".list").find_element(By.LINK_TEXT, f"{folder.name}/").click()
        browser.wait(lambda: "a.txt" in browser.one(".list").text, "what is in the folder")
        browser.one("#search").send_keys("b.tx", Keys.ENTER)
        browser.wait(lambda: "search=b.tx" in browser.path, "what was found")
        self.assertEqual([each.get_attribute("data-name") for each in browser.all("tr[data-name]")], [names[1]])
        browser.button("Delete", ".list").click()
        browser.button("Cancel", "dialog").click()
        self.assertEqual(len(browser.all("tr[data-name]")), 1)
        browser.button("Delete", ".list").click()
        browser.button("Delete", "dialog").click()
        browser.wait(lambda: "No name contains" in browser.text, "nothing")

        browser.driver.get(f"{house.url}/stats")
        browser.one("figure svg")
        self.assertIn("again.txt", browser.one("#recent").text)
        self.assertEqual(browser.violations(), [])

        # What can be read by day can be read at night, and on a phone.
        browser.look_like(prefers_color_scheme="dark")
        browser.driver.set_window_size(500, 800)
        for path in ("/upload", "/download", "/stats"):
            browser.driver.get(house.url + path)
            browser.one("figure svg, #choose-files, .list")
            self.assertEqual(browser.violations(), [])
            width = browser.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
            self.assertLessEqual(width, 0, path)

        browser.button("Sign out").click()
        browser.wait(lambda: browser.path.startswith("/sign-in"), "the page to sign in")
        self.assertEqual(browser.violations(), [])
        browser.driver.get(f"{house.url}/upload")
        self.assertTrue(browser.path.startswith("/sign-in"))
        self.assertEqual(browser.complaints(), [])


class PlainTests(BrowserCase):
    """Without scripts."""

    has_scripts = False

    def test_form(self) -> None:
        house, browser = self.house, self.browser
        one, other = self.file("one.txt", b"1"), self.file(ODD, b"odd\n" * 1000)
        browser.choose(one, other, within="#files")
        browser.button("Upload").click()
        browser.wait(lambda: "Stored 2 files" in browser.text, "what is stored")
        self.assertIn(ODD, browser.text)
        browser.one(".actions").find_element(By.LINK_TEXT, "All files").click()
        browser.wait(lambda: "one.txt" in browser.one(".list").text, "the list")
        browser.one('tr[data-name="one.txt"] form[data-action="link"] button').click()
        link = browser.one("textarea").text
        self.assertEqual(house.get(link)[3], "1")
        browser.driver.get(f"{house.url}/download")
        browser.one('tr[data-name="one.txt"] form[data-action="delete"] button').click()
        browser.wait(lambda: not browser.all('tr[data-name="one.txt"]'), "it to be gone")
        self.assertEqual(house.get(link)[0], 404)
        self.assertEqual(len(browser.all("tr[data-name]")), 1)
        browser.driver.get(f"{house.url}/stats")
        self.assertIn(ODD, browser.one("#recent").text)
        browser.button("Sign out").click()
        browser.wait(lambda: browser.path.startswith("/sign-in"), "the page to sign in")
        self.assertEqual(browser.complaints(), [])
