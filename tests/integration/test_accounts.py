"""Users, sessions and links with a real service, a terminal, the command, and curl."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT, PATIENCE, Storehouse, wait_for
from tests.integration.tools import needed


class AccountsTests(SynchronousTestCase):
    """One service, started twice."""

    def setUp(self) -> None:
        (self.curl,) = needed("curl")
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.house = Storehouse(str(self.directory), https=True)
        self.addCleanup(self.house.kill)
        self.url = f"https://localhost:{self.house.https_port}"

    def start(self, awaited: str = "") -> str:
        """
        Start it at a terminal: its log goes to a file, as C{twistd -n > log} has it.

        @param awaited: what the terminal is to show.
        @return: what it showed.
        """
        master, slave = pty.openpty()
        os.set_blocking(master, False)
        shown = bytearray()

        def has_shown() -> bool:
            try:
                shown.extend(os.read(master, 65536))
            except BlockingIOError:
                pass
            return awaited.encode() in shown

        try:
            with open(self.directory / "output", "w", encoding="utf-8") as output:
                self.house.process = subprocess.Popen(
                    self.house.command,
                    cwd=self.directory,
                    env=self.house.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=slave,
                    text=True,
                )
            self.house.wait_until_ready()
            self.assertEqual(self.curl_status(f"{self.url}/sign-in")[0], 200)
            wait_for(has_shown, f"{awaited!r} on the terminal")
            return shown.decode()
        finally:
            os.close(slave)
            os.close(master)

    def command(self, *words: str) -> str:
        """C{storehouse}. @return: what it prints."""
        done = run_forked(
            [sys.executable, "-m", "storehouse.cli", *words, "--root", str(self.directory / "storehouse-data")],
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def curl_status(self, *words: str) -> tuple[int, str]:
        """C{curl}. @return: the status and body of the answer."""
        certificate = self.directory / "storehouse-data" / "tls" / "certificate.pem"
        done = subprocess.run(
            [
                self.curl,
                "--silent",
                "--show-error",
                "--cacert",
                str(certificate),
                "--write-out",
                "\n%{http_code}",
                *words,
            ],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def told(self, status: int, *words: str) -> Any:
        """What an answer in JSON says."""
        found, body = self.curl_status(*words)
        self.assertEqual(found, status, body)
        return json.loads(body)

    def test_all(self) -> None:
        shown = self.start("within an hour")
        found = re.search(rf"sign in once at ({self.url}/sign-in/(\S+))", shown)
        assert found is not None, shown
        link, token = found[1], found[2]
        self.assertNotIn(token, self.house.output)

        # A person signs in: looking uses nothing up.
        for _ in range(2):
            self.assertIn("<form", self.curl_status("-H", "Accept: text/html", link)[1])
        jar = ("-b", "jar", "-c", "jar")
        session = self.told(200, *jar, "-X", "POST", link)
        self.assertEqual(session["user"], "admin")
        self.assertEqual(self.told(401, "-X", "POST", link)["error"], "SignInRefused")
        self.assertEqual(len(self.told(200, *jar, f"{self.url}/users")["users"]), 1)

        # A user who is added beside the service comes with a key.
        key = json.loads(self.command("user", "add", "ann", "--json"))
        credentials = ("-u", f"{key['key_id']}:{key['secret']}")
        self.assertEqual(self.told(403, *credentials, f"{self.url}/users")["error"], "Forbidden")
        form = urlencode({"key_id": key["key_id"], "secret": key["secret"]})
        self.assertEqual(self.told(200, "-d", form, f"{self.url}/sign-in")["user"], "ann")

        # Links, from the command and the door.
        (self.directory / "a.txt").write_text("some text")
        once = self.command("sign", "--put", "in/a.txt", "--once", "--as", "ann")
        self.assertTrue(once.startswith(f"{self.url}/upload/in/a.txt?"), once)
        tampered = self.told(403, "-T", "a.txt", once.replace("expires=1", "expires=2"))
        self.assertEqual(tampered["error"], "LinkTampered")
        elsewhere = once.replace("/upload/in/a.txt?", "/upload/in/b.txt?")
        self.assertEqual(self.told(403, "-T", "a.txt", elsewhere)["error"], "LinkOutOfScope")
        self.assertIn(self.curl_status("-T", "a.txt", once)[0], (200, 201))
        self.assertEqual(self.told(403, "-T", "a.txt", once)["error"], "LinkUsed")
        wish = json.dumps({"name": "in/a.txt", "expires": "2h"})
        made = self.told(
            201,
            *jar,
            *("-H", f"X-CSRF-Token: {session['token']}", "-H", "Content-Type: application/json", "-d", wish),
            f"{self.url}/links",
        )
        self.assertEqual(self.curl_status(made["url"]), (200, "some text"))

        # After a kill: what was used up stays so, the session goes on, and no link is shown any more.
        self.house.kill()
        self.assertNotIn("sign in once", self.start())
        self.assertEqual(self.told(403, "-T", "a.txt", once)["error"], "LinkUsed")
        self.assertEqual(self.curl_status(made["url"]), (200, "some text"))
        self.told(200, *jar, f"{self.url}/users")
        self.told(200, *jar, "-X", "POST", "-H", f"X-CSRF-Token: {session['token']}", f"{self.url}/sign-out")
        self.command("user", "disable", "ann")
        self.told(401, *credentials, f"{self.url}/users")
        self.house.stop()
        log = self.house.output
        for secret in (key["secret"], token, session["token"], *re.findall("signature=(\\w+)", once + made["url"])):
            self.assertNotIn(secret, log)
