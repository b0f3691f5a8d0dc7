"""The C{storehouse} command against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import CHECKOUT, PATIENCE, Storehouse


class CommandTests(SynchronousTestCase):
    """What a user does from a shell."""

    def setUp(self) -> None:
        self.server = Storehouse(self.mktemp(), settings={"append-max-record": "1MiB"})
        self.addCleanup(self.server.kill)
        self.server.start()

    def command(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "storehouse.cli", *words],
            input=given,
            capture_output=True,
            timeout=PATIENCE,
            env={
                **os.environ,
                "PYTHONPATH": CHECKOUT,
                "STOREHOUSE_SERVER": f"http://127.0.0.1:{self.server.append_port}",
            },
        )

    def said(self, *words: str, given: bytes = b"") -> bytes:
        """What it prints when it succeeds."""
        done = self.command(*words, given=given)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout

    def refused(self, *words: str, given: bytes = b"") -> str:
        """What it says when it fails."""
        done = self.command(*words, given=given)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        return done.stderr.decode()

    def test_records(self) -> None:
        """A record from standard input comes back by its offset."""
        data = bytes(range(256)) * 300
        offset, file = self.said("append", "x", given=data).decode().split()
        self.assertEqual((offset, os.path.basename(file)), ("0", "append.7.raw"))
        self.assertEqual(self.said("get", "x", "0"), data)
        self.assertEqual(self.said("get", "x", "4"), data)

    def test_lines(self) -> None:
        """Lines go in by batches and come back in order, also several by their offsets."""
        lines = b"".join(b"line %d\n" % number for number in range(30000))
        answered = self.said("append", "--lines", "x", given=lines).decode().splitlines()
        self.assertEqual(len(answered), 30000)
        self.assertEqual(self.said("scan", "x"), lines)
        some = [answer.split()[0] for answer in answered[5:8]]
        self.assertEqual(self.said("get", "x", *some, "--newline"), b"line 5\nline 6\nline 7\n")
        last = self.said("scan", "x", "--from", answered[-1].split()[0], "--format", "jsonl")
        self.assertEqual(json.loads(last)["data"], "line 29999")

    def test_prefixes(self) -> None:
        """Prefixes are told apart, and counted."""
        self.said("append", "--prefix", "other", "x", given=b"one")
        self.said("append", "--prefix", "other", "--durability", "os", "x", given=b"two")
        sizes = json.loads(self.said("stat", "--json"))["prefixes"]
        self.assertEqual((sizes["other"]["records"], sizes["default"]["records"]), (2, 0))
        self.assertEqual(self.said("scan", "--prefix", "other", "--bucket", "7"), b"one\ntwo\n")

    def test_failures(self) -> None:
        """What the server refuses is one line that says why."""
        self.assertIn("NoSuchRecord", self.refused("get", "x", "3"))
        self.assertIn("NoSuchPrefix", self.refused("scan", "--prefix", "none", "x"))
        self.assertIn("1048576", self.refused("append", "x", given=bytes(2 << 20)))
        self.server.stop()
        self.assertEqual(len(self.refused("stat").splitlines()), 1)
