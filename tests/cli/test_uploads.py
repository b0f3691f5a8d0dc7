"""C{storehouse uploads}."""

from __future__ import annotations

import json
import os
import re

from storehouse.core.root import RootLock
from tests.cli.root import RootCase


class UploadsTests(RootCase):
    """Listing and removing."""

    def test_none(self) -> None:
        result = self.run_command("uploads")
        self.assertEqual((result.stdout, result.stderr), ("UPLOAD  BEGUN  TOUCHED  PARTS  SIZE\n", ""))
        self.assertEqual(self.run_command("uploads", "--json").stdout, "")

    def test_list(self) -> None:
        """Also while a service runs on the root."""
        for upload_id, sizes in (("ab", (10, 2000)), ("cd0123", ())):
            os.utime(self.upload(upload_id, *sizes) / "parts.json", (1_800_000_060, 1_800_000_060))
        lock = RootLock(str(self.root))
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertEqual(
            self.run_command("uploads").stdout,
            "UPLOAD  BEGUN                 TOUCHED               PARTS     SIZE\n"
            "ab      2027-01-15T08:00:00Z  2027-01-15T08:01:00Z      2  2.0 KiB\n"
            "cd0123  2027-01-15T08:00:00Z  2027-01-15T08:01:00Z      0      0 B\n",
        )
        lines = self.run_command("uploads", "--json").stdout.splitlines()
        self.assertEqual(
            json.loads(lines[0]),
            {"id": "ab", "created": 1.8e9, "touched": 1800000060.0, "parts": 2, "size": 2010, "metadata": {}},
        )

    def test_damaged(self) -> None:
        """One that cannot be read is listed as well."""
        (self.upload("ab", 10) / "parts.json").unlink()
        self.assertTrue(re.search(r"^ab +- +2\S+ +0 +0 B$", self.run_command("uploads").stdout, re.MULTILINE))

    def test_expire(self) -> None:
        old, new = self.upload("ab", 10), self.upload("cd")
        os.utime(old / "parts.json", (1, 1))
        result = self.run_command("uploads", "--expire", "1h")
        self.assertTrue(re.search("^ab ", result.stdout, re.MULTILINE))
        self.assertNotIn("cd", result.stdout)
        self.assertEqual(result.stderr, "1 upload removed\n")
        self.assertEqual((old.exists(), new.exists()), (False, True))
        result = self.run_command("uploads", "--expire", "0", "--json")
        self.assertEqual(json.loads(result.stdout)["id"], "cd")
        self.assertEqual(self.run_command("uploads", "--expire", "1.5d").stderr, "0 uploads removed\n")

    def test_expire_beside_a_service(self) -> None:
        path = self.upload("ab")
        lock = RootLock(str(self.root))
        lock.acquire()
        self.addCleanup(lock.release)
        result = self.run_command("uploads", "--expire", "0", status=1)
        self.assertIn(f"is in use by process {os.getpid()}", result.stderr)
        self.assertTrue(path.exists())

    def test_ages(self) -> None:
        for age in ("", "soon", "-1", "7 years", "1e9", "nan"):
            self.assertIn("is not an age", self.run_command("uploads", "--expire", age, status=2).stderr)

    def test_other_format(self) -> None:
        (self.directory / "format.json").write_text('{"format":"wormer","version":2}\n', encoding="utf-8")
        for args in ((), ("--expire", "0")):
            self.assertIn("of another format", self.run_command("uploads", *args, status=1).stderr)

    def test_no_root(self) -> None:
        root = self.mktemp()
        self.assertIn("there are no objects", self.run_command("uploads", "--expire", "0", root=root, status=2).stderr)
        self.assertFalse(os.path.exists(root))
