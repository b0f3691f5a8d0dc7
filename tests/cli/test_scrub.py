"""C{storehouse scrub}."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import storehouse
from storehouse.app.local.store import open_store
from storehouse.app.local.waiting import run
from storehouse.cli import progress
from storehouse.config import load_settings
from storehouse.core.streams import BytesStream
from tests.cli.root import RootCase
from tests.integration.process import PATIENCE


def flip(path: Path, at: int = 0) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


class ScrubTests(RootCase):
    """What it says, and its exit status."""

    def test_intact(self) -> None:
        self.put("ab", 5000)
        self.upload("cd", 10)
        result = self.run_command("scrub")
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr, "2 objects, 4.9 KiB verified: no damage\n")
        self.assertEqual(self.run_command("scrub", "--quiet").stderr, "")

    def test_damage(self) -> None:
        path = self.put("ab", 3 * 4096)
        flip(path / "part.1", 0)
        flip(path / "part.1", 2 * 4096)
        (self.put("cd") / "data.json").unlink()
        (self.upload("ef", 10) / "part.1").unlink()
        expected = (
            "upload ef  part 1  part.1 is missing\n"
            "ab  part 1  block 0  its checksum is wrong\n"
            "ab  part 1  block 2  its checksum is wrong\n"
            "cd  data.json is missing\n"
        )
        result = self.run_command("scrub", status=1)
        self.assertEqual(result.stdout, expected)
        self.assertEqual(result.stderr, "Error: 4 damages found; 3 objects, 12.0 KiB verified\n")
        result = self.run_command("scrub", "--quiet", status=1)
        self.assertEqual((result.stdout, result.stderr), (expected, ""))
        result = self.run_command("scrub", "--json", status=1)
        self.assertEqual(
            [json.loads(line) for line in result.stdout.splitlines()][:2],
            [
                {"id": "ef", "part": 1, "block": None, "reason": "part.1 is missing", "kind": "upload"},
                {"id": "ab", "part": 1, "block": 0, "reason": "its checksum is wrong", "kind": "object"},
            ],
        )
        self.assertTrue((path / "part.1").exists())

    def test_keys(self) -> None:
        """What a key says of its object is compared with the object."""
        self.run_command("mb", "bucket")
        for name in ("a", "b", "c"):
            path = self.root / name
            path.write_text(name * 5, encoding="utf-8")
            self.run_command("put", str(path), f"bucket/{name}")
        self.assertEqual(self.run_command("scrub", "--quiet").stdout, "")
        ids = {}
        for name in ("a", "b"):
            (version,) = (self.root / "namespace/buckets/bucket/objects" / name).glob("[0-9a-f]*[0-9a-f].json")
            ids[name] = version.stem
        other = BytesStream(b"other")
        self.filled(
            lambda space: (
                space.delete(ids["a"]),
                space.put(ids["a"], other, 5, {}),
                space.delete(ids["b"]),
            )
        )
        before = sorted(self.root.rglob("*"))
        lines = sorted(self.run_command("scrub", status=1).stdout.splitlines(), key=lambda line: line.split()[1])
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], f"^{ids['a']}  bucket/a: .*its tag is ")
        self.assertEqual(lines[1], f"{ids['b']}  bucket/b: its object is not there")
        self.assertEqual(sorted(self.root.rglob("*")), before)

    def test_keys_of_encrypted_objects(self) -> None:
        """With the master key they are compared; without it is said that they were not."""
        shutil.rmtree(self.root)
        with mock.patch.dict(os.environ, masterkey="a key"):
            self.run_command("keys", "init")
            self.run_command("mb", "bucket")
            for name in ("a", "b"):
                path = Path(self.mktemp())
                path.write_text(name * 5, encoding="utf-8")
                self.run_command("put", str(path), f"bucket/{name}")
            self.assertIn("no damage", self.run_command("scrub").stderr)
            (version,) = (self.root / "namespace/buckets/bucket/objects/a").glob("[0-9a-f]*[0-9a-f].json")
            run(self.exchange(version.stem))
        result = self.run_command("scrub")
        self.assertIn("2 keys of encrypted objects not compared", result.stderr)
        with mock.patch.dict(os.environ, masterkey="a key"):
            lines = self.run_command("scrub", status=1).stdout.splitlines()
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0], f"^{version.stem}  bucket/a: .*its tag is ")

    async def exchange(self, id: str) -> None:
        """Put other bytes where those of an object were."""
        async with open_store(load_settings({"root": str(self.root)})) as store:
            await store._pair.space.delete(id)
            await store._pair.space.put(id, BytesStream(b"other"), 5, {})

    def test_names_cannot_play_with_the_terminal(self) -> None:
        index = self.put("abcd").parent
        (index / "a\x1b[2J\nb").write_bytes(b"")
        (index / os.fsdecode(b"b\xffc")).write_bytes(b"")
        result = self.run_command("scrub", status=1)
        self.assertEqual(result.stdout, "data/ab/a [2J b  unknown file a [2J b\ndata/ab/b c  unknown file b c\n")
        for line in self.run_command("scrub", "--json", status=1).stdout.splitlines():
            self.assertTrue(line.isascii() and json.loads(line)["id"].startswith("data/ab/"))

    def test_no_root(self) -> None:
        for root, word in ((self.mktemp(), "is not a directory"), ("", "a non-empty text")):
            result = self.run_command("scrub", root=root, status=2)
            self.assertIn(word, result.stderr)
        (self.root / "objects").rename(self.root / "other")
        self.assertIn("there are no objects", self.run_command("scrub", status=2).stderr)
        (self.root / "empty").mkdir()
        result = self.run_command("scrub", "--objects-dir", str(self.root / "empty"), status=2)
        self.assertIn("neither format.json nor data/", result.stderr)
        self.run_command("scrub", "--objects-dir", str(self.root / "other"))

    def test_configuration(self) -> None:
        """Where the service's own settings say."""
        (self.root / "objects").rename(self.root / "other")
        path = self.root / "storehouse.toml"
        path.write_text(f"objects-dir = '{self.root}/other'\n", encoding="utf-8")
        self.run_command("scrub", "--config", str(path))
        path.write_text("nonsense = 1\n", encoding="utf-8")
        self.assertIn("'nonsense'", self.run_command("scrub", "--config", str(path), status=2).stderr)


