"""The verbs of buckets and objects, by both ways: on the files of a root, and through the service that runs on it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli import main
from storehouse.cli import objects as objects_module
from storehouse.cli import store as store_module
from storehouse.cli.errors import CommandError
from storehouse.cli.store import Opener, Store, keys_below
from storehouse.config import load_settings
from storehouse.core.root import RootLock
from storehouse.errors import StorehouseError
from storehouse.storage.namespace.values import encode_config
from tests.app.local.opened import Opened
from tests.cli.case import heavy_imports
from tests.frontends.objects.test_door import KEYS
from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT, PATIENCE, Storehouse

_MIB = 1 << 20


class VerbCase(SynchronousTestCase):
    """Runs verbs on a root."""

    root: str

    def run_command(self, *args: str, stdin: bytes = b"", status: int = 0) -> Result:
        """Run within this process, and check the exit status."""
        words = [args[0], "--root", self.root, *args[1:]]
        result = CliRunner().invoke(main, words, input=stdin, prog_name="storehouse")
        self.assertEqual(result.exit_code, status, f"{args} {result.stderr} {result.exception!r}")
        return result

    def said(self, *args: str, stdin: bytes = b"") -> str:
        """What it prints."""
        return self.run_command(*args, stdin=stdin).stdout

    def refused(self, *args: str, stdin: bytes = b"") -> str:
        """The one line that it says when it fails."""
        result = self.run_command(*args, stdin=stdin, status=1)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr.removeprefix("Error: ").rstrip("\n")

    def process(self, *args: str, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        """Run it as a process."""
        return run_forked(
            [sys.executable, "-W", "error", "-m", "storehouse.cli", *args, "--root", self.root],
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            timeout=PATIENCE,
            check=False,
            **kwargs,
        )

    def file(self, data: bytes) -> str:
        """Make a file."""
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(data)
        return path

    def store(self) -> Opened:
        """The store, opened as verbs do."""
        return Opened(Opener(load_settings({"root": self.root}))())

    def damage(self, name: str, at: int) -> None:
        """Flip a byte of an object."""
        id = json.loads(self.said("stat", "--json", name))["id"]
        with open(os.path.join(self.root, "objects", "data", id[:2], id, "part.1"), "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))


class VerbTests:
    """What holds by both ways."""

    def test_buckets(self: Any) -> None:
        self.said("mb", "photos", "backups/")
        self.assertEqual(self.said("ls"), "backups\nphotos\n")
        self.assertRegex(self.said("ls", "-l"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  backups\n")
        self.assertEqual(
            [json.loads(line)["name"] for line in self.said("ls", "--json").splitlines()], ["backups", "photos"]
        )
        self.assertIn("photos", self.refused("mb", "photos"))
        self.assertIn("Photos", self.refused("mb", "Photos"))
        self.said("put", "-", "photos/a", stdin=b"x")
        self.assertIn("photos", self.refused("rb", "photos"))
        self.said("rm", "photos/a")
        self.said("rb", "photos")
        self.assertEqual(self.said("ls"), "backups\n")
        self.assertIn("photos", self.refused("ls", "photos"))

    def test_objects(self: Any) -> None:
        """Store, show, list, copy, remove."""
        self.said("mb", "box")
        data = random.Random(1).randbytes(3 * _MIB)
        path = self.file(data)
        info = json.loads(
            self.said(
                "put",
                path,
                "box/a/b",
                "--md5",
                "--json",
                "--content-type",
                "image/jpeg",
                "--metadata",
                "host=ä=b",
                "--metadata",
                "host=c",
            )
        )
        self.assertEqual((info["etag"], info["size"]), (hashlib.md5(data).hexdigest(), len(data)))
        self.assertEqual((info["content_type"], info["metadata"]), ("image/jpeg", {"host": ["ä=b", "c"]}))
        self.assertEqual(json.loads(self.said("stat", "box/a/b", "--json")), info)
        shown = self.said("stat", "box/a/b")
        for text in ("box/a/b", "3145728 (3.0 MiB)", info["etag"], "image/jpeg", "host=ä=b", "host=c"):
            self.assertIn(text, shown)
        self.assertEqual(self.run_command("cat", "box/a/b").stdout_bytes, data)
        for span, piece in (("5", data[5:]), ("1048575:2", data[1048575:1048577]), ("3145727:9", data[-1:])):
            self.assertEqual(self.run_command("cat", "box/a/b", "--range", span).stdout_bytes, piece)
        self.assertIn("box/a/b", self.refused("cat", "box/a/b", "--range", "3145728"))
        target = self.mktemp()
        self.said("cat", "box/a/b", "-o", target)
        with open(target, "rb") as file:
            self.assertEqual(file.read(), data)
        inside = os.path.join(self.root, "objects", "..", "mine")
        self.assertIn("which the store keeps its files in", self.refused("cat", "box/a/b", "-o", inside))
        self.assertFalse(os.path.exists(inside))
        self.said("put", "-", "box/a/c", stdin=b"")
        self.said("put", "-", "box/d", stdin=b"hello")
        self.said("cp", "box/d", "box/a-", "--content-type", "text/plain", "--metadata", "x=y")
        copied = json.loads(self.said("stat", "box/a-", "--json"))
        self.assertEqual((copied["content_type"], copied["metadata"]), ("text/plain", {"x": ["y"]}))
        self.assertEqual(self.said("cat", "box/a-", "box/d", "box/a/c"), "hellohello")
        self.assertEqual(self.said("ls", "box"), "a-\na/\nd\n")
        self.assertEqual(self.said("ls", "box/a/"), "a/b\na/c\n")
        self.assertEqual(self.said("ls", "box", "--recursive"), "a-\na/b\na/c\nd\n")
        self.assertRegex(self.said("ls", "-l", "box"), r"^ +5  \d{4}-\S+Z  a-\n +-  - +a/\n +5  \S+  d\n$")
        lines = [json.loads(line) for line in self.said("ls", "--json", "box/a").splitlines()]
        self.assertEqual(lines[1], {"bucket": "box", "prefix": "a/"})
        self.assertEqual((lines[0]["bucket"], lines[0]["key"], lines[0]["size"]), ("box", "a-", 5))
        self.assertEqual(self.said("du").split(), ["3.0", "MiB", "4", "box"])
        used = json.loads(self.said("du", "--json", "box/a/"))
        self.assertEqual(used, {"bucket": "box", "prefix": "a/", "objects": 2, "bytes": len(data)})
        self.assertEqual(self.said("du", "box").split()[-1], "box")
        self.assertEqual(self.run_command("fsck").stderr, "no problems found\n")
        self.assertEqual(self.run_command("reindex").stderr, "4 keys indexed\n")
        self.said("rm", "box/a-", "box/d")
        self.run_command("rm", "--recursive", "box/a/", status=1)
        self.said("rm", "--recursive", "--yes", "box/a/")
        self.assertEqual(self.said("ls", "box"), "")

    def test_errors_name_the_key(self: Any) -> None:
        self.said("mb", "box")
        for args in (
            ("cat", "box/none"),
            ("stat", "box/none"),
            ("rm", "box/none"),
            ("cp", "box/none", "box/a"),
            ("cat", "nobox/none"),
            ("put", "-", f"box/none{'x' * 1024}"),
            ("put", "-", "box/none", "--if-match", "*"),
        ):
            self.assertIn("/none", self.refused(*args))
        target = self.mktemp()
        self.refused("cat", "box/none", "-o", target)
        self.assertFalse(os.path.exists(target))
        for args in (("cat", "box"), ("cat", "box/"), ("cat", "/a"), ("rm", "box/"), ("stat", "box"), ("ls", "/"),
                     ("cat", "box/a", "--range", "1:0"), ("put", "-", "box/a", "--metadata", "x"),
                     ("put", "-", "box/a", "--content-type", "ä"), ("put", "/none", "box/a"),
                     ("put", "-", "box/a", "--if-match", "a,b")):  # fmt: skip
            self.run_command(*args, status=2)

    def test_media_type(self: Any) -> None:
        """It is what the key says, unless one is given."""
        self.said("mb", "box")
        path = self.file(b"x")
        for given, kind in (
            ((path, "box/a/P.JPG"), "image/jpeg"),
            (("-", "box/a.tar"), "application/x-tar"),
            (("-", "box/a.html"), ""),
            (("-", "box/a.jpg", "--content-type", ""), ""),
            (("-", "box/a.jpg", "--content-type", "a/b"), "a/b"),
            (("--from-command", "box/a.csv", "--", "true"), "text/csv"),
        ):
            self.assertEqual(json.loads(self.said("put", "--json", *given, stdin=b""))["content_type"], kind, given)

    def test_several(self: Any) -> None:
        """One that fails is named, and all others are done."""
        self.said("mb", "box")
        for key in "abcd":
            self.said("put", "-", f"box/{key}", stdin=b"x")
        self.assertIn("box/none", self.refused("rm", "box/a", "box/none", "box/b"))
        result = self.run_command("rm", "box/none", "box/nothing", "box/c", status=1)
        self.assertEqual(result.stderr.count("Error: "), 2, result.stderr)
        self.assertEqual(self.said("ls", "box"), "d\n")
        self.assertIn("box", self.refused("mb", "one", "box", "two"))
        self.assertIn("none", self.refused("publish", "none", "one"))
        self.assertIn("none", self.refused("unpublish", "none", "one"))
        self.assertIn("box", self.refused("rb", "one", "box", "two"))
        self.assertEqual(self.said("ls"), "box\n")
        self.assertIn("none", self.refused("rm", "-ry", "none/", "box/"))
        self.assertEqual(self.said("ls", "box"), "")

    def test_another_remover(self: Any) -> None:
        """What somebody else removes at the same time is gone, and that is what was wanted."""
        self.said("mb", "box")
        for key in "abcd":
            self.said("put", "-", f"box/{key}", stdin=b"x")

        async def racing(store: Store, place: Any) -> AsyncIterator[Any]:
            async for item in keys_below(store, place):
                if item.key in "ad":
                    await store.delete("box", item.key)
                if item.key == "d":
                    await store.delete_bucket("box")
                yield item

        self.patch(objects_module, "keys_below", racing)
        self.assertEqual(self.said("rm", "-r", "--yes", "box/"), "")
        self.assertEqual(self.said("ls"), "")

    def test_from_command(self: Any) -> None:
        """What a program says is stored when it ends well; before that, what was there stays."""
        self.said("mb", "box")
        self.said("put", "--from-command", "box/a", "--", "echo", "some", "text")
        self.assertEqual(self.said("cat", "box/a"), "some text\n")
        for script in ("echo other; exit 3", "head -c 600000 /dev/zero; kill -9 $$", "exit 1"):
            self.assertIn("sh ", self.refused("put", "--from-command", "box/a", "--", "sh", "-c", script))
        self.assertEqual(self.said("cat", "box/a"), "some text\n")
        for words in (("box/a",), ("box", "cat"), ()):
            self.run_command("put", "--from-command", *words, status=2)
        self.run_command("put", "box/a", status=2)

    def test_size(self: Any) -> None:
        """A pipe that ends early, or late, stores nothing."""
        self.said("mb", "box")
        for data in (b"some", b"some text and more", b""):
            self.assertIn("nothing was stored", self.refused("put", "-", "box/a", "--size", "9", stdin=data))
        self.assertIn("nothing was stored", self.refused("put", "-", "box/a", "--size", "0", stdin=b"x"))
        self.assertEqual(self.said("ls", "box"), "")
        self.said("put", "-", "box/a", "--size", "9", stdin=b"some text")
        self.said("put", "-", "box/b", "--size", "0")
        self.assertEqual(self.said("cat", "box/a", "box/b"), "some text")

    def test_conditions(self: Any) -> None:
        self.said("mb", "box")
        info = json.loads(self.said("put", "-", "box/a", "--if-absent", "--json", stdin=b"1"))
        self.assertIn("box/a", self.refused("put", "-", "box/a", "--if-absent", stdin=b"2"))
        self.assertIn("box/a", self.refused("put", "-", "box/a", "--if-match", "other", stdin=b"2"))
        self.said("put", "-", "box/a", "--if-match", info["etag"], stdin=b"3")
        self.assertIn("box/a", self.refused("cp", "box/a", "box/a", "--if-absent"))
        self.assertEqual(self.said("cat", "box/a"), "3")

    def test_every_key(self: Any) -> None:
        """As the store of the verbs takes them, NUL included."""
        with self.store() as store:
            store.create_bucket("box")
            for key in KEYS:
                info = store.put("box", key, [key.encode()])
                self.assertEqual(info.key, key)
            for key in KEYS:
                self.assertEqual(store.read("box", key), key.encode())
                self.assertEqual(store.head("box", key).key, key)
            page = store.list_objects("box")
            self.assertEqual([info.key for info in page.objects], sorted(KEYS, key=str.encode))
            store.copy("box", "..", "box", "//")
        for key in KEYS:
            if "\0" not in key:
                expected = "//" if key == ".." else key
                self.assertEqual(self.run_command("cat", f"box/{key}").stdout_bytes, expected.encode())
        listed = self.said("ls", "--recursive", "box")
        self.assertEqual(len(listed.splitlines()), len(KEYS))
        self.assertIn("line\\r\\nline\n", listed)

    def test_public(self: Any) -> None:
        """A bucket is made public, and is not any more; what else is known of it stays."""
        self.said("mb", "box", "other")
        with self.store() as store:
            store.set_bucket_metadata("box", {"owner": ["me"]})
        for _ in range(2):
            self.assertEqual(self.said("publish", "box", "other"), "")
        lines = self.said("ls", "--json").splitlines()
        self.assertEqual(
            [json.loads(line)["metadata"] for line in lines],
            [{"owner": ["me"], "public": ["read"]}, {"public": ["read"]}],
        )
        for _ in range(2):
            self.assertEqual(self.said("unpublish", "other"), "")
        long = self.said("ls", "-l").splitlines()
        self.assertEqual([line.endswith("  (public)") for line in long], [True, False])
        self.said("unpublish", "box")
        with self.store() as store:
            self.assertEqual(store.get_bucket("box").metadata, {"owner": ["me"]})
        for verb in ("publish", "unpublish"):
            self.assertIn("none", self.refused(verb, "none"))

    def test_pages(self: Any) -> None:
        """More keys than fit into a page."""
        self.patch(store_module, "_PAGE", 10)
        with self.store() as store:
            store.create_bucket("box")
            for number in range(35):
                store.put("box", f"{number % 3}/{number:04}", [], 0)
        self.assertEqual(len(self.said("ls", "--recursive", "box").splitlines()), 35)
        self.assertEqual(self.said("ls", "box"), "0/\n1/\n2/\n")
        self.said("rm", "--recursive", "--yes", "box/")
        self.assertEqual(self.said("du", "box").split()[2:], ["0", "box"])

    def test_damage(self: Any) -> None:
        """All before the damaged block, not a byte of it, and a failure that names it."""
        self.said("mb", "box")
        data = random.Random(2).randbytes(3 * _MIB + 5)
        self.said("put", self.file(data), "box/a")
        self.damage("box/a", _MIB + 77)
        result = self.run_command("cat", "box/a", status=1)
        self.assertEqual(result.stdout_bytes, data[:_MIB])
        self.assertIn("box/a", result.stderr)
        self.assertIn("block 1 is damaged", result.stderr)
        target = self.mktemp()
        for content in (None, b"before"):
            if content is not None:
                Path(target).write_bytes(content)
            self.refused("cat", "box/a", "-o", target)
            self.assertEqual(Path(target).read_bytes() if os.path.exists(target) else None, content)
        self.assertEqual(self.run_command("cat", "box/a", "--range", f"{2 * _MIB}").stdout_bytes, data[2 * _MIB :])

    def test_reader_leaves(self: Any) -> None:
        """A pipe that is closed early ends it without a word."""
        self.said("mb", "box")
        self.said("put", self.file(bytes(8 * _MIB)), "box/a")
        reading, writing = os.pipe()
        os.close(reading)
        done = self.process("cat", "box/a", stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        self.assertEqual((done.returncode, done.stderr), (141, b""))

    def test_source_fails(self: Any) -> None:
        """What cannot be read to its end is not stored."""
        self.said("mb", "box")

        def pieces() -> Iterator[bytes]:
            yield bytes(_MIB)
            raise CommandError("the source broke")

        with self.store() as store:
            error = self.assertRaises(CommandError, store.put, "box", "a", pieces())
            self.assertIn("the source broke", str(error))
            self.assertRaises((CommandError, StorehouseError), store.head, "box", "a")
        self.assertEqual(self.said("ls", "box"), "")


class LocalVerbTests(VerbTests, VerbCase):
    """On the files."""

    def setUp(self) -> None:
        """A root with its buckets, so that also what does not make one finds it."""
        self.root = os.path.abspath(self.mktemp())
        self.said("mb", "first")
        self.said("rb", "first")

    def test_no_root(self) -> None:
        """Only mb makes one."""
        self.root = os.path.abspath(self.mktemp())
        for args in (("ls",), ("cat", "box/a"), ("put", "-", "box/a"), ("fsck",), ("du",), ("rb", "box")):
            self.assertIn("there are no buckets", self.run_command(*args, status=2).stderr)
        self.assertFalse(os.path.exists(self.root))
        self.said("mb", "box")
        self.assertEqual(self.said("ls"), "box\n")
        self.run_command("ls", "--config", "/none", status=2)

    def test_versions(self) -> None:
        """All versions of a key, with their IDs; without --versions only the current one."""
        self.said("mb", "box")
        path = os.path.join(self.root, "namespace", "buckets", "box", "bucket.versioning.json")
        with open(path, "wb") as file:
            file.write(encode_config("box", "versioning", b"enabled"))
        for data in (b"1", b"22"):
            self.said("put", self.file(data), "box/a")
        self.assertIn("\nversion:", self.said("stat", "box/a"))
        self.said("rm", "box/a")
        self.said("put", self.file(b"333"), "box/b/c")
        self.assertEqual(self.said("ls", "box"), "b/\n")
        lines = [line.split() for line in self.said("ls", "-l", "--versions", "box").splitlines()]
        self.assertEqual(
            [(line[1], line[-1]) for line in lines], [("deleted", "a"), ("2", "a"), ("1", "a"), ("-", "b/")]
        )
        found = [json.loads(line) for line in self.said("ls", "--json", "--versions", "-r", "box").splitlines()]
        self.assertEqual([each["version"] for each in found[:3]], [line[0] for line in lines[:3]])
        self.assertEqual(
            [(each["is_latest"], each["marker"]) for each in found],
            [(True, True), (False, False), (False, False), (True, False)],
        )
        self.assertEqual(self.run_command("fsck").stderr, "no problems found\n")

    def test_private(self) -> None:
        """Whatever the user lets others read elsewhere, nothing of a root is for them."""
        self.addCleanup(os.umask, os.umask(0))
        self.said("mb", "box")
        self.said("put", "-", "box/a", stdin=b"x")
        os.chmod(os.path.join(self.root, "namespace", "index", "keys.db"), 0o644)
        self.said("put", "-", "box/b", stdin=b"x")
        with self.store() as store:
            store.head("box", "a")
            for directory, _, names in os.walk(self.root):
                for name in names:
                    path = os.path.join(directory, name)
                    if not os.path.islink(path):
                        self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)

    def test_root_in_use(self) -> None:
        """By something that does not listen on the socket, and by what does not answer there."""
        self.patch(store_module, "_PATIENCE", 0.1)
        lock = RootLock(self.root)
        lock.acquire()
        self.addCleanup(lock.release)
        said = self.refused("ls")
        for text in (f"in use by process {os.getpid()}", f"does not listen on {self.root}/objects.sock"):
            self.assertIn(text, said)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(os.path.relpath(os.path.join(self.root, "objects.sock")))
        self.assertIn("does not listen", self.refused("ls"))

    def test_not_a_storehouse(self) -> None:
        """Something else listens on the socket."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(os.path.relpath(os.path.join(self.root, "objects.sock")))
            other.listen()
            child = os.fork()
            if not child:
                for _ in range(2):
                    connection, _ = other.accept()
                    connection.recv(1)
                    connection.close()
                os._exit(0)
            self.assertIn("objects.sock", self.refused("ls"))
            os.waitpid(child, 0)

    def test_fsck(self) -> None:
        """What is found is said with what --repair would do; keys are not removed."""
        self.said("mb", "box")
        self.said("put", "-", "box/a", stdin=b"x")
        self.said("put", "-", "box/b", stdin=b"x")
        self.said("put", "-", "box/c", stdin=b"x")
        lost, orphan = (json.loads(self.said("stat", "--json", name))["id"] for name in ("box/b", "box/c"))
        data = os.path.join(self.root, "objects", "data")
        os.rename(os.path.join(data, orphan[:2], orphan), os.path.join(self.root, "kept"))
        self.said("rm", "box/c")
        os.rename(os.path.join(self.root, "kept"), os.path.join(data, orphan[:2], orphan))
        shutil.rmtree(os.path.join(data, lost[:2], lost))
        result = self.run_command("fsck", status=1)
        self.assertIn("missing  box/b  ", result.stdout)
        self.assertIn("--repair: it is moved to recovered/ in the root", result.stdout)
        self.assertEqual(result.stderr, "Error: 2 problems found; --repair can repair 1\n")
        kinds = [json.loads(line)["kind"] for line in self.run_command("fsck", "--json", status=1).stdout.splitlines()]
        self.assertEqual(sorted(kinds), ["missing", "orphan"])
        result = self.run_command("fsck", "--repair", status=1)
        self.assertEqual(result.stderr, "Error: 2 problems found; 1 repaired\n")
        (moment,) = os.listdir(os.path.join(self.root, "recovered"))
        place = os.path.join(os.path.abspath(self.root), "recovered", moment)
        (kept,) = [name for name in os.listdir(place) if not name.endswith(".json")]
        self.assertIn(f"moved to {place}/{kept}/{orphan}", result.stdout)
        self.assertTrue(os.path.exists(os.path.join(place, kept, orphan, "part.1")))
        self.assertIn("box/b", self.refused("cat", "box/b"))
        self.said("rm", "box/b")
        self.said("fsck")


