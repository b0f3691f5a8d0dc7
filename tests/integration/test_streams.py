"""Streams of archives in a process of its own: posted to, killed, stopped, shipped and read back."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from http.client import HTTPConnection, HTTPException
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import CHECKOUT, PATIENCE, Storehouse, wait_for

_CONFIG = """
[archive.streams.plain]
roll = [{checker = "records", roll_records = 50}]

[archive.streams.shipped]
roll = [{checker = "records", roll_records = 20}]
callbacks = [{callback = "extension", new_extension = ".done"}]
ship = "own"
keep_local = false

[archive.streams.packed]
roll = [{checker = "records", roll_records = 20}]
compression = "zstd"
callbacks = [{callback = "compress", method = "gzip"}]
ship = "packed"
keep_local = false

[destinations.own]
kind = "store"
shipping = {compression = "none"}

[destinations.packed]
kind = "store"
bucket = "packed"
"""


class ProcessTests(SynchronousTestCase):
    """A real process."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        with open(os.path.join(self.directory, "c.toml"), "w", encoding="utf-8") as file:
            file.write(_CONFIG)
        self.server = Storehouse(self.directory, "--config", "c.toml", settings={"append-ship": "own"})
        self.addCleanup(lambda: self.server.kill())
        self.server.start()

    def post(self, stream: str, *payloads: str) -> int:
        """A batch."""
        body = "".join(json.dumps({"metadata": {"n": payload}, "payload": payload}) + "\n" for payload in payloads)
        connection = HTTPConnection("127.0.0.1", self.server.archive_port, timeout=PATIENCE)
        try:
            connection.request("POST", f"/archive/{stream}", body.encode(), {"Content-Type": "application/x-ndjson"})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def read(self, stream: str, query: str = "") -> list[str]:
        """All payloads."""
        status, body = self.server.ask(self.server.archive_port, "GET", f"/archive/{stream}{query}")
        self.assertEqual(status, 200, body)
        return [json.loads(line)["payload"] for line in body.splitlines()]

    def archives(self, stream: str) -> list[dict[str, Any]]:
        """What there is."""
        found: list[dict[str, Any]] = json.loads(
            self.server.ask(self.server.archive_port, "GET", f"/archive/{stream}/archives")[1]
        )["archives"]
        return found

    def shipped(self, stream: str) -> bool:
        """Whether all closed archives are, and their files are gone."""
        return all(
            archive["state"] == "open" or (archive["state"] == "shipped" and not archive["path"])
            for archive in self.archives(stream)
        )

    def test_shipped(self) -> None:
        """What is at the destination is read back when the files are gone, also by another process."""
        for stream in ("shipped", "packed"):
            expected = [f"payload {number}" for number in range(90)]
            for first in range(0, 90, 10):
                self.assertEqual(self.post(stream, *expected[first : first + 10]), 200)
            wait_for(lambda stream=stream: self.shipped(stream), "shipping")  # type: ignore[misc]
            self.assertEqual(self.read(stream), expected)
            self.assertEqual(len(self.archives(stream)), 5)
        self.assertEqual(self.server.stop(), -signal.SIGTERM)
        self.assertIn("stopped", self.server.output)
        self.server.start()
        for stream in ("shipped", "packed"):
            self.assertEqual(self.read(stream), expected)
            # What was open was closed, and follows.
            wait_for(lambda stream=stream: self.shipped(stream), "shipping")  # type: ignore[misc]
            self.assertEqual(self.read(stream), expected)
            third = self.archives(stream)[2]
            self.assertEqual(self.read(stream, f"?from={third['first']}&to={third['last']}")[0], "payload 40")
            self.assertEqual([f"{stream}/" in archive["shipped_as"] for archive in self.archives(stream)], [True] * 5)
        self.assertEqual(os.listdir(os.path.join(self.directory, "storehouse-data", "archives", "shipped")), [])
        shown = self.server.ask(self.server.admin_port, "GET", "/metrics")[1]
        for line in (
            b'storehouse_shipping_shipped_total{destination="own"}',
            b'storehouse_streams_archives{state="shipped",stream="packed"} 5.0',
            b'storehouse_streams_failures_total{stream="packed"} 0.0',
        ):
            self.assertIn(line, shown)

    def test_append_ship(self) -> None:
        """Closing a storage prefix ships its bucket files."""
        server = self.server
        server.ask(server.append_port, "POST", "/append?id=some_identifier&storagePrefix=p", b"some text")
        self.assertEqual(server.ask(server.append_port, "POST", "/close?storagePrefix=p")[0], 200)

        def arrived() -> bool:
            shown = server.ask(server.admin_port, "GET", "/metrics")[1]
            return b'storehouse_shipping_shipped_total{destination="own"} 2.0' in shown

        wait_for(arrived, "both files")
        self.assertEqual(
            server.ask(server.append_port, "GET", "/get?id=some_identifier&offset=0&storagePrefix=p")[1], b"some text"
        )

    def test_append_ship_delete(self) -> None:
        """If that is asked, the prefix is gone once its files have arrived; one of its name begins anew."""
        server = self.server
        server.stop()
        with open(os.path.join(self.directory, "settings.toml"), "r+", encoding="utf-8") as file:
            text = file.read()
            file.seek(0)
            file.write("append-ship-delete = true\n" + text)
        server.start()
        get = "/get?id=some_identifier&offset=0&storagePrefix=p"
        place = os.path.join(self.directory, "storehouse-data", "append", "p")
        for count in (2, 4):
            self.assertEqual(
                server.ask(server.append_port, "POST", "/append?id=some_identifier&storagePrefix=p", b"%d" % count)[0],
                200,
            )
            self.assertEqual(server.ask(server.append_port, "GET", get), (200, b"%d" % count))
            self.assertEqual(server.ask(server.append_port, "POST", "/close?storagePrefix=p")[0], 200)
            # Not asked of the server: that would open it again.
            wait_for(lambda: not os.path.exists(place), "the removal")
            self.assertEqual(server.ask(server.append_port, "GET", get)[0], 404)
            shown = server.ask(server.admin_port, "GET", "/metrics")[1]
            self.assertIn(b'storehouse_shipping_shipped_total{destination="own"} %d.0' % count, shown)

    def test_killed(self) -> None:
        """Whatever was acknowledged is there once, in order, after a kill in the midst of it."""
        for life in range(4):
            acknowledged: dict[int, list[str]] = {}
            threads = [
                threading.Thread(target=self.load, args=(f"{life}-{number}", acknowledged.setdefault(number, [])))
                for number in range(4)
            ]
            for thread in threads:
                thread.start()
            wait_for(lambda: sum(map(len, acknowledged.values())) > 150, "some records")  # noqa: B023
            self.server.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()
            self.server.start()
            for stream in ("plain", "shipped"):
                found = self.read(stream)
                self.assertEqual(len(found), len(set(found)))
                for number, sent in acknowledged.items():
                    mine = [payload for payload in found if payload.startswith(f"{life}-{number} ")]
                    # One more may be there than was answered.
                    self.assertEqual(mine[: len(sent)], sent)
                    self.assertLessEqual(len(mine), len(sent) + 1)
        wait_for(lambda: self.shipped("shipped"), "shipping")
        self.assertEqual(self.read("shipped"), found)

    def test_read_under_load(self) -> None:
        """A reader gets all, once, in order, while archives are closed, compressed, shipped and removed."""
        sent: list[str] = []
        over = threading.Event()

        def load() -> None:
            # Not too many archives: a read opens each of them.
            while not over.wait(0.02):
                batch = [str(len(sent) + number) for number in range(7)]
                if self.post("packed", *batch) != 200:
                    return
                sent.extend(batch)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            while len(sent) < 300 and thread.is_alive():
                before = len(sent)
                found = self.read("packed")
                self.assertEqual(found, [str(number) for number in range(len(found))])
                self.assertGreaterEqual(len(found), before)
        finally:
            over.set()
            thread.join()
        self.assertEqual(self.read("packed"), sent)
        self.assertGreater(len(self.archives("packed")), 5)

    def load(self, name: str, sent: list[str]) -> None:
        """Post to both streams until the server is gone."""
        number = 0
        while True:
            payload = f"{name} {number}"
            number += 1
            try:
                for stream in ("plain", "shipped"):
                    if self.post(stream, payload) != 200:
                        return
            except (OSError, HTTPException):
                return
            sent.append(payload)