class TerminalTests(RootCase):
    """In a process of its own."""

    def test_progress_on_a_terminal(self) -> None:
        """The bar comes, and goes again."""
        self.put("ab", 4 << 20)
        tree = str(Path(storehouse.__file__).parent.parent)
        script = (
            "import storehouse.cli.progress as p; p._DELAY = p._INTERVAL = 0; from storehouse.cli import main; main()"
        )
        mine, theirs = pty.openpty()
        self.addCleanup(os.close, mine)
        try:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", script, "scrub", "--root", str(self.root)],
                env={**os.environ, "PYTHONPATH": tree},
                stderr=theirs,
                stdout=subprocess.DEVNULL,
            )
        finally:
            os.close(theirs)
        shown = b""
        try:
            while data := os.read(mine, 65536):
                shown += data
        except OSError:
            pass
        self.assertEqual(process.wait(PATIENCE), 0, shown)
        self.assertIn(b"count  4.0 MiB", shown)
        self.assertIn(b"scrub  [", shown)
        self.assertIn(b"100%  4.0 MiB of 4.0 MiB", shown)
        self.assertIn(b"\r\x1b[K1 object, 4.0 MiB verified: no damage", shown)


class InterruptTests(RootCase):
    """Ctrl-C."""

    def test_interrupt(self) -> None:
        self.put("ab")
        with mock.patch.object(progress.Progress, "advance", side_effect=KeyboardInterrupt):
            result = self.run_command("scrub", status=130)
        self.assertEqual((result.stdout, result.stderr), ("", ""))