class ServiceVerbTests(VerbTests, VerbCase):
    """Through the socket of a service, which is a process of its own."""

    def setUp(self) -> None:
        """Start it."""
        self.server = Storehouse(self.mktemp())
        self.addCleanup(self.server.kill)
        self.server.start()
        self.root = os.path.join(self.server.directory, "storehouse-data")

    def test_imports(self) -> None:
        """None of what a store needs: the service has that."""
        self.said("mb", "box")
        for words in (("put", "-", "box/a"), ("ls",), ("cat", "box/a"), ("rm", "box/a"), ("user", "list")):
            self.assertEqual(heavy_imports(*words, "--root", self.root, stdin=b"x"), set(), words)

    def test_both_ways_in_turn(self) -> None:
        """What came through the service is there without it, also when it was killed, and the reverse."""
        self.said("mb", "box")
        self.said("put", "-", "box/a", stdin=b"1")
        self.assertEqual(os.stat(os.path.join(self.root, "objects.sock")).st_mode & 0o777, 0o600)
        self.server.stop(signal.SIGKILL)
        self.assertTrue(os.path.exists(os.path.join(self.root, "objects.sock")))
        self.assertEqual(self.said("cat", "box/a"), "1")
        self.said("put", "-", "box/b", stdin=b"2")
        self.server.start()
        self.assertEqual(self.said("cat", "box/b"), "2")
        self.server.stop()
        self.assertFalse(os.path.exists(os.path.join(self.root, "objects.sock")))
        self.assertEqual(self.said("ls", "box"), "a\nb\n")

    def test_pipe(self) -> None:
        """From one verb into another."""
        self.said("mb", "box")
        self.said("put", self.file(bytes(range(256)) * 40000), "box/a")
        command = f"{sys.executable} -m storehouse.cli"
        script = f"{command} cat box/a --root . | gzip -1 | {command} put - box/b --root . && {command} cat box/b --root . | gunzip"
        done = subprocess.run(
            ["/bin/sh", "-c", script], cwd=self.root, env={**os.environ, "PYTHONPATH": CHECKOUT},
            capture_output=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
        self.assertEqual(done.stdout, bytes(range(256)) * 40000)

    def test_large(self) -> None:
        """256 MiB pass through in little memory: of the command and of the service."""
        self.said("mb", "box")
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.truncate(256 * _MIB)
            file.seek(100 * _MIB)
            file.write(b"here")
        before = self.peak()
        target = os.path.abspath(self.mktemp())
        for args in (("put", path, "box/large"), ("cat", "box/large", "-o", target)):
            self.assertLess(self.peak_of(*args), 200 * _MIB)
        self.assertEqual(subprocess.run(["cmp", path, target], check=False).returncode, 0)
        self.assertLess(self.peak() - before, 64 * _MIB)

    def peak_of(self, *args: str) -> int:
        """Bytes of memory that the command has at most. It must succeed."""
        # Between forking and running it, a child has the memory of this process, which is counted for it: so a small
        # one starts it.
        program = "import os, sys, subprocess, resource; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        command = [sys.executable, "-m", "storehouse.cli", *args, "--root", self.root]
        told = subprocess.run(
            [sys.executable, "-c", program, *command],
            env={**os.environ, "PYTHONPATH": CHECKOUT},
            timeout=PATIENCE,
            check=True,
            stdout=subprocess.PIPE,
        )
        status, peak = map(int, told.stdout.split())
        self.assertEqual(status, 0)
        return peak * 1024

    def peak(self) -> int:
        """Bytes of memory that the service had at most."""
        assert self.server.process is not None
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["VmHWM"].split()[0]) * 1024
