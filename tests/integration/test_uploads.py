"""Uploads to a real service, by curl: forms and files, a server that is killed in their midst, and its metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.forked import run_forked
from tests.integration.process import PATIENCE, Storehouse, wait_for
from tests.integration.tools import needed

MIB = 1 << 20


class ServiceTests(SynchronousTestCase):
    """One service with one user."""

    def setUp(self) -> None:
        (self.curl,) = needed("curl")
        self.house = Storehouse(
            os.path.abspath(self.mktemp()), "--memory", "128MiB", https=True, settings={"https-max-size": "100MiB"}
        )
        self.addCleanup(self.house.kill)
        self.house.start()
        self.url = f"https://localhost:{self.house.https_port}"
        words = [sys.executable, "-m", "storehouse.cli", "user", "add", "ann", "--root", "storehouse-data"]
        said = self.run_command(words)
        self.key = ":".join(re.findall(r"^(?:key ID|secret) +(\S+)$", said, re.MULTILINE))

    def run_command(self, words: list[str]) -> str:
        done = run_forked(
            words, cwd=self.house.directory, env=self.house.environment, capture_output=True, text=True, timeout=PATIENCE
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def ask(self, *words: str) -> tuple[int, bytes]:
        """What curl gets: the status and the answer."""
        command = [self.curl, "-sSk", "-u", self.key, "-w", "\n%{http_code}", "--max-time", str(PATIENCE), *words]
        done = subprocess.run(command, cwd=self.house.directory, capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    def file(self, name: str, size: int) -> bytes:
        """Make a file of random bytes."""
        data = Random(size).randbytes(size)
        with open(os.path.join(self.house.directory, name), "wb") as file:
            file.write(data)
        return data

    def names(self) -> list[str]:
        status, body = self.ask(f"{self.url}/download")
        self.assertEqual(status, 200)
        return [each["name"] for each in json.loads(body)["files"]]

    def metric(self, name: str) -> float:
        status, body = self.house.ask(self.house.admin_port, "GET", "/metrics")
        self.assertEqual(status, 200)
        found = re.search(rf"^{re.escape(name)} (\S+)$", body.decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def test_up_and_down(self) -> None:
        """What goes up comes down, by a form and alone; and the metrics tell of it."""
        data = {"a.bin": self.file("a.bin", 24 * MIB), "käse.txt": self.file("käse.txt", 1000)}
        status, body = self.ask("-F", "x=1", "-F", "f=@a.bin", "-F", "f=@käse.txt", f"{self.url}/upload")
        self.assertEqual((status, [each["name"] for each in json.loads(body)["stored"]]), (201, list(data)))
        status, body = self.ask("-T", "a.bin", f"{self.url}/upload/folder/b.bin")
        told: dict[str, Any] = json.loads(body)["stored"][0]
        self.assertEqual((status, told["url"]), (201, "/download/folder/b.bin"))
        data["folder/b.bin"] = data["a.bin"]
        for name, content in data.items():
            status, body = self.ask(f"{self.url}/download/{name.replace('ä', '%C3%A4')}")
            self.assertEqual((status, body == content), (200, True))
        status, body = self.ask("-F", "f=@a.bin", "-H", "Accept: text/html", f"{self.url}/upload")
        self.assertEqual(status, 201)
        self.assertIn(b"a (1).bin", body)
        self.file("huge", 101 * MIB)
        status, body = self.ask("-F", "f=@a.bin", "-F", "f=@huge", f"{self.url}/upload")
        self.assertEqual((status, [each["name"] for each in json.loads(body)["stored"]]), (413, ["a (2).bin"]))
        self.assertEqual(self.metric("storehouse_upload_memory_budget_bytes"), 16 * MIB)
        self.assertEqual(self.metric("storehouse_upload_memory_held_bytes"), 0)
        self.assertLess(self.metric("storehouse_upload_memory_peak_bytes"), 16 * MIB)
        self.assertEqual(self.metric("storehouse_upload_sessions"), 0)
        self.assertEqual(self.metric('storehouse_upload_files_total{way="memory"}'), 1)

    def test_killed(self) -> None:
        """A server that is killed while files come: those that were acknowledged are there, of the rest nothing."""
        self.file("small", 1000)
        self.file("large", 30 * MIB)
        self.assertEqual(self.ask("-T", "small", f"{self.url}/upload/before")[0], 201)
        slow = ["-sk", "-u", self.key, "--limit-rate", "8M"]
        for way in (["-F", "f=@small", "-F", "f=@large", f"{self.url}/upload"], ["-T", "large", f"{self.url}/upload/"]):
            client = subprocess.Popen([self.curl, *slow, *way], cwd=self.house.directory)
            self.addCleanup(client.wait)
            wait_for(lambda: self.metric("storehouse_upload_received_bytes_total") > 5 * MIB, "some of it")
            self.house.stop(signal.SIGKILL)
            client.wait(PATIENCE)
            self.house.start()
        self.assertEqual(sorted(self.names()), ["before", "small"])
        left = os.path.join(self.house.directory, "storehouse-data", "objects")
        deadline = time.monotonic() + PATIENCE

        def size() -> int:
            return sum(
                os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(left) for name in names
            )

        # What a crash leaves is removed in the background.
        while size() > MIB and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertLess(size(), MIB)
