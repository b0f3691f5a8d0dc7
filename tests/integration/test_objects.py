"""The objects door of a real service, as curl sees it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT, PATIENCE, Storehouse

_MIB = 1 << 20


class CurlTests(SynchronousTestCase):
    """C{curl --unix-socket}, on a root whose path is longer than the system takes for one."""

    def setUp(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("there is no curl")
        self.root = os.path.join(os.path.abspath(self.mktemp()), "x" * 100, "root")
        os.makedirs(os.path.dirname(self.root))
        self.server = Storehouse(self.mktemp(), "--root", self.root)
        self.addCleanup(self.server.kill)
        self.server.start()
        # curl has no way around the limit: it is given a short name of the same directory.
        self.short = os.path.relpath(os.path.join(self.server.directory, "r"))
        os.symlink(self.root, self.short)

    def curl(self, path: str, *args: str, given: bytes = b"", status: int = 0) -> bytes:
        """One request."""
        done = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "--path-as-is", "--unix-socket", f"{self.short}/objects.sock", *args,
             f"http://localhost{path}"],
            input=given, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def test_curl(self) -> None:
        self.assertEqual(json.loads(self.curl("/buckets/box", "-X", "PUT"))["name"], "box")
        data = os.urandom(5 * _MIB)
        info = json.loads(self.curl("/objects/box/a/../b", "-T", "-", "-H", "Content-Type: text/plain", given=data))
        self.assertEqual((info["key"], info["size"]), ("a/../b", len(data)))
        self.assertEqual(self.curl("/objects/box/a/../b"), data)
        self.assertEqual(self.curl("/objects/box/a%2F..%2Fb", "-r", "1048570-1048580"), data[1048570:1048581])
        self.assertIn(b"Content-Length: 5242880\r\n", self.curl("/objects/box/a/../b", "-I"))
        self.assertIn(b"NoSuchKey", self.curl("/objects/box/a", status=22))
        self.curl("/objects/box/c", "-T", "-", "-H", "If-None-Match: *", given=b"1")
        self.assertIn(
            b"PreconditionFailed", self.curl("/objects/box/c", "-T", "-", "-H", "If-None-Match: *", status=22)
        )
        self.assertEqual(self.curl("/check", "-d", "").splitlines()[-1], b'{"done":0}')
        self.assertEqual(self.curl("/reindex", "-d", "").splitlines()[-1], b'{"done":2}')
        shown = self.server.ask(self.server.admin_port, "GET", "/metrics")[1]
        for line in (b'storehouse_namespace_keys{bucket="box"} 2.0', b"storehouse_store_orphans_removed_total 0.0"):
            self.assertIn(line, shown)
        self.damage(info["id"])
        # 18: a partial file.
        self.assertEqual(self.curl("/objects/box/a/../b", status=18), data[: 2 * _MIB])
        self.assertIn("sending box/a/../b was interrupted after 2097152 bytes", self.server.output)

    def test_command_on_a_long_path(self) -> None:
        for args in (("mb", "box"), ("ls",)):
            done = run_forked(
                [sys.executable, "-m", "storehouse.cli", *args, "--root", self.root],
                env={**os.environ, "PYTHONPATH": CHECKOUT}, capture_output=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
            self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout, b"box\n")

    def damage(self, id: str) -> None:
        """Flip a byte in the third block."""
        with open(os.path.join(self.root, "objects", "data", id[:2], id, "part.1"), "r+b") as file:
            file.seek(2 * _MIB + 1)
            byte = file.read(1)
            file.seek(2 * _MIB + 1)
            file.write(bytes([byte[0] ^ 1]))