_block = re.compile(r"``storehouse.toml``::\n\n")
_typed = re.compile(r"^    \$ (.*/archive/.*)\n((?:    (?!\$).*\n)*)", re.MULTILINE)
_when = re.compile(r'"time":"[^"]*Z"')


class PageTests(SynchronousTestCase):
    """What docs/archive.rst shows is what one sees."""

    def test_page(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("there is no curl")
        with open(os.path.join(CHECKOUT, "docs", "archive.rst"), encoding="utf-8") as file:
            text = file.read()
        shown = _block.split(text, maxsplit=1)[1]
        config = "".join(
            line.removeprefix("    ") for line in itertools.takewhile(_is_shown, shown.splitlines(keepends=True))
        )
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, "storehouse.toml"), "w", encoding="utf-8") as file:
            file.write(config)
        self.assertIn("[archive.streams.notifications]", config)
        self.assertIn("[destinations.archives]", config)
        server = Storehouse(directory, "--config", "storehouse.toml")
        self.addCleanup(server.kill)
        server.start()
        lines = _typed.findall(text)
        self.assertEqual(len(lines), 3)
        for line, printed in lines:
            line = line.replace(":8003", f":{server.archive_port}").replace("curl ", "curl -sS ")
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            expected = "".join(each.removeprefix("    ") for each in printed.splitlines(keepends=True))
            self.assertEqual(_when.sub("", done.stdout).rstrip("\n"), _when.sub("", expected).rstrip("\n"))


def _is_shown(line: str) -> bool:
    return line.startswith("    ") or not line.strip()
