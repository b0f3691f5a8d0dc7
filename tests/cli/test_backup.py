"""C{storehouse backup} and C{storehouse restore}, without a service."""

from __future__ import annotations

import json
import os
import shutil

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli import main


class BackupVerbTests(SynchronousTestCase):
    """What they print, and their exit status."""

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        os.makedirs(self.top)
        self.root, self.made, self.again = (f"{self.top}/{name}" for name in ("root", "made", "again"))
        self.environment: dict[str, str] = {}

    def run_command(self, *args: str, stdin: bytes = b"", status: int = 0) -> Result:
        """Run it, and check its exit status."""
        result = CliRunner().invoke(main, args, input=stdin, env=self.environment, prog_name="storehouse")
        self.assertEqual(result.exit_code, status, f"{args} {result.stderr} {result.exception!r}")
        return result

    def fill(self) -> None:
        self.run_command("mb", "box", "--root", self.root)
        self.run_command("put", "-", "box/a", "--root", self.root, stdin=b"some text")

    def test_there_and_back(self) -> None:
        self.fill()
        told = self.run_command("backup", self.made, "--root", self.root)
        self.assertEqual(told.stdout, "")
        self.assertIn(f"1 key, 1 object and 0 open uploads are in {self.made}", told.stderr)
        told = self.run_command("restore", self.made, "--root", self.again)
        self.assertIn(f"1 key, 1 object and 0 open uploads are in {self.again}", told.stderr)
        self.assertEqual(self.run_command("cat", "box/a", "--root", self.again).stdout, "some text")
        self.run_command("fsck", "--root", self.again)

    def test_json(self) -> None:
        self.fill()
        told = json.loads(self.run_command("backup", self.made, "--root", self.root, "--json").stdout)
        self.assertEqual((told["format"], told["root"], told["keys"], told["lost"]), ("backup", self.root, 1, 0))

    def test_wrong_usage(self) -> None:
        """One line says what cannot be."""
        self.assertIn("there is no root", self.run_command("backup", self.made, "--root", self.root, status=2).stderr)
        self.fill()
        for dest in (f"{self.root}/made", self.root, self.top, f"{self.top}/none/made"):
            said = self.run_command("backup", dest, "--root", self.root, status=2).stderr
            self.assertIn("Error: a backup cannot be", said)
        self.assertIn("not a backup", self.run_command("restore", self.root, "--root", self.again, status=2).stderr)
        self.run_command("backup", self.made, "--root", self.root)
        self.assertIn(
            "empty or new directory", self.run_command("restore", self.made, "--root", self.root, status=2).stderr
        )
        self.run_command("restore", self.made, status=2)
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "root"])

    def test_something_is_wrong(self) -> None:
        """A root that lacks bytes has a backup all the same, and the status is 1; so has one whose objects are damaged."""
        self.fill()
        id = json.loads(self.run_command("stat", "--json", "box/a", "--root", self.root).stdout)["id"]
        part = f"objects/data/{id[:2]}/{id}/part.1"
        self.run_command("backup", self.made, "--root", self.root)
        with open(f"{self.made}/{part}", "r+b") as file:
            file.write(b"?")
        told = self.run_command("restore", self.made, "--root", self.again, status=1)
        self.assertIn(f"{id}, part 1, block 0", told.stderr)
        self.assertTrue(os.path.isdir(self.again))
        shutil.rmtree(os.path.dirname(f"{self.root}/{part}"))
        told = self.run_command("backup", self.made, "--root", self.root, status=1)
        self.assertIn(
            "the backup is complete, but 1 versions of keys of the root have no bytes, such as box/a", told.stderr
        )
        # A key that is served by the index alone would be lost without a word.
        os.unlink(f"{self.root}/namespace/buckets/box/objects/a/default.json")
        told = self.run_command("backup", self.made, "--root", self.root, status=1)
        self.assertIn("1 keys of the root are damaged, such as box/a: see 'storehouse fsck'", told.stderr)
        # Of a backup that lacks something itself there is no root.
        os.unlink(f"{self.made}/objects/format.json")
        self.assertIn(
            "no root was made", self.run_command("restore", self.made, "--root", f"{self.top}/x", status=1).stderr
        )
        self.assertFalse(os.path.exists(f"{self.top}/x"))

    def test_encrypted(self) -> None:
        """Neither needs the master key, which is not in it; what needs it are those who read."""
        key = f"{self.top}/master.key"
        with open(key, "wb") as file:
            file.write(b"c29tZSBtYXN0ZXIga2V5IGZvciBhIHRlc3Q=\n")
        os.chmod(key, 0o600)
        self.fill()
        self.run_command("rm", "box/a", "--root", self.root)
        self.run_command("keys", "init", "--root", self.root, "--master-key-file", key)
        self.environment = {"masterkey": "c29tZSBtYXN0ZXIga2V5IGZvciBhIHRlc3Q="}
        self.run_command("put", "-", "box/a", "--root", self.root, stdin=b"some text")
        self.environment = {}
        told = self.run_command("backup", self.made, "--root", self.root)
        self.assertIn("keyring.json is in it as it is; the master key is not", told.stderr)
        for directory, _, names in os.walk(self.made):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    content = file.read()
                self.assertNotIn(b"some text", content)
                self.assertNotIn(b"c29tZSBtYXN0", content)
        self.assertIn("needs the master key", self.run_command("restore", self.made, "--root", self.again).stderr)
        self.run_command("cat", "box/a", "--root", self.again, status=1)
        self.environment = {"masterkey": "c29tZSBtYXN0ZXIga2V5IGZvciBhIHRlc3Q="}
        self.assertEqual(self.run_command("cat", "box/a", "--root", self.again).stdout, "some text")
        self.run_command("fsck", "--root", self.again)
